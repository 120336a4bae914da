/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Uploads the data of an image to Glance. Each attempt starts at byte 0, after a check of the
 * image: a seemingly failed attempt may have succeeded, or Glance may still be storing its data.
 */
#include "image/store/glance-upload.h"

#include "image/cancel.h"
#include "image/store/glance-client.h"
#include "image/store/glance-image.h"
#include "image/store/glance-poll.h"
#include "image/store/glance-refusal.h"
#include "image/store/pipeline.h"

#define RETRY_PAUSE_S 1

/* One upload with all its attempts. */
struct glance_upload {
	struct glance_client *client;
	const struct image_identity *identity;
	const char *id;
	struct image_upload *upload;
	struct pipeline *pipeline; /* of the current attempt */
	bool may_be_complete;	   /* the store may have all data of the last attempt */
	bool may_have_data;	   /* the image may have data of this upload */
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

/* Keeps the hash if the pipeline has read the whole source. Returns whether it has. */
static bool keep_hash(struct image_upload *upload, struct pipeline *pipeline)
{
	const char *hash = pipeline_hash(pipeline);

	if (hash)
		g_strlcpy(upload->hash, hash, sizeof(upload->hash));
	return hash != NULL;
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
	/* A server that refuses an upload has not read all of it. The connection may also break
	 * within a reply that confirms it. */
	if (keep_hash(upload, self->pipeline) && (reply.status < 300 || reply.status >= 500))
		self->may_be_complete = true;
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
	(void)keep_hash(upload, pipeline);
	pipeline_free(pipeline);
	return rc;
}

/* The state of an image that an earlier attempt may have changed. */
enum image_check {
	IMAGE_CHECK_FAILED = -1, /* nothing can be sent; an error is set */
	IMAGE_CHECK_EMPTY,	 /* it accepts data */
	IMAGE_CHECK_COMPLETE,	 /* it contains the data to be sent */
	IMAGE_CHECK_UNKNOWN,	 /* only while it is being checked: the reason is set as an error */
};

/* Data that this upload has not sent is another one's, also of the earlier process: the image must
 * not be deleted because of it. */
static void spare_other_data(const struct glance_upload *self, GError *error)
{
	if (!self->may_have_data)
		error->code = IMAGE_ERROR_CONFLICT;
}

static enum image_check check_complete(struct glance_upload *self,
				       const struct image_record *record, GError **error)
{
	struct image_upload *upload = self->upload;
	struct image_checksum checksum;
	GError *local = NULL;

	if (hash_source(upload, error) < 0)
		return IMAGE_CHECK_FAILED;
	checksum = (struct image_checksum){upload->hash_name, upload->hash, upload->sent};
	if (image_record_verify(record, &checksum, &local) < 0) {
		self->may_be_complete = false;
		spare_other_data(self, local);
		g_propagate_error(error, local);
		return IMAGE_CHECK_FAILED;
	}
	upload->verified = true;
	return IMAGE_CHECK_COMPLETE;
}

/* Whether another query may succeed: the store does not answer, or rejects a token that may have
 * expired during the upload. */
static bool may_ask_again(const struct glance_upload *self, const GError *error)
{
	return self->may_be_complete &&
	       (error->code == IMAGE_ERROR_UNAVAILABLE || error->code == IMAGE_ERROR_AUTH);
}

static enum image_check check_image_once(struct glance_upload *self, GError **error)
{
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	if (glance_image_get(self->client, self->identity, self->id, &record, &local) < 0) {
		bool is_unknown = may_ask_again(self, local);

		if (g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
			self->may_be_complete = false;
		g_propagate_error(error, g_steal_pointer(&local));
		return is_unknown ? IMAGE_CHECK_UNKNOWN : IMAGE_CHECK_FAILED;
	}
	if (g_strcmp0(record->status, "queued") == 0) {
		self->may_be_complete = false;
		return IMAGE_CHECK_EMPTY;
	}
	if (g_strcmp0(record->status, "active") == 0)
		return check_complete(self, record, error);
	if (g_strcmp0(record->status, "saving") != 0) {
		self->may_be_complete = false;
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT,
			    "image %s is %s and accepts no data", self->id, record->status);
		return IMAGE_CHECK_FAILED;
	}
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "image %s is still saving",
		    self->id);
	return IMAGE_CHECK_UNKNOWN;
}

/* Checks the image. Waits while Glance is still saving the data of an earlier attempt and, if that
 * has sent all data, while Glance does not answer. */
static enum image_check check_image(struct glance_upload *self, GError **error)
{
	struct image_upload *upload = self->upload;
	struct glance_poll poll;

	glance_poll_begin(&poll);
	for (;;) {
		unsigned waited_s = glance_poll_waited_s(&poll);
		g_autoptr(GError) local = NULL;
		enum image_check check = check_image_once(self, &local);

		if (check != IMAGE_CHECK_UNKNOWN) {
			if (local)
				g_propagate_error(error, g_steal_pointer(&local));
			return check;
		}
		if (waited_s >= self->client->config->saving_timeout_s) {
			g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE,
				    "%s %u s after its upload was interrupted; it is not uploaded "
				    "again meanwhile",
				    local->message, waited_s);
			if (error)
				spare_other_data(self, *error);
			return IMAGE_CHECK_FAILED;
		}
		if (self->may_be_complete && upload->finishing)
			upload->finishing(upload->opaque, local->message);
		if (!glance_poll_sleep(&poll, upload->cancel)) {
			g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED,
					    "the upload was cancelled");
			return IMAGE_CHECK_FAILED;
		}
	}
}

static bool is_gone(const GError *error)
{
	return g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND) ||
	       g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_GONE);
}

/* Whether Glance may refuse the data because data of an earlier attempt arrived late. */
static bool is_conflict_with_earlier(const struct glance_upload *self, const GError *error)
{
	return g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT) &&
	       (self->upload->resuming || self->upload->late || self->upload->attempts > 1);
}

/* Whether the image must be checked after a failed attempt: before another one, or because it may
 * be complete. */
static bool must_check(const struct glance_upload *self, const GError *error, bool may_retry)
{
	if (image_cancel_is_set(self->upload->cancel))
		return false;
	return may_retry || self->may_be_complete || is_gone(error) ||
	       is_conflict_with_earlier(self, error);
}

/* Whether another attempt may succeed. Glance also answers 410 if the image's status changed during
 * the upload: only its record shows whether the image is gone. */
static bool may_succeed_later(const GError *error)
{
	return g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE) || is_gone(error);
}

/* Checks the image after a failed attempt. `failure` is the attempt's error, of which the caller
 * keeps ownership. */
static enum image_check check_after_failure(struct glance_upload *self, const GError *failure,
					    GError **error)
{
	g_autoptr(GError) local = NULL;
	enum image_check check;

	check = check_image(self, &local);
	/* It existed before the attempt. */
	if (local && is_gone(failure) && is_gone(local))
		local->code = IMAGE_ERROR_GONE;
	if (local)
		g_propagate_error(error, g_steal_pointer(&local));
	return check;
}

/* Sends the image until the upload is complete. */
static int put_until_complete(struct glance_upload *self, struct glance_request *request,
			      GError **error)
{
	struct image_upload *upload = self->upload;
	unsigned retries = 0;

	for (;;) {
		g_autoptr(GError) local = NULL;
		enum image_check check;
		bool other_token = false, may_retry;

		if (put_data_once(self, request, &other_token, &local) == 0) {
			report_bytes_sent(self, upload->sent);
			return 0;
		}
		if (!g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_CONFLICT))
			self->may_have_data = true;
		may_retry = other_token ||
			    ((may_succeed_later(local) || is_conflict_with_earlier(self, local)) &&
			     retries++ < self->client->config->num_retries);
		if (!must_check(self, local, may_retry)) {
			glance_refusal_explain(self->client, self->identity, self->id, &local);
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		g_message("image %s: upload attempt %u failed: %s; %s", self->id, upload->attempts,
			  local->message, may_retry ? "retrying" : "checking the image");
		if (!other_token) {
			request->server++;
			(void)image_cancel_sleep(upload->cancel, RETRY_PAUSE_S);
		}
		check = check_after_failure(self, local, error);
		if (check == IMAGE_CHECK_FAILED)
			return -1;
		if (check == IMAGE_CHECK_COMPLETE) {
			report_bytes_sent(self, upload->sent);
			return 0;
		}
		if (!may_retry) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
	}
}

int glance_image_upload(void *self, const struct image_identity *identity, const char *id,
			struct image_upload *upload, GError **error)
{
	struct glance_upload state = {
		.client = self,
		.identity = identity,
		.id = id,
		.upload = upload,
		.may_have_data = upload->resuming,
	};
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
	int rc;

	upload->sent = upload->source->size;
	if (upload->resuming)
		check = check_image(&state, error);
	if (check == IMAGE_CHECK_EMPTY)
		rc = put_until_complete(&state, &request, error);
	else
		rc = check == IMAGE_CHECK_COMPLETE ? 0 : -1;
	upload->may_be_complete = rc < 0 && state.may_be_complete;
	return rc;
}
