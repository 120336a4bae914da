/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sends requests to an OpenStack service with the tokens that it expects: the user's token or that
 * of novasnap's user, and if configured a service token. Several threads may use one session.
 */
#ifndef NOVASNAP_IMAGE_SESSION_H
#define NOVASNAP_IMAGE_SESSION_H

#include "image/image.h"
#include "image/openstack/http.h"
#include "image/openstack/keystone.h"

struct openstack_session {
	struct http_config http;
	struct keystone_client *own;	 /* NULL: [keystone_authtoken] is not configured */
	struct keystone_client *service; /* NULL: send no service token */
};

/* The tokens that the service rejected during one operation. Zeroed at its start. */
struct openstack_tokens {
	bool user_refused; /* the user's token was rejected: novasnap's is used instead */
	bool renewed;	   /* novasnap's tokens were renewed once */
};

/* Initializes a session with the TLS options and timeouts of [glance]. `config` must outlive the
 * session. Free its contents with openstack_session_close(). */
void openstack_session_open(struct openstack_session *session, const struct image_config *config);
void openstack_session_close(struct openstack_session *session);

/* Whether Keystone has granted the last tokens; -1: it was not asked. */
int openstack_session_has_tokens(const struct openstack_session *session);

/*
 * Sends a request for `identity`; succeeds if the status of the reply is 2xx. The tokens are added
 * to the request's headers. If the service answers 401, the request is repeated with other tokens:
 * first with novasnap's instead of the user's, then with renewed ones.
 *
 * An upload cannot be repeated here. If another token may help, `*ret_retry` is set to true, and
 * the caller sends the request again with the same `tokens`. Other requests never set it;
 * `ret_retry` may be NULL for them.
 *
 * The caller always clears the reply with http_reply_clear(). Returns 0, or -1 with an error of
 * http_request_send(), http_reply_set_error() or keystone_client_token().
 */
int openstack_session_send(const struct openstack_session *session,
			   const struct image_identity *identity, struct openstack_tokens *tokens,
			   const struct http_request *request, struct http_reply *reply,
			   bool *ret_retry, GError **error);

#endif
