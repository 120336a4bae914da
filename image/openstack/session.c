/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who we are to an OpenStack service: the user's token, our own in its place, a service token
 * beside it.
 */
#include <string.h>

#include "image/internal.h"

void session_open(struct session *session, const struct image_config *config)
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
	session->own = keystone_new(&config->auth, config);
	session->service =
		config->send_service_user_token ? keystone_new(&config->service, config) : NULL;
}

void session_close(struct session *session)
{
	keystone_free(session->own);
	keystone_free(session->service);
}

void session_add_header(GPtrArray *headers, const char *name, const char *value)
{
	/* What comes from a cast must not be able to add lines of its own. */
	if (value && !strpbrk(value, "\r\n"))
		g_ptr_array_add(headers, g_strdup_printf("%s: %s", name, value));
}

int session_add_tokens(const struct session *session, const struct image_identity *who,
		       const struct session_use *use, GPtrArray *headers, GError **error)
{
	g_autofree char *own = NULL;
	g_autofree char *service = NULL;

	if ((!who->token || use->own) && session->own) {
		own = keystone_token(session->own, false, error);
		if (!own)
			return -1;
	}
	session_add_header(headers, "X-Auth-Token", own ? own : who->token);
	if (session->service) {
		service = keystone_token(session->service, use->renewed, error);
		if (!service)
			return -1;
		session_add_header(headers, "X-Service-Token", service);
	}
	/* A service without Keystone knows who asks by these (generate_identity_headers). */
	if (!session->own) {
		g_autofree char *roles = who->roles ? g_strjoinv(",", (char **)who->roles) : NULL;

		session_add_header(headers, "X-User-Id", who->user_id);
		session_add_header(headers, "X-Tenant-Id", who->project_id);
		session_add_header(headers, "X-Roles", roles);
		session_add_header(headers, "X-Identity-Status", "Confirmed");
	}
	session_add_header(headers, "X-OpenStack-Request-ID", who->request_id);
	return 0;
}

bool session_change_token(const struct session *session, const struct image_identity *who,
			  struct session_use *use)
{
	if (!session->own && !session->service)
		return false;
	if (!use->own && who->token && session->own) {
		g_info("the user's token is refused, ours is used");
		use->own = true;
		return true;
	}
	if (use->renewed)
		return false;
	use->renewed = true;
	if (session->own)
		g_free(keystone_token(session->own, true, NULL));
	return true;
}
