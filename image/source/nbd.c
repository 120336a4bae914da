/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An NBD export as an image source.
 */
#include <string.h>

#include "image/source.h"
#include "image/source/nbd-connection.h"

/* The most bytes in one request. Smaller requests cost client and server a tenth more CPU time,
 * larger ones delay the guest's own requests. */
#define REQUEST_SIZE_MAX ((size_t)1024 * 1024)
/* The most bytes in one request for extents. The protocol has 32 bits for the length. */
#define EXTENTS_SIZE_MAX ((uint64_t)2 << 30)
#define STATE_ZERO 2 /* NBD_STATE_ZERO in the NBD protocol */

static const char reading[] = "reading the disk";

struct nbd_source {
	struct image_source head;
	struct nbd_connection *connection;
	bool has_extents;
};

static int nbd_source_start(struct image_source *source, struct image_read *read, uint64_t offset,
			    void *buf, size_t len, GError **error)
{
	struct nbd_connection *connection = ((struct nbd_source *)source)->connection;
	struct nbd_handle *nbd = nbd_connection_handle(connection, error);
	char *to = buf;

	if (!nbd)
		return -1;
	for (size_t at = 0; at < len; at += REQUEST_SIZE_MAX) {
		nbd_completion_callback callback =
			nbd_connection_expect(connection, read, offset + at);
		size_t length = MIN(REQUEST_SIZE_MAX, len - at);

		if (nbd_aio_pread(nbd, to + at, length, offset + at, callback, 0) < 0)
			return nbd_connection_fail(connection, read, reading, error);
	}
	return 0;
}

static int nbd_source_finish(struct image_source *source, struct image_read *read, GError **error)
{
	return nbd_connection_wait(((struct nbd_source *)source)->connection, read, reading, error);
}

/* The progress of a query for extents. */
struct extents_walk {
	image_extent_fn each;
	void *opaque;
	uint64_t at;   /* all extents before this byte were reported */
	uint64_t end;  /* the size of the export */
	bool progress; /* the last request returned an extent */
};

static int receive_extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries,
			   size_t count, int *error)
{
	struct extents_walk *walk = opaque;

	if (*error != 0 || !g_str_equal(context, LIBNBD_CONTEXT_BASE_ALLOCATION) ||
	    offset != walk->at)
		return 0;
	for (size_t i = 0; i + 1 < count && walk->at < walk->end; i += 2) {
		uint64_t length = MIN((uint64_t)entries[i], walk->end - walk->at);

		/* Skip extents of length 0, which libnbd before 1.18 passes on. They do not count
		 * as progress: otherwise a server that returns nothing else would be queried
		 * forever. */
		if (length == 0)
			continue;
		walk->each(walk->at, length, !(entries[i + 1] & STATE_ZERO), walk->opaque);
		walk->at += length;
		walk->progress = true;
	}
	return 0;
}

/* Requests the extents from walk->at on. The server's answer contains at least one. */
static int request_extents(struct nbd_connection *connection, struct extents_walk *walk,
			   GError **error)
{
	static const char action[] = "querying the disk's extents";
	struct nbd_handle *nbd = nbd_connection_handle(connection, error);
	nbd_extent_callback extents = {.callback = receive_extents, .user_data = walk};
	struct image_read answer = {0};
	uint64_t length = MIN(walk->end - walk->at, EXTENTS_SIZE_MAX);

	if (!nbd)
		return -1;
	walk->progress = false;
	if (nbd_aio_block_status(nbd, length, walk->at, extents,
				 nbd_connection_expect(connection, &answer, walk->at), 0) < 0)
		return nbd_connection_fail(connection, &answer, action, error);
	if (nbd_connection_wait(connection, &answer, action, error) < 0)
		return -1;
	if (walk->progress)
		return 0;
	g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
		    "%s: the server returned none", action);
	return -1;
}

static int nbd_source_extents(struct image_source *source, image_extent_fn each, void *opaque,
			      GError **error)
{
	struct nbd_source *nbd = (struct nbd_source *)source;
	struct extents_walk walk = {.each = each, .opaque = opaque, .end = source->size};

	if (!nbd->has_extents) {
		if (!nbd_connection_handle(nbd->connection, error))
			return -1;
		each(0, source->size, true, opaque);
		return 0;
	}
	while (walk.at < walk.end) {
		if (request_extents(nbd->connection, &walk, error) < 0)
			return -1;
	}
	return 0;
}

static void nbd_source_free(struct image_source *source)
{
	struct nbd_source *nbd = (struct nbd_source *)source;

	nbd_connection_free(nbd->connection);
	g_free(nbd);
}

static const struct image_source_ops nbd_source_ops = {
	.read = image_source_start_and_finish,
	.start = nbd_source_start,
	.finish = nbd_source_finish,
	.free = nbd_source_free,
	.extents = nbd_source_extents,
};

void image_source_kill_server(struct image_source *source)
{
	g_return_if_fail(source->ops == &nbd_source_ops);
	nbd_connection_kill_server(((struct nbd_source *)source)->connection);
}

struct image_source *image_source_new_nbd(const struct image_nbd *nbd, GError **error)
{
	struct nbd_connection *connection = nbd_connection_open(nbd, error);
	struct nbd_source *source;
	struct nbd_handle *handle;
	int64_t size;

	if (!connection)
		return NULL;
	handle = nbd_connection_handle(connection, NULL);
	size = nbd_get_size(handle);
	if (size < 0) {
		const char *reason = nbd_get_error();

		g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
			    "querying the disk's size: %s",
			    reason ? reason : "libnbd reports no reason");
		nbd_connection_free(connection);
		return NULL;
	}
	source = g_new0(struct nbd_source, 1);
	source->head.ops = &nbd_source_ops;
	source->head.size = (uint64_t)size;
	source->connection = connection;
	source->has_extents = nbd_can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
	return &source->head;
}
