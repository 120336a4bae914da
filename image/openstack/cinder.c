/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client of Cinder's v3 API.
 */
#include "image/cinder.h"

#include <string.h>

#include "image/openstack/session.h"

#define PROJECT_PLACEHOLDER "%(project_id)s"
#define TENANT_PLACEHOLDER "%(tenant_id)s"

struct cinder_service {
	const struct cinder_config *config;
	struct openstack_session session;
	/* From catalog_info: what to look up in the catalogue. */
	char *type;
	char *interface;
};

/* Parses catalog_info, such as "volumev3:cinderv3:publicURL". */
static void parse_catalog_info(struct cinder_service *service)
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
	struct cinder_service *service = g_new0(struct cinder_service, 1);

	service->config = config;
	openstack_session_open(&service->session, common);
	if (!config->endpoint_template && !service->session.own) {
		cinder_service_free(service);
		return NULL;
	}
	service->session.http.cafile = config->cafile;
	service->session.http.certfile = config->certfile;
	service->session.http.keyfile = config->keyfile;
	service->session.http.insecure = config->insecure;
	parse_catalog_info(service);
	return service;
}

void cinder_service_free(struct cinder_service *service)
{
	if (!service)
		return;
	openstack_session_close(&service->session);
	g_free(service->type);
	g_free(service->interface);
	g_free(service);
}

/* Returns the base URL for the user's project. The catalogue's endpoint names the project of
 * novasnap's user, which is replaced. */
static char *project_url(const struct cinder_service *service,
			 const struct image_identity *identity, GError **error)
{
	/* The id is from the cast: escape it, so that it stays a single path component. */
	g_autofree char *project =
		g_uri_escape_string(identity->project_id ? identity->project_id : "", NULL, FALSE);
	const struct keystone_endpoint wanted = {service->type, service->interface,
						 service->config->region_name};
	g_autofree char *found = NULL;
	g_autoptr(GString) url = NULL;
	const char *last;

	if (service->config->endpoint_template) {
		url = g_string_new(service->config->endpoint_template);
		g_string_replace(url, PROJECT_PLACEHOLDER, project, 0);
		g_string_replace(url, TENANT_PLACEHOLDER, project, 0);
	} else {
		found = keystone_client_endpoint(service->session.own, &wanted,
						 identity->request_id, error);
		if (!found)
			return NULL;
		http_url_trim(found);
		url = g_string_new(found);
		last = strrchr(found, '/');
		if (*project && last && !g_str_has_suffix(found, "/v3")) {
			g_string_truncate(url, (gsize)(last - found) + 1);
			g_string_append(url, project);
		}
	}
	http_url_trim(url->str);
	return g_strdup(url->str);
}

/* Sends a request about a snapshot. `path_suffix` is appended to its URL; `body` may be NULL. */
static int snapshot_request_send(const struct cinder_service *service,
				 const struct image_identity *identity, const char *method,
				 const char *snapshot, const char *path_suffix, const char *body,
				 struct http_reply *reply, GError **error)
{
	g_autoptr(GPtrArray) headers = g_ptr_array_new_with_free_func(g_free);
	struct openstack_tokens tokens = {0};
	struct http_request request = {.method = method, .headers = headers, .body = body};
	g_autofree char *base = NULL;
	g_autofree char *url = NULL;

	if (!g_uuid_string_is_valid(snapshot)) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
			    "\"%.64s\" is not the id of a volume snapshot: not a UUID", snapshot);
		return -1;
	}
	base = project_url(service, identity, error);
	if (!base)
		return -1;
	if (body)
		http_header_add(headers, "Content-Type", "application/json");
	http_header_add(headers, "Accept", "application/json");
	url = g_strconcat(base, "/snapshots/", snapshot, path_suffix, NULL);
	request.url = url;
	return openstack_session_send(&service->session, identity, &tokens, &request, reply, NULL,
				      error);
}

char *cinder_snapshot_status(struct cinder_service *service, const struct image_identity *identity,
			     const char *snapshot, GError **error)
{
	struct http_reply reply = {0};
	char *status = NULL;

	if (snapshot_request_send(service, identity, "GET", snapshot, "", NULL, &reply, error) ==
	    0) {
		cJSON *answer = http_reply_parse(&reply);

		status = g_strdup(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
			cJSON_GetObjectItemCaseSensitive(answer, "snapshot"), "status")));
		cJSON_Delete(answer);
		if (!status)
			g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
				    "Cinder's reply about snapshot %s has no status", snapshot);
	}
	http_reply_clear(&reply);
	return status;
}

int cinder_snapshot_update(struct cinder_service *service, const struct image_identity *identity,
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
	rc = snapshot_request_send(service, identity, "POST", snapshot, "/action", text, &reply,
				   error);
	http_reply_clear(&reply);
	cJSON_free(text);
	cJSON_Delete(body);
	return rc;
}
