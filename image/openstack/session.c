/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tokens in requests to OpenStack services.
 */
#include "image/openstack/session.h"

void openstack_session_open(struct openstack_session *session, const struct image_config *config)
{
	session->http = (struct http_config){
		.cafile = config->cafile,
		.certfile = config->certfile,
		.keyfile = config->keyfile,
		.insecure = config->insecure,
		.connect_timeout_s = config->connect_timeout_s,
		.request_timeout_s = config->request_timeout_s,
		.stall_timeout_s = config->stall_timeout_s,
	};
	session->own = keystone_client_new(&config->auth, config);
	session->service = config->send_service_user_token
				   ? keystone_client_new(&config->service, config)
				   : NULL;
}

void openstack_session_close(struct openstack_session *session)
{
	keystone_client_free(session->own);
	keystone_client_free(session->service);
}

int openstack_session_has_tokens(const struct openstack_session *session)
{
	int own = keystone_client_issued(session->own);
	int service = keystone_client_issued(session->service);

	return own == 0 || service == 0 ? 0 : MAX(own, service);
}

/* A service without Keystone identifies the user by these headers, as
 * nova.image.glance.generate_identity_headers sends them. */
static void add_identity_headers(GPtrArray *headers, const struct image_identity *identity)
{
	g_autofree char *roles = identity->roles ? g_strjoinv(",", (char **)identity->roles) : NULL;

	http_header_add(headers, "X-User-Id", identity->user_id);
	http_header_add(headers, "X-Tenant-Id", identity->project_id);
	http_header_add(headers, "X-Roles", roles);
	http_header_add(headers, "X-Identity-Status", "Confirmed");
}

/* Whether the request has a token of novasnap's own user. */
static bool uses_own_token(const struct openstack_session *session,
			   const struct image_identity *identity,
			   const struct openstack_tokens *tokens)
{
	return session->own && (!identity->token || tokens->user_refused);
}

static int add_tokens(const struct openstack_session *session,
		      const struct image_identity *identity, const struct openstack_tokens *tokens,
		      GPtrArray *headers, GError **error)
{
	g_autofree char *own = NULL;
	g_autofree char *service = NULL;

	if (uses_own_token(session, identity, tokens)) {
		own = keystone_client_token(session->own, false, identity->request_id, error);
		if (!own)
			return -1;
	}
	http_header_add(headers, "X-Auth-Token", own ? own : identity->token);
	if (session->service) {
		service = keystone_client_token(session->service, tokens->renewed,
						identity->request_id, error);
		if (!service)
			return -1;
		http_header_add(headers, "X-Service-Token", service);
	}
	if (!session->own)
		add_identity_headers(headers, identity);
	return 0;
}

/* Called after a 401. Returns whether there are other tokens to try. */
static bool change_tokens(const struct openstack_session *session,
			  const struct image_identity *identity, struct openstack_tokens *tokens)
{
	if (!session->own && !session->service)
		return false;
	if (!tokens->user_refused && identity->token && session->own) {
		g_info("the user's token was rejected; using novasnap's own");
		tokens->user_refused = true;
		return true;
	}
	if (tokens->renewed)
		return false;
	tokens->renewed = true;
	if (session->own)
		g_free(keystone_client_token(session->own, true, identity->request_id, NULL));
	return true;
}

/* A 404 says nothing if novasnap's own user may not see the objects of the user's project. */
static void set_reply_error(const struct openstack_session *session,
			    const struct image_identity *identity,
			    const struct openstack_tokens *tokens,
			    const struct http_request *request, const struct http_reply *reply,
			    GError **error)
{
	g_autofree char *action = g_strdup_printf("%s %s", request->method, request->url);
	GError *local = NULL;

	http_reply_set_error(reply, action, &local);
	if (g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND) &&
	    uses_own_token(session, identity, tokens) && keystone_client_is_limited(session->own)) {
		local->code = IMAGE_ERROR_FORBIDDEN;
		g_prefix_error(&local, "novasnapd's own user has not the role admin, and may not "
				       "see it: ");
	}
	g_propagate_error(error, local);
}

int openstack_session_send(const struct openstack_session *session,
			   const struct image_identity *identity, struct openstack_tokens *tokens,
			   const struct http_request *request, struct http_reply *reply,
			   bool *ret_retry, GError **error)
{
	for (;;) {
		g_autoptr(GPtrArray) headers = g_ptr_array_new_with_free_func(g_free);
		struct http_request with_tokens = *request;

		with_tokens.headers = headers;
		with_tokens.request_id = identity->request_id;
		for (guint i = 0; request->headers && i < request->headers->len; i++)
			g_ptr_array_add(headers, g_strdup(request->headers->pdata[i]));
		if (add_tokens(session, identity, tokens, headers, error) < 0 ||
		    http_request_send(&session->http, &with_tokens, reply, error) < 0)
			return -1;
		if (reply->status >= 200 && reply->status < 300)
			return 0;
		if (reply->status == 401 && change_tokens(session, identity, tokens)) {
			if (!request->upload)
				continue;
			*ret_retry = true;
		}
		set_reply_error(session, identity, tokens, request, reply, error);
		return -1;
	}
}
