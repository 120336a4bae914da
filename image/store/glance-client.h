/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sends requests about images to Glance: chooses the server, adds the tokens, and repeats requests
 * that no server answered. Several threads may use one client.
 */
#ifndef NOVASNAP_IMAGE_GLANCE_CLIENT_H
#define NOVASNAP_IMAGE_GLANCE_CLIENT_H

#include "image/openstack/session.h"
#include "image/store/glance-servers.h"

struct glance_client {
	const struct image_config *config;
	struct openstack_session session;
	struct glance_servers *servers; /* api_servers; NULL: there are none */
	atomic_int answered;		/* see image_store_answered */
};

/* Creates a client, a struct glance_client. `config` must outlive it. Returns NULL with
 * IMAGE_ERROR_CONFIG if neither a server nor a catalogue is configured. */
void *glance_client_open(const struct image_config *config, GError **error);
void glance_client_close(void *self);
/* Returns the URL of the first server, without "/v2". The caller frees it with g_free(). NULL: the
 * catalogue has no endpoint. */
char *glance_client_location(void *self);
/* See image_store_answered. */
int glance_client_answered(void *self);
/* See image_store_has_tokens. */
int glance_client_has_tokens(void *self);

/* One request. It keeps its server and tokens when it is repeated. */
struct glance_request {
	const struct image_identity *identity;
	const char *method;
	const char *image_id;	  /* NULL: the collection of images */
	const char *url_suffix;	  /* appended to the URL of the image or collection; or NULL */
	const char *content_type; /* NULL: no body */
	const char *body;	  /* may be NULL */
	const struct http_upload *upload; /* may be NULL */
	const atomic_int *cancel;	  /* may be NULL */

	struct openstack_tokens tokens; /* initially zeroed */
	unsigned server;		/* to be increased when another server shall be tried */
	/* Set by glance_request_send_once. */
	unsigned chosen;     /* index into api_servers */
	unsigned chosen_for; /* 1 + the value of `server` that it was chosen for; 0: none */
};

/*
 * Sends a request to its server (chosen by glance_servers_choose at its first attempt, and again
 * when `server` was increased); succeeds if the status of the reply is 2xx. The caller always
 * clears the reply with http_reply_clear(). `ret_retry` and the errors are as for
 * openstack_session_send(); but an image of which not Glance itself says that it does not exist is
 * IMAGE_ERROR_UNAVAILABLE.
 */
int glance_request_send_once(struct glance_client *client, struct glance_request *request,
			     struct http_reply *reply, bool *ret_retry, GError **error);

/* As glance_request_send_once(), but after IMAGE_ERROR_UNAVAILABLE sends the request to the next
 * server, at most num_retries times, as nova.image.glance.GlanceClientWrapper.call does. Not for
 * uploads. */
int glance_request_send(struct glance_client *client, struct glance_request *request,
			struct http_reply *reply, GError **error);

#endif
