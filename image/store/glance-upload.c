/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The data of an image, into Glance. Each try begins at byte 0, and none begins before the image
 * has been looked at: a try that seemed to fail may have arrived, or may still be under way there.
 */
#include <string.h>

#include "image/store/glance.h"

#define RETRY_PAUSE_S 1
#define SAVING_LOOK_S 1

static void note_sent(void *opaque, uint64_t bytes)
{
	struct image_upload *upload = opaque;

	if (upload->progress)
		upload->progress(upload->opaque, bytes, upload->source->size);
}

/* Keeps the hash of a source that has been read to its end. */
static void keep_hash(struct image_upload *upload, struct pipeline *pipeline)
{
	const char *hash = pipeline_hash(pipeline);

	if (hash)
		g_strlcpy(upload->hash, hash, sizeof(upload->hash));
}

static int put_once(struct glance *glance, struct glance_call *call, struct image_upload *upload,
		    bool *ret_again, GError **error)
{
	struct http_reply reply = {0};
	struct pipeline *pipeline = pipeline_start(upload, error);
	int rc;

	if (!pipeline)
		return -1;
	upload->attempts++;
	note_sent(upload, 0);
	call->upload = pipeline;
	rc = glance_try(glance, call, &reply, ret_again, error);
	if (rc == 0 || reply.status == 0)
		keep_hash(upload, pipeline);
	http_reply_clear(&reply);
	pipeline_free(pipeline);
	return rc;
}

/* The hash of the whole source, when no try got so far. */
static int hash_source(struct image_upload *upload, GError **error)
{
	struct pipeline *pipeline;
	int rc;

	if (upload->hash[0])
		return 0;
	pipeline = pipeline_start(upload, error);
	if (!pipeline)
		return -1;
	rc = pipeline_drain(pipeline);
	keep_hash(upload, pipeline);
	if (rc < 0)
		g_propagate_error(error, pipeline_error(pipeline));
	pipeline_free(pipeline);
	return rc;
}

static int verify_record(const struct image_record *record, const struct image_upload *upload,
			 GError **error)
{
	const struct image_checksum checksum = {upload->hash_name, upload->hash, upload->sent};

	return image_record_verify(record, &checksum, error);
}

enum look { LOOK_FAILED = -1, LOOK_GO, LOOK_DONE };

/* What a try that failed has left behind. */
static enum look look_at_image(struct glance *glance, const struct image_identity *who,
			       const char *id, struct image_upload *upload, GError **error)
{
	for (unsigned waited = 0;; waited += SAVING_LOOK_S) {
		g_autoptr(image_record_t) record = NULL;

		if (glance_get(glance, who, id, &record, error) < 0)
			return LOOK_FAILED;
		if (g_strcmp0(record->status, "queued") == 0)
			return LOOK_GO;
		if (g_strcmp0(record->status, "active") == 0) {
			if (hash_source(upload, error) < 0)
				return LOOK_FAILED;
			return verify_record(record, upload, error) == 0 ? LOOK_DONE : LOOK_FAILED;
		}
		if (g_strcmp0(record->status, "saving") != 0) {
			g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT,
				    "image %s is %s: it takes no data", id, record->status);
			return LOOK_FAILED;
		}
		if (waited >= glance->config->saving_timeout_s) {
			g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE,
				    "image %s is still saving, %u s after its upload broke; no "
				    "second upload is begun beside the first",
				    id, waited);
			return LOOK_FAILED;
		}
		if (!http_pause(SAVING_LOOK_S, upload->cancel)) {
			g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED,
					    "the upload was cancelled");
			return LOOK_FAILED;
		}
	}
}

static int verify(struct glance *glance, const struct image_identity *who, const char *id,
		  struct image_upload *upload, GError **error)
{
	g_autoptr(image_record_t) record = NULL;

	if (glance_get(glance, who, id, &record, error) < 0)
		return -1;
	return verify_record(record, upload, error);
}

/* What the PUT's own refusals mean: the image was there a moment ago. */
static void translate(GError *error)
{
	if (g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
		error->code = IMAGE_ERROR_GONE;
}

int glance_upload(void *self, const struct image_identity *who, const char *id,
		  struct image_upload *upload, GError **error)
{
	struct glance *glance = self;
	struct glance_call call = {
		.who = who,
		.method = "PUT",
		.id = id,
		.tail = "/file",
		.content_type = "application/octet-stream",
		.upload_size = upload->source->size,
		.sent = note_sent,
		.opaque = upload,
		.cancel = upload->cancel,
	};
	unsigned failed = 0;

	upload->sent = upload->source->size;
	if (upload->resuming) {
		enum look look = look_at_image(glance, who, id, upload, error);

		if (look != LOOK_GO)
			return look == LOOK_DONE ? 0 : -1;
	}
	for (;;) {
		GError *local = NULL;
		enum look look;
		bool again = false;

		if (put_once(glance, &call, upload, &again, &local) == 0) {
			note_sent(upload, upload->sent);
			return verify(glance, who, id, upload, error);
		}
		if (!again && (!g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE) ||
			       failed++ >= glance->config->num_retries)) {
			translate(local);
			g_propagate_error(error, local);
			return -1;
		}
		g_message("image %s: upload %u failed: %s; tried again", id, upload->attempts,
			  local->message);
		g_clear_error(&local);
		if (!again) {
			call.server++;
			(void)http_pause(RETRY_PAUSE_S, upload->cancel);
		}
		look = look_at_image(glance, who, id, upload, error);
		if (look == LOOK_DONE) {
			note_sent(upload, upload->sent);
			return 0;
		}
		if (look == LOOK_FAILED)
			return -1;
	}
}
