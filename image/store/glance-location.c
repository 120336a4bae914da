/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The locations of images in Glance.
 * - POST /v2/images/ID/locations (Glance 2024.2 and later) is answered 202. A task then imports the
 *   location: it notes itself in the image's record, adds the location, and sets the image from
 *   `queued` to `active`. If it fails, it removes location and data.
 * - PATCH /v2/images/ID adds the location and sets the image to `active` before it answers.
 */
#include "image/store/glance-location.h"

#include "image/cancel.h"
#include "image/store/glance-client.h"
#include "image/store/glance-image.h"
#include "image/store/glance-poll.h"
#include "image/store/record.h"

/* An image that waits for data without a task is asked for as long: another server's database may
 * lag behind. */
#define LAG_S 10
#define RETRY_PAUSE_S 1

struct addition {
	struct glance_client *client;
	const struct image_identity *identity;
	const char *id;
	const char *url;
	const atomic_int *cancel;
};

/* What an answer to a request for a location means. */
enum reply_kind {
	REPLY_ACCEPTED,
	REPLY_NO_SUCH_API, /* another way to add the location may exist */
	REPLY_REFUSED,
	REPLY_FAILED,
	REPLY_UNKNOWN,	/* none, or one that does not say whether it was done */
	REPLY_NOT_SENT, /* the request has reached no server */
};

static enum reply_kind classify_reply(const struct http_reply *reply, const GError *error)
{
	if (!error)
		return REPLY_ACCEPTED;
	switch (reply->status) {
	case 0:
		return reply->was_sent ? REPLY_UNKNOWN : REPLY_NOT_SENT;
	case 404:
		/* Not of Glance. */
		if (g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE))
			return REPLY_UNKNOWN;
		return REPLY_NO_SUCH_API;
	case 403:
	case 405:
	case 501:
		return REPLY_NO_SUCH_API;
	case 400:
	case 415:
		return REPLY_REFUSED;
	case 408:
	case 429:
		return REPLY_UNKNOWN;
	default:
		/* A reply that breaks off after its status line of 2xx confirms nothing. */
		return reply->status < 300 || reply->status >= 500 ? REPLY_UNKNOWN : REPLY_FAILED;
	}
}

/* Sends the request, again to the next server only as long as no server was reached. */
static enum reply_kind send_location(const struct addition *self, struct glance_request *request,
				     struct http_reply *reply, GError **error)
{
	request->identity = self->identity;
	request->image_id = self->id;
	request->cancel = self->cancel;
	for (unsigned retries = 0;; retries++) {
		g_autoptr(GError) local = NULL;
		enum reply_kind kind;

		(void)glance_request_send_once(self->client, request, reply, NULL, &local);
		kind = classify_reply(reply, local);
		if (kind != REPLY_NOT_SENT || retries >= self->client->config->num_retries ||
		    !g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE) ||
		    !image_cancel_sleep(self->cancel, RETRY_PAUSE_S)) {
			if (local)
				g_propagate_error(error, g_steal_pointer(&local));
			return kind;
		}
		request->server++;
	}
}

static cJSON *location_object(const char *url, const char *details)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddStringToObject(object, "url", url);
	cJSON_AddObjectToObject(object, details);
	return object;
}

static enum reply_kind post_location(const struct addition *self, GError **error)
{
	struct glance_request request = {
		.method = "POST", .url_suffix = "/locations", .content_type = "application/json"};
	struct http_reply reply = {0};
	cJSON *document = location_object(self->url, "validation_data");
	char *body = cJSON_PrintUnformatted(document);
	enum reply_kind kind;

	request.body = body;
	kind = send_location(self, &request, &reply, error);
	http_reply_clear(&reply);
	cJSON_free(body);
	cJSON_Delete(document);
	return kind;
}

static enum reply_kind patch_location(const struct addition *self, GError **error)
{
	struct glance_request request = {.method = "PATCH",
					 .content_type = GLANCE_PATCH_CONTENT_TYPE};
	struct http_reply reply = {0};
	cJSON *patch = cJSON_CreateArray();
	cJSON *operation = cJSON_CreateObject();
	enum reply_kind kind;
	char *body;

	cJSON_AddStringToObject(operation, "op", "add");
	cJSON_AddStringToObject(operation, "path", "/locations/-");
	cJSON_AddItemToObject(operation, "value", location_object(self->url, "metadata"));
	cJSON_AddItemToArray(patch, operation);
	body = cJSON_PrintUnformatted(patch);
	request.body = body;
	kind = send_location(self, &request, &reply, error);
	/* The image is not there. */
	if (kind == REPLY_NO_SUCH_API && reply.status == 404)
		kind = REPLY_FAILED;
	http_reply_clear(&reply);
	cJSON_free(body);
	cJSON_Delete(patch);
	return kind;
}

static enum reply_kind send_either(const struct addition *self, GError **error)
{
	g_autoptr(GError) posted = NULL;
	enum reply_kind kind = post_location(self, &posted);

	if (kind != REPLY_NO_SUCH_API || !posted) {
		if (posted)
			g_propagate_error(error, g_steal_pointer(&posted));
		return kind;
	}
	g_info("image %s: %s; adding the location by a PATCH", self->id, posted->message);
	kind = patch_location(self, error);
	if (kind != REPLY_ACCEPTED)
		g_prefix_error(error, "%s; ", posted->message);
	return kind;
}

/* Whether Glance says that the image does not have the location. An earlier request, or one that a
 * proxy repeated, may have added it although this one was refused. */
static bool is_unused(const struct addition *self)
{
	return glance_location_ask(self->client, self->identity, self->id, self->url, NULL) ==
	       IMAGE_LOCATION_UNUSED;
}

/* Reads the record once. Returns IMAGE_LOCATION_UNKNOWN, with an error, while that may change. */
static enum image_location_result look_at_image(const struct addition *self, bool *ret_is_empty,
						GError **error)
{
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	*ret_is_empty = false;
	if (glance_image_get(self->client, self->identity, self->id, &record, &local) < 0) {
		bool is_gone = g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND) &&
			       is_unused(self);

		if (is_gone)
			local->code = IMAGE_ERROR_GONE;
		g_propagate_error(error, g_steal_pointer(&local));
		return is_gone ? IMAGE_LOCATION_FAILED : IMAGE_LOCATION_UNKNOWN;
	}
	if (g_strcmp0(record->status, "active") == 0)
		return IMAGE_LOCATION_ADDED;
	if (g_strcmp0(record->status, "deleted") == 0 ||
	    g_strcmp0(record->status, "pending_delete") == 0) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_GONE,
			    "image %s was deleted while its location was added", self->id);
		return IMAGE_LOCATION_FAILED;
	}
	*ret_is_empty =
		g_strcmp0(record->status, "queued") == 0 && !image_record_is_importing(record);
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE,
		    "image %s is %s after its location was added, not active; see Glance's log",
		    self->id, record->status);
	return IMAGE_LOCATION_UNKNOWN;
}

static enum image_location_result wait_until_active(const struct addition *self, GError **error)
{
	struct glance_poll poll;
	unsigned empty_s = 0;

	glance_poll_begin(&poll);
	for (;;) {
		unsigned waited_s = glance_poll_waited_s(&poll);
		g_autoptr(GError) local = NULL;
		bool is_empty;
		enum image_location_result result = look_at_image(self, &is_empty, &local);

		empty_s = is_empty ? empty_s + glance_poll_pause_s(&poll) : 0;
		if (result != IMAGE_LOCATION_UNKNOWN || empty_s > LAG_S ||
		    waited_s >= self->client->config->saving_timeout_s) {
			if (local)
				g_propagate_error(error, g_steal_pointer(&local));
			return result;
		}
		if (!glance_poll_sleep(&poll, self->cancel)) {
			g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED,
				    "waiting for the location of image %s was cancelled", self->id);
			return IMAGE_LOCATION_UNKNOWN;
		}
	}
}

enum image_location_result glance_location_add(void *self, const struct image_identity *identity,
					       const char *id, const char *url,
					       const atomic_int *cancel, GError **error)
{
	const struct addition addition = {self, identity, id, url, cancel};
	enum reply_kind kind = send_either(&addition, error);

	if ((kind == REPLY_NO_SUCH_API || kind == REPLY_REFUSED || kind == REPLY_FAILED) &&
	    !is_unused(&addition))
		kind = REPLY_UNKNOWN;
	switch (kind) {
	case REPLY_ACCEPTED:
		return wait_until_active(&addition, error);
	case REPLY_NO_SUCH_API:
	case REPLY_REFUSED:
		g_prefix_error(error, "Glance does not take the location %s of image %s: ", url,
			       id);
		return IMAGE_LOCATION_REFUSED;
	case REPLY_UNKNOWN:
		g_prefix_error(error, "it is unknown whether image %s has the location %s: ", id,
			       url);
		return IMAGE_LOCATION_UNKNOWN;
	case REPLY_FAILED:
	case REPLY_NOT_SENT:
	default:
		g_prefix_error(error, "adding the location %s to image %s: ", url, id);
		return IMAGE_LOCATION_FAILED;
	}
}

/* The locations that the user may see, as {"locations": [...]}, which the caller deletes. NULL:
 * none, or Glance does not have this request or did not answer. */
static struct image_record *fetch_locations(struct glance_client *client,
					    const struct image_identity *identity, const char *id)
{
	struct glance_request request = {
		.identity = identity, .method = "GET", .image_id = id, .url_suffix = "/locations"};
	struct image_record *record = NULL;
	struct http_reply reply = {0};

	if (glance_request_send(client, &request, &reply, NULL) == 0) {
		cJSON *locations = http_reply_parse(&reply);

		if (cJSON_IsArray(locations)) {
			record = g_new0(struct image_record, 1);
			record->document = cJSON_CreateObject();
			cJSON_AddItemToObject(record->document, "locations", locations);
		} else {
			cJSON_Delete(locations);
		}
	}
	http_reply_clear(&reply);
	return record;
}

/* Of an image with data. What Glance does not show may be there. */
static enum image_location_answer ask_locations(struct glance_client *client,
						const struct image_identity *identity,
						const struct image_record *record, const char *url)
{
	g_autoptr(image_record_t) fetched = NULL;
	bool is_certain;
	bool may_have = image_record_may_have_location(record, url, &is_certain);

	if (!is_certain) {
		fetched = fetch_locations(client, identity, record->id);
		if (fetched)
			may_have = image_record_may_have_location(fetched, url, &is_certain);
	}
	return may_have ? IMAGE_LOCATION_USED : IMAGE_LOCATION_UNUSED;
}

enum image_location_answer glance_location_ask(void *self, const struct image_identity *identity,
					       const char *id, const char *url, GError **error)
{
	static const char *const empty[] = {"queued", "killed", "deleted", "pending_delete", NULL};
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;
	g_auto(GStrv) shown = NULL;

	if (glance_image_get(self, identity, id, &record, &local) < 0) {
		if (g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
			return IMAGE_LOCATION_UNUSED;
		g_propagate_error(error, g_steal_pointer(&local));
		return IMAGE_LOCATION_NOT_KNOWN;
	}
	if (!g_strv_contains(empty, record->status))
		return ask_locations(self, identity, record, url);
	/* An import adds the location before the image is active. */
	shown = image_record_locations(record, NULL);
	if (g_str_equal(record->status, "queued") &&
	    (image_record_is_importing(record) || g_strv_contains((const char *const *)shown, url)))
		return IMAGE_LOCATION_USED;
	return IMAGE_LOCATION_UNUSED;
}
