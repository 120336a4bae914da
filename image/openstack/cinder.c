/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cinder's v3 API, the two requests of it that a snapshot needs.
 */
#include "image/cinder.h"

#include <string.h>

#include "image/internal.h"

#define PROJECT "%(project_id)s"
#define TENANT "%(tenant_id)s"

struct cinder_service {
	const struct cinder_config *config;
	struct session session;
	char *type; /* in the catalogue */
	char *interface;
};

/* "volumev3:cinderv3:publicURL" */
static void read_catalog_info(struct cinder_service *service)
{
	g_auto(GStrv) parts = g_strsplit(service->config->catalog_info, ":", 3);
	guint count = g_strv_length(parts);

	service->type = g_strdup(count > 0 && *parts[0] ? parts[0] : "volumev3");
	service->interface = g_strdup(count > 2 ? parts[2] : "public");
	if (g_str_has_suffix(service->interface, "URL"))
		service->interface[strlen(service->interface) - strlen("URL")] = '\0';
}

struct cinder_service *cinder_service_new(const struct cinder_config *config,
					  const struct image_config *common)
{
	struct cinder_service *service;

	if (!config->endpoint_template && !common->auth.auth_url)
		return NULL;
	service = g_new0(struct cinder_service, 1);
	service->config = config;
	session_open(&service->session, common);
	service->session.http.cafile = config->cafile;
	service->session.http.certfile = config->certfile;
	service->session.http.keyfile = config->keyfile;
	service->session.http.insecure = config->insecure;
	read_catalog_info(service);
	return service;
}

void cinder_service_free(struct cinder_service *service)
{
	if (!service)
		return;
	session_close(&service->session);
	g_free(service->type);
	g_free(service->interface);
	g_free(service);
}

/* The catalogue's endpoint is of our own project: the user's takes its place. */
static char *base_url(const struct cinder_service *service, const struct image_identity *who,
		      GError **error)
{
	/* It came with the cast, and is to be one part of the path. */
	g_autofree char *project =
		g_uri_escape_string(who->project_id ? who->project_id : "", NULL, FALSE);
	const struct keystone_endpoint wanted = {service->type, service->interface,
						 service->config->region_name};
	g_autofree char *found = NULL;
	g_autoptr(GString) url = NULL;
	const char *last;

	if (service->config->endpoint_template) {
		url = g_string_new(service->config->endpoint_template);
		g_string_replace(url, PROJECT, project, 0);
		g_string_replace(url, TENANT, project, 0);
	} else {
		found = keystone_endpoint(service->session.own, &wanted, error);
		if (!found)
			return NULL;
		url = g_string_new(found);
		last = strrchr(found, '/');
		if (*project && last && !g_str_has_suffix(found, "/v3")) {
			g_string_truncate(url, (gsize)(last - found) + 1);
			g_string_append(url, project);
		}
	}
	while (url->len > 0 && url->str[url->len - 1] == '/')
		g_string_truncate(url, url->len - 1);
	return g_strdup(url->str);
}

static int ask(const struct cinder_service *service, const struct image_identity *who,
	       const char *method, const char *snapshot, const char *tail, const char *body,
	       struct http_reply *reply, GError **error)
{
	struct session_use use = {0};

	if (!g_uuid_string_is_valid(snapshot)) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
			    "\"%.64s\" is no id of a volume's snapshot", snapshot);
		return -1;
	}
	for (;;) {
		g_autoptr(GPtrArray) headers = g_ptr_array_new_with_free_func(g_free);
		g_autofree char *base = base_url(service, who, error);
		g_autofree char *url = NULL;
		g_autofree char *what = NULL;
		struct http_request request = {.method = method, .headers = headers, .body = body};

		if (!base || session_add_tokens(&service->session, who, &use, headers, error) < 0)
			return -1;
		if (body)
			session_add_header(headers, "Content-Type", "application/json");
		session_add_header(headers, "Accept", "application/json");
		url = g_strconcat(base, "/snapshots/", snapshot, tail, NULL);
		request.url = url;
		http_reply_clear(reply);
		if (http_perform(&service->session.http, &request, reply, error) < 0)
			return -1;
		if (reply->status >= 200 && reply->status < 300)
			return 0;
		if (reply->status == 401 && session_change_token(&service->session, who, &use))
			continue;
		what = g_strdup_printf("%s %s", method, url);
		http_reply_error(reply, what, error);
		return -1;
	}
}

char *cinder_snapshot_status(struct cinder_service *service, const struct image_identity *who,
			     const char *snapshot, GError **error)
{
	struct http_reply reply = {0};
	char *status = NULL;

	if (ask(service, who, "GET", snapshot, "", NULL, &reply, error) == 0) {
		cJSON *answer = http_reply_document(&reply);

		status = g_strdup(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
			cJSON_GetObjectItemCaseSensitive(answer, "snapshot"), "status")));
		cJSON_Delete(answer);
		if (!status)
			g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
				    "Cinder's answer on snapshot %s has no status", snapshot);
	}
	http_reply_clear(&reply);
	return status;
}

int cinder_snapshot_update(struct cinder_service *service, const struct image_identity *who,
			   const char *snapshot, const char *status, GError **error)
{
	struct http_reply reply = {0};
	cJSON *body = cJSON_CreateObject();
	cJSON *update = cJSON_AddObjectToObject(body, "os-update_snapshot_status");
	char *text;
	int rc;

	cJSON_AddStringToObject(update, "status", status);
	cJSON_AddStringToObject(update, "progress", "90%");
	text = cJSON_PrintUnformatted(body);
	rc = ask(service, who, "POST", snapshot, "/action", text, &reply, error);
	http_reply_clear(&reply);
	cJSON_free(text);
	cJSON_Delete(body);
	return rc;
}
