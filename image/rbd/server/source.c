/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot that is read, with many reads in flight.
 */
#include "image/rbd/server/source.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "image/rbd/server/cluster.h"
#include "image/rbd/server/extents.h"
#include "image/rbd/server/failure.h"
#include "image/rbd/server/reply.h"

struct server_source {
	struct cluster_image image;
	uint64_t size;
	int event_fd;	   /* the number of answers in `done` */
	GAsyncQueue *done; /* of struct pending */
	unsigned in_flight;
	char *pool, *name, *snap; /* what `image` refers to */
};

/* A read in flight. */
struct pending {
	struct server_source *source;
	rbd_completion_t completion;
	uint64_t id;
	uint32_t length;
	char data[];
};

int server_source_open(struct server *server, const cJSON *request, cJSON *answer, GError **error)
{
	struct server_source *source;
	struct cluster_image image;
	rbd_image_info_t info = {0};
	int rc;

	if (server->source || !rbd_frame_string(request, "snap"))
		return failure_set_request(error);
	rc = cluster_image_open(server, request, CLUSTER_OPEN_READ, &image, error);
	if (rc == 0) {
		rc = rbd_stat(image.image, &info, sizeof(info));
		if (rc < 0)
			rc = failure_set(server, error, rc, image.pool, image.title);
	}
	if (rc < 0) {
		cluster_image_close(&image);
		return -1;
	}
	source = g_new0(struct server_source, 1);
	source->image = image;
	source->image.name = source->name = g_strdup(image.name);
	source->image.pool = source->pool = g_strdup(image.pool);
	source->image.snap = source->snap = g_strdup(image.snap);
	source->size = info.size;
	source->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	source->done = g_async_queue_new();
	server->source = source;
	(void)cJSON_AddNumberToObject(answer, "size", (double)info.size);
	return 0;
}

int server_source_extents(struct server *server, const cJSON *request, cJSON *answer,
			  GError **error)
{
	struct server_source *source = server->source;
	int rc;

	(void)request;
	(void)answer;
	if (!source || source->in_flight > 0)
		return failure_set_request(error);
	rc = extents_send(server, source->image.image, source->size);
	return rc < 0 ? failure_set(server, error, rc, source->pool, source->image.title) : 0;
}

/* In a thread of librbd. */
static void read_completed(rbd_completion_t completion, void *opaque)
{
	struct pending *pending = opaque;
	int event_fd = pending->source->event_fd;
	uint64_t one = 1;

	(void)completion;
	g_async_queue_push(pending->source->done, pending);
	(void)!write(event_fd, &one, sizeof(one));
}

int server_source_read(struct server *server, const cJSON *request, GError **error)
{
	struct server_source *source = server->source;
	struct pending *pending;
	uint64_t id, offset, length;
	int rc;

	if (!source || source->in_flight >= RBD_READS_MAX ||
	    !rbd_frame_number(request, "id", RBD_READS_MAX - 1, &id) ||
	    !rbd_frame_number(request, "length", RBD_READ_MAX, &length) || length == 0 ||
	    length > source->size ||
	    !rbd_frame_number(request, "offset", source->size - length, &offset))
		return failure_set_request(error);
	pending = g_malloc(sizeof(*pending) + length);
	pending->source = source;
	pending->id = id;
	pending->length = (uint32_t)length;
	rc = rbd_aio_create_completion(pending, read_completed, &pending->completion);
	if (rc == 0) {
		rc = rbd_aio_read(source->image.image, offset, length, pending->data,
				  pending->completion);
		if (rc == 0) {
			source->in_flight++;
			return 0;
		}
		rbd_aio_release(pending->completion);
	}
	g_free(pending);
	return failure_set(server, error, rc, source->pool, source->image.title);
}

int server_source_fd(const struct server *server)
{
	return server->source ? server->source->event_fd : -1;
}

static void send_answer(struct server *server, struct pending *pending)
{
	ssize_t got = rbd_aio_get_return_value(pending->completion);
	cJSON *json = cJSON_CreateObject();

	(void)cJSON_AddNumberToObject(json, "id", (double)pending->id);
	/* The range is within the image, so a short read is an error. */
	if (got >= 0 && got != (ssize_t)pending->length)
		got = -EIO;
	if (got < 0)
		(void)cJSON_AddNumberToObject(json, "errno", (double)-got);
	reply_send(server, json, got < 0 ? NULL : pending->data, got < 0 ? 0 : pending->length);
	rbd_aio_release(pending->completion);
	g_free(pending);
}

void server_source_send(struct server *server)
{
	struct server_source *source = server->source;
	struct pending *pending;
	uint64_t count;

	(void)!read(source->event_fd, &count, sizeof(count));
	while ((pending = g_async_queue_try_pop(source->done))) {
		source->in_flight--;
		send_answer(server, pending);
	}
}

void server_source_close(struct server *server)
{
	struct server_source *source = server->source;

	if (!source)
		return;
	/* Completions are called until the image is closed. */
	for (; source->in_flight > 0; source->in_flight--) {
		struct pending *pending = g_async_queue_pop(source->done);

		rbd_aio_release(pending->completion);
		g_free(pending);
	}
	cluster_image_close(&source->image);
	g_async_queue_unref(source->done);
	(void)close(source->event_fd);
	g_free(source->pool);
	g_free(source->name);
	g_free(source->snap);
	g_free(source);
	server->source = NULL;
}
