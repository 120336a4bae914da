/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Uploads the data of an image to Glance. Each attempt starts at byte 0, after a check of the
 * image: a seemingly failed attempt may have succeeded, or Glance may still be storing its data.
 */
#include "image/store/glance-upload.h"

#include "image/cancel.h"
#include "image/store/glance-client.h"
#include "image/store/glance-image.h"
#include "image/store/pipeline.h"

#define RETRY_PAUSE_S 1
#define SAVING_POLL_S 1

/* One upload with all its attempts. */
struct glance_upload {
	struct glance_client *client;
	const struct image_identity *identity;
	const char *id;
	struct image_upload *upload;
	struct pipeline *pipeline; /* of the current attempt */
};

static void report_bytes_sent(void *opaque, uint64_t bytes)
{
	const struct image_upload *upload = ((struct glance_upload *)opaque)->upload;

	if (upload->progress)
		upload->progress(upload->opaque, bytes, upload->source->size);
}

static ssize_t read_pipeline(void *opaque, void *buffer, size_t size, GError **error)
{
	return pipeline_read(((struct glance_upload *)opaque)->pipeline, buffer, size, error);
}

/* Keeps the hash if the pipeline has read the whole source. */
static void keep_hash(struct image_upload *upload, struct pipeline *pipeline)
{
	const char *hash = pipeline_hash(pipeline);

	if (hash)
		g_strlcpy(upload->hash, hash, sizeof(upload->hash));
}

static int put_data_once(struct glance_upload *self, struct glance_request *request,
			 bool *ret_retry, GError **error)
{
	struct image_upload *upload = self->upload;
	struct http_reply reply = {0};
	int rc;

	self->pipeline = pipeline_start(upload, error);
	if (!self->pipeline)
		return -1;
	upload->attempts++;
	report_bytes_sent(self, 0);
	rc = glance_request_send_once(self->client, request, &reply, ret_retry, error);
	if (rc == 0 || reply.status == 0)
		keep_hash(upload, self->pipeline);
	http_reply_clear(&reply);
	pipeline_free(self->pipeline);
	return rc;
}

/* Reads the source only for its hash, if no attempt has read it completely. */
static int hash_source(struct image_upload *upload, GError **error)
{
	struct pipeline *pipeline;
	int rc;

	if (upload->hash[0])
		return 0;
	pipeline = pipeline_start(upload, error);
	if (!pipeline)
		return -1;
	rc = pipeline_drain(pipeline, error);
	keep_hash(upload, pipeline);
	pipeline_free(pipeline);
	return rc;
}

static int verify_record(const struct image_record *record, const struct image_upload *upload,
			 GError **error)
{
	const struct image_checksum checksum = {upload->hash_name, upload->hash, upload->sent};

	return image_record_verify(record, &checksum, error);
}

static int verify_image(const struct glance_upload *self, GError **error)
{
	g_autoptr(image_record_t) record = NULL;

	if (glance_image_get(self->client, self->identity, self->id, &record, error) < 0)
		return -1;
	return verify_record(record, self->upload, error);
}

/* The state of an image that an earlier attempt may have changed. */
enum image_check {
	IMAGE_CHECK_FAILED = -1, /* nothing can be sent; an error is set */
	IMAGE_CHECK_EMPTY,	 /* it accepts data */
	IMAGE_CHECK_COMPLETE,	 /* it contains the data to be sent */
};

static enum image_check check_complete(const struct glance_upload *self,
				       const struct image_record *record, GError **error)
{
	if (hash_source(self->upload, error) < 0 || verify_record(record, self->upload, error) < 0)
		return IMAGE_CHECK_FAILED;
	return IMAGE_CHECK_COMPLETE;
}

/* Checks the image. Waits while Glance is still saving the data of an earlier attempt. */
static enum image_check check_image_before_retry(const struct glance_upload *self, GError **error)
{
	unsigned timeout_s = self->client->config->saving_timeout_s;

	for (unsigned waited_s = 0;; waited_s += SAVING_POLL_S) {
		g_autoptr(image_record_t) record = NULL;

		if (glance_image_get(self->client, self->identity, self->id, &record, error) < 0)
			return IMAGE_CHECK_FAILED;
		if (g_strcmp0(record->status, "queued") == 0)
			return IMAGE_CHECK_EMPTY;
		if (g_strcmp0(record->status, "active") == 0)
			return check_complete(self, record, error);
		if (g_strcmp0(record->status, "saving") != 0) {
			g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT,
				    "image %s is %s and accepts no data", self->id, record->status);
			return IMAGE_CHECK_FAILED;
		}
		if (waited_s >= timeout_s) {
			g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE,
				    "image %s is still saving %u s after its upload was "
				    "interrupted; it is not uploaded again meanwhile",
				    self->id, waited_s);
			return IMAGE_CHECK_FAILED;
		}
		if (!image_cancel_sleep(self->upload->cancel, SAVING_POLL_S)) {
			g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED,
					    "the upload was cancelled");
			return IMAGE_CHECK_FAILED;
		}
	}
}

/* Sends the image until the upload is complete. */
static int put_until_complete(struct glance_upload *self, struct glance_request *request,
			      GError **error)
{
	unsigned retries = 0;

	for (;;) {
		GError *local = NULL;
		enum image_check check;
		bool other_token = false;

		if (put_data_once(self, request, &other_token, &local) == 0) {
			report_bytes_sent(self, self->upload->sent);
			return verify_image(self, error);
		}
		if (!other_token &&
		    (!g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE) ||
		     retries++ >= self->client->config->num_retries)) {
			/* The image existed before the attempt, so it was deleted. */
			if (g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
				local->code = IMAGE_ERROR_GONE;
			g_propagate_error(error, local);
			return -1;
		}
		g_message("image %s: upload attempt %u failed: %s; retrying", self->id,
			  self->upload->attempts, local->message);
		g_clear_error(&local);
		if (!other_token) {
			request->server++;
			(void)image_cancel_sleep(self->upload->cancel, RETRY_PAUSE_S);
		}
		check = check_image_before_retry(self, error);
		if (check == IMAGE_CHECK_FAILED)
			return -1;
		if (check == IMAGE_CHECK_COMPLETE) {
			report_bytes_sent(self, self->upload->sent);
			return 0;
		}
	}
}

int glance_image_upload(void *self, const struct image_identity *identity, const char *id,
			struct image_upload *upload, GError **error)
{
	struct glance_upload state = {
		.client = self, .identity = identity, .id = id, .upload = upload};
	const struct http_upload body = {.read = read_pipeline,
					 .sent = report_bytes_sent,
					 .opaque = &state,
					 .size = upload->source->size};
	struct glance_request request = {
		.identity = identity,
		.method = "PUT",
		.image_id = id,
		.url_suffix = "/file",
		.content_type = "application/octet-stream",
		.upload = &body,
		.cancel = upload->cancel,
	};
	enum image_check check = IMAGE_CHECK_EMPTY;

	upload->sent = upload->source->size;
	if (upload->resuming)
		check = check_image_before_retry(&state, error);
	if (check != IMAGE_CHECK_EMPTY)
		return check == IMAGE_CHECK_COMPLETE ? 0 : -1;
	return put_until_complete(&state, &request, error);
}
