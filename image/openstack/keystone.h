/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client of Keystone's v3 API: gets a token and looks up endpoints in the token's
 * catalogue. Several threads may use one client.
 */
#ifndef NOVASNAP_IMAGE_KEYSTONE_H
#define NOVASNAP_IMAGE_KEYSTONE_H

#include "image/image.h"

struct keystone_client;

/* Creates a client for one of novasnap's users. `config` provides the timeouts. Both arguments must
 * outlive the client. Returns NULL without an error if the user's method is KEYSTONE_NONE. */
struct keystone_client *keystone_client_new(const struct keystone_config *user,
					    const struct image_config *config);
/* Accepts NULL. */
void keystone_client_free(struct keystone_client *client);

/*
 * Returns a token. Requests a new one if there is none, if it expires in less than a minute, or if
 * `renew` is true because a service rejected it. `request_id` is that of the request to Keystone,
 * as in struct http_request. The caller frees the token with g_free(). Returns NULL with
 * IMAGE_ERROR_AUTH or an error of the request.
 */
char *keystone_client_token(struct keystone_client *client, bool renew, const char *request_id,
			    GError **error);

/* Whether the user of the present token has roles, but not admin: a service says of other projects'
 * objects that they do not exist. */
bool keystone_client_is_limited(struct keystone_client *client);

/* Whether the last request for a token was granted; -1: there was none. Accepts NULL. */
int keystone_client_issued(struct keystone_client *client);

/* An endpoint to look up in the catalogue. */
struct keystone_endpoint {
	const char *type;      /* of the service: "image" */
	const char *interface; /* "internal", "public" */
	const char *region;    /* NULL: any region */
};

/* Returns the URL of the first endpoint that matches, which the caller frees with g_free(), or NULL
 * with IMAGE_ERROR_CONFIG if there is none, or an error of the request. `request_id`: as above. */
char *keystone_client_endpoint(struct keystone_client *client,
			       const struct keystone_endpoint *wanted, const char *request_id,
			       GError **error);

#endif
