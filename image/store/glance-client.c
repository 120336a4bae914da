/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests to Glance.
 */
#include "image/store/glance-client.h"

#include <string.h>

#include "image/cancel.h"

#define RETRY_PAUSE_S 1

void glance_client_close(void *self)
{
	struct glance_client *client = self;

	openstack_session_close(&client->session);
	glance_servers_free(client->servers);
	g_free(client);
}

void *glance_client_open(const struct image_config *config, GError **error)
{
	struct glance_client *client = g_new0(struct glance_client, 1);

	client->config = config;
	client->answered = -1;
	openstack_session_open(&client->session, config);
	if (config->api_servers && *config->api_servers)
		client->servers = glance_servers_new(g_strv_length((char **)config->api_servers));
	if (client->servers || config->endpoint_override || client->session.own)
		return client;
	g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_CONFIG,
			    "no Glance server is configured: set [glance]api_servers or "
			    "endpoint_override, or [keystone_authtoken] to use its catalogue, or "
			    "[novasnap]images = directory");
	glance_client_close(client);
	return NULL;
}

/* Returns the catalogue's endpoint for the first of the configured interfaces that has one. */
static char *glance_catalog_endpoint(struct glance_client *client, const char *request_id,
				     GError **error)
{
	static const char *const default_interfaces[] = {"internal", "public", NULL};
	const char *const *interfaces = client->config->valid_interfaces;
	char *found = NULL;

	if (!interfaces || !*interfaces)
		interfaces = default_interfaces;
	for (; *interfaces && !found; interfaces++) {
		const struct keystone_endpoint wanted = {"image", *interfaces,
							 client->config->region_name};

		g_clear_error(error);
		found = keystone_client_endpoint(client->session.own, &wanted, request_id, error);
	}
	if (!found)
		g_prefix_error(error, "set [glance]api_servers or region_name: ");
	return found;
}

/* Gets the URL of a server (an index into api_servers) without "/v2", which the caller frees.
 * "http://" is added if there is no scheme, as nova.image.glance.get_api_servers does. Returns 0 or
 * -1. */
static int glance_server_url(struct glance_client *client, unsigned server, const char *request_id,
			     char **ret_url, GError **error)
{
	const struct image_config *config = client->config;
	g_autofree char *chosen = NULL;
	char *url;

	if (client->servers) {
		chosen = g_strdup(config->api_servers[server]);
	} else if (config->endpoint_override) {
		chosen = g_strdup(config->endpoint_override);
	} else {
		chosen = glance_catalog_endpoint(client, request_id, error);
		if (!chosen)
			return -1;
	}
	url = strstr(chosen, "://") ? g_strdup(chosen) : g_strconcat("http://", chosen, NULL);
	http_url_trim(url);
	if (g_str_has_suffix(url, "/v2"))
		url[strlen(url) - strlen("/v2")] = '\0';
	*ret_url = url;
	return 0;
}

char *glance_client_location(void *self)
{
	char *url = NULL;

	(void)glance_server_url(self, 0, NULL, &url, NULL);
	return url;
}

int glance_client_answered(void *self)
{
	return atomic_load(&((struct glance_client *)self)->answered);
}

int glance_client_has_tokens(void *self)
{
	return openstack_session_has_tokens(&((struct glance_client *)self)->session);
}

static void choose_server(struct glance_client *client, struct glance_request *request)
{
	if (!client->servers || request->chosen_for == request->server + 1)
		return;
	request->chosen = glance_servers_choose(client->servers);
	request->chosen_for = request->server + 1;
}

static void report_server(struct glance_client *client, const struct glance_request *request,
			  const GError *error)
{
	bool answered = !g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);

	if (g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED))
		return;
	atomic_store(&client->answered, answered);
	if (client->servers)
		glance_servers_report(client->servers, request->chosen, answered);
}

/* Glance's text names the image. The text of a proxy does not, but it may name the path. */
static bool is_answer_of_glance(const struct http_reply *reply, const char *id)
{
	const char *text = reply->body->str;
	const char *found = strstr(text, id);

	return found && (found == text || found[-1] != '/');
}

/* While a proxy knows no Glance that is well, it answers 404, too. That says nothing of the image.
 */
static void check_missing(const struct glance_request *request, const struct http_reply *reply,
			  GError **error)
{
	if (!g_error_matches(*error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND) || !request->image_id ||
	    request->url_suffix || is_answer_of_glance(reply, request->image_id))
		return;
	(*error)->code = IMAGE_ERROR_UNAVAILABLE;
	g_prefix_error(error, "this is not the answer of a Glance, but perhaps of a proxy that "
			      "finds none: ");
}

int glance_request_send_once(struct glance_client *client, struct glance_request *request,
			     struct http_reply *reply, bool *ret_retry, GError **error)
{
	g_autoptr(GError) local = NULL;
	g_autoptr(GPtrArray) headers = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *base = NULL;
	g_autofree char *url = NULL;
	struct http_request http = {
		.method = request->method,
		.headers = headers,
		.body = request->body,
		.upload = request->upload,
		.cancel = request->cancel,
	};
	int rc;

	choose_server(client, request);
	if (glance_server_url(client, request->chosen, request->identity->request_id, &base,
			      error) < 0)
		return -1;
	http_header_add(headers, "Content-Type", request->content_type);
	url = g_strconcat(base, "/v2/images", request->image_id ? "/" : "",
			  request->image_id ? request->image_id : "",
			  request->url_suffix ? request->url_suffix : "", NULL);
	http.url = url;
	rc = openstack_session_send(&client->session, request->identity, &request->tokens, &http,
				    reply, ret_retry, &local);
	if (rc < 0)
		check_missing(request, reply, &local);
	report_server(client, request, local);
	if (rc < 0)
		g_propagate_error(error, g_steal_pointer(&local));
	return rc;
}

int glance_request_send(struct glance_client *client, struct glance_request *request,
			struct http_reply *reply, GError **error)
{
	for (unsigned retries = 0;; retries++) {
		GError *local = NULL;

		if (glance_request_send_once(client, request, reply, NULL, &local) >= 0)
			return 0;
		if (!g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE) ||
		    retries >= client->config->num_retries) {
			g_propagate_error(error, local);
			return -1;
		}
		g_info("%s; retrying in %d s", local->message, RETRY_PAUSE_S);
		g_clear_error(&local);
		request->server++;
		(void)image_cancel_sleep(NULL, RETRY_PAUSE_S);
	}
}
