/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot in Ceph as an image source. The child reads; its answers arrive in any order.
 */
#include "image/rbd.h"

#include "image/rbd/frame.h"
#include "image/rbd/link.h"

/* An OSD reads an object of 4 MiB, the usual size, in order. So the reads must reach several
 * objects, as many as rbd export reads at once (rbd_concurrent_management_ops). */
#define READ_AHEAD_MIB 40

/* A request in flight. Its place in the table is its number. */
struct request {
	struct image_read *read; /* NULL: free */
	uint64_t offset;
	char *to;
	uint32_t length;
};

struct rbd_source {
	struct image_source head;
	struct rbd_link *link;
	char *name; /* pool/image@snap */
	char *reading;
	struct request requests[RBD_READS_MAX];
	unsigned in_flight;
	uint8_t extents[RBD_EXTENTS_PER_FRAME * RBD_EXTENT_SIZE];
	uint32_t extents_length; /* bytes of them in the frame that has arrived */
};

/* Passes an error of the link on, as one of a source. Returns -1. */
static int propagate(GError **error, GError *local)
{
	int code = local->code == IMAGE_RBD_ERROR_CANCELLED ? IMAGE_SOURCE_ERROR_CANCELLED
							    : IMAGE_SOURCE_ERROR_FAILED;

	if (local->code == IMAGE_RBD_ERROR_TIMEOUT || local->code == IMAGE_RBD_ERROR_DISCONNECTED)
		code = IMAGE_SOURCE_ERROR_DISCONNECTED;
	g_set_error_literal(error, IMAGE_SOURCE_ERROR, code, local->message);
	g_error_free(local);
	return -1;
}

/* Returns the request that a frame answers; NULL: none. */
static struct request *answered_request(struct rbd_source *source, const cJSON *json)
{
	uint64_t id;

	if (!rbd_frame_number(json, "id", RBD_READS_MAX - 1, &id))
		return NULL;
	return source->requests[id].read ? &source->requests[id] : NULL;
}

static void *buffer_of_answer(void *opaque, const cJSON *json, uint32_t length)
{
	struct request *request = answered_request(opaque, json);

	if (!request || rbd_frame_string(json, "error") || request->length != length)
		return NULL;
	request->length = 0; /* has arrived */
	return request->to;
}

/* Keeps the first error of a read. */
static void set_read_error(const struct request *request, int number)
{
	if (request->read->error_code != 0)
		return;
	request->read->error_code = number;
	request->read->offset = request->offset;
}

/* Waits for the answer to any request. */
static int receive_answer(struct rbd_source *source, GError **error)
{
	cJSON *json =
		rbd_link_receive(source->link, buffer_of_answer, source, source->reading, error);
	struct request *request;
	uint64_t number;
	int rc = 0;

	if (!json)
		return -1;
	request = answered_request(source, json);
	if (!request) {
		rc = rbd_link_check(source->link, json, source->reading, error);
		if (rc == 0)
			rc = rbd_link_fail(source->link, source->reading, "it answered no request",
					   error);
	} else if (rbd_frame_number(json, "errno", G_MAXINT32, &number) && number > 0) {
		set_read_error(request, (int)number);
	} else if (request->length > 0) {
		rc = rbd_link_fail(source->link, source->reading, "its answer has no data", error);
	}
	if (rc == 0) {
		request->read->pending--;
		request->read = NULL;
		source->in_flight--;
	}
	cJSON_Delete(json);
	return rc;
}

/* The requests in flight will never be answered. */
static void forget_requests(struct rbd_source *source)
{
	for (unsigned id = 0; id < RBD_READS_MAX; id++)
		source->requests[id].read = NULL;
	source->in_flight = 0;
}

static int start_request(struct rbd_source *source, struct image_read *read, uint64_t offset,
			 char *to, uint32_t length, GError **error)
{
	cJSON *json = cJSON_CreateObject();
	unsigned id = 0;

	while (source->requests[id].read)
		id++;
	(void)cJSON_AddStringToObject(json, "op", "read");
	(void)cJSON_AddNumberToObject(json, "id", id);
	(void)cJSON_AddNumberToObject(json, "offset", (double)offset);
	(void)cJSON_AddNumberToObject(json, "length", length);
	if (rbd_link_send(source->link, json, source->reading, error) < 0)
		return -1;
	source->requests[id] = (struct request){read, offset, to, length};
	source->in_flight++;
	read->pending++;
	return 0;
}

static int rbd_source_start(struct image_source *head, struct image_read *read, uint64_t offset,
			    void *buf, size_t len, GError **error)
{
	struct rbd_source *source = (struct rbd_source *)head;
	GError *local = NULL;
	char *to = buf;
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < len; at += RBD_READ_MAX) {
		uint32_t length = (uint32_t)MIN((size_t)RBD_READ_MAX, len - at);

		while (rc == 0 && source->in_flight == RBD_READS_MAX)
			rc = receive_answer(source, &local);
		if (rc == 0)
			rc = start_request(source, read, offset + at, to + at, length, &local);
	}
	if (rc == 0)
		return 0;
	forget_requests(source);
	return propagate(error, local);
}

static int rbd_source_finish(struct image_source *head, struct image_read *read, GError **error)
{
	struct rbd_source *source = (struct rbd_source *)head;
	GError *local = NULL;

	while (read->pending > 0) {
		if (receive_answer(source, &local) < 0) {
			forget_requests(source);
			return propagate(error, local);
		}
	}
	if (read->error_code == 0)
		return 0;
	g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
		    "%s at byte %" G_GUINT64_FORMAT ": %s", source->reading, read->offset,
		    g_strerror(read->error_code));
	return -1;
}

static void *buffer_of_extents(void *opaque, const cJSON *json, uint32_t length)
{
	struct rbd_source *source = opaque;

	if (!cJSON_HasObjectItem(json, "extents") || length > sizeof(source->extents) ||
	    length % RBD_EXTENT_SIZE != 0)
		return NULL;
	source->extents_length = length;
	return source->extents;
}

/* Reports the extents of a frame, and the zeros before each. Returns -1 if they are not in order
 * or beyond the end. */
static int report_extents(struct rbd_source *source, uint64_t *at, image_extent_fn each,
			  void *opaque)
{
	for (uint32_t i = 0; i < source->extents_length; i += RBD_EXTENT_SIZE) {
		uint64_t offset, length;

		rbd_frame_read_extent(source->extents + i, &offset, &length);
		if (offset < *at || length == 0 || offset > source->head.size ||
		    length > source->head.size - offset)
			return -1;
		if (offset > *at)
			each(*at, offset - *at, false, opaque);
		each(offset, length, true, opaque);
		*at = offset + length;
	}
	return 0;
}

static int receive_extents(struct rbd_source *source, const char *action, image_extent_fn each,
			   void *opaque, GError **error)
{
	uint64_t at = 0;
	bool last = false;

	while (!last) {
		cJSON *json =
			rbd_link_receive(source->link, buffer_of_extents, source, action, error);
		int rc = 0;

		if (!json)
			return -1;
		if (cJSON_HasObjectItem(json, "extents")) {
			rc = report_extents(source, &at, each, opaque);
			if (rc < 0)
				(void)rbd_link_fail(source->link, action,
						    "it reported extents that are invalid", error);
		} else if (!cJSON_HasObjectItem(json, "progress")) {
			rc = rbd_link_check(source->link, json, action, error);
			last = true;
		}
		source->extents_length = 0;
		cJSON_Delete(json);
		if (rc < 0)
			return -1;
	}
	if (at < source->head.size)
		each(at, source->head.size - at, false, opaque);
	return 0;
}

static int rbd_source_extents(struct image_source *head, image_extent_fn each, void *opaque,
			      GError **error)
{
	struct rbd_source *source = (struct rbd_source *)head;
	g_autofree char *action = g_strdup_printf("querying the extents of %s", source->name);
	cJSON *request = cJSON_CreateObject();
	GError *local = NULL;
	int rc = 0;

	(void)cJSON_AddStringToObject(request, "op", "extents");
	while (rc == 0 && source->in_flight > 0)
		rc = receive_answer(source, &local);
	if (rc < 0) {
		cJSON_Delete(request);
		forget_requests(source);
		return propagate(error, local);
	}
	if (rbd_link_send(source->link, request, action, &local) < 0 ||
	    receive_extents(source, action, each, opaque, &local) < 0)
		return propagate(error, local);
	return 0;
}

static void rbd_source_free(struct image_source *head)
{
	struct rbd_source *source = (struct rbd_source *)head;

	rbd_link_close(source->link);
	g_free(source->name);
	g_free(source->reading);
	g_free(source);
}

static const struct image_source_ops rbd_source_ops = {
	.read = image_source_start_and_finish,
	.start = rbd_source_start,
	.finish = rbd_source_finish,
	.free = rbd_source_free,
	.extents = rbd_source_extents,
};

/* Opens the snapshot in the child, which then reads no other. */
static int open_snapshot(struct rbd_source *source, const char *pool, const char *image,
			 const char *snap, GError **error)
{
	g_autofree char *action = g_strdup_printf("opening %s", source->name);
	cJSON *request = cJSON_CreateObject(), *answer;
	int rc = 0;

	(void)cJSON_AddStringToObject(request, "op", "source");
	(void)cJSON_AddStringToObject(request, "pool", pool);
	(void)cJSON_AddStringToObject(request, "image", image);
	(void)cJSON_AddStringToObject(request, "snap", snap);
	if (rbd_link_send(source->link, request, action, error) < 0)
		return -1;
	answer = rbd_link_answer(source->link, NULL, NULL, action, error);
	if (!answer)
		return -1;
	if (!rbd_frame_number(answer, "size", G_MAXINT64, &source->head.size))
		rc = rbd_link_fail(source->link, action, "it reported no size", error);
	cJSON_Delete(answer);
	return rc;
}

struct image_source *image_source_new_rbd(const struct image_rbd_cluster *cluster,
					  const atomic_int *cancel, const char *pool,
					  const char *image, const char *snap, GError **error)
{
	struct rbd_link *link = rbd_link_open(cluster, cancel, error);
	struct rbd_source *source;

	if (!link)
		return NULL;
	source = g_new0(struct rbd_source, 1);
	source->head.ops = &rbd_source_ops;
	source->head.read_ahead_mib = READ_AHEAD_MIB;
	source->link = link;
	source->name = g_strdup_printf("%s/%s@%s", pool, image, snap);
	source->reading = g_strdup_printf("reading %s", source->name);
	if (open_snapshot(source, pool, image, snap, error) == 0)
		return &source->head;
	rbd_source_free(&source->head);
	return NULL;
}
