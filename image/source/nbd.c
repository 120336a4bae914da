/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An NBD export as an image source, read with libnbd: with structured replies, the metadata context
 * base:allocation, and several requests in flight.
 */
#include <libnbd.h>
#include <string.h>

#include "image/cancel.h"
#include "image/source.h"
#include "image/source/nbd-server.h"

/* The most bytes in one request. Smaller requests cost client and server a tenth more CPU time,
 * larger ones delay the guest's own requests. */
#define REQUEST_SIZE_MAX ((size_t)1024 * 1024)
/* The most bytes in one request for extents. The protocol has 32 bits for the length. */
#define EXTENTS_SIZE_MAX ((uint64_t)2 << 30)
#define POLL_MS 250
#define STATE_ZERO 2 /* NBD_STATE_ZERO in the NBD protocol */

struct nbd_source {
	struct image_source head;
	struct nbd_handle *nbd; /* NULL: the connection was closed after an error */
	unsigned timeout_s;
	const atomic_int *cancel;
	bool has_extents;
	struct nbd_server *server; /* NULL: not started by novasnap */
};

/* A new connection can help if this one is dead, but not if the server rejected a request. */
static int nbd_error_code(const struct nbd_source *source)
{
	bool gone = source->nbd &&
		    (nbd_aio_is_dead(source->nbd) == 1 || nbd_aio_is_closed(source->nbd) == 1);

	return gone ? IMAGE_SOURCE_ERROR_DISCONNECTED : IMAGE_SOURCE_ERROR_FAILED;
}

static int set_libnbd_error(const struct nbd_source *source, GError **error, const char *action)
{
	const char *reason = nbd_get_error();

	g_set_error(error, IMAGE_SOURCE_ERROR, nbd_error_code(source), "%s: %s", action,
		    reason ? reason : "libnbd reports no reason");
	return -1;
}

/* If novasnap started the server, its message is more precise than libnbd's, which only reports a
 * closed connection. */
static int set_connect_error(const struct nbd_source *source, GError **error)
{
	static const char action[] = "connecting to the disk's NBD export";
	g_autofree char *text = source->server ? nbd_server_error_text(source->server) : NULL;

	if (!text || *text == '\0')
		return set_libnbd_error(source, error, action);
	g_set_error(error, IMAGE_SOURCE_ERROR, nbd_error_code(source), "%s: %s", action, text);
	return -1;
}

static int nbd_check_cancelled(const struct nbd_source *source, GError **error)
{
	return image_cancel_check(source->cancel, "reading the disk", error);
}

/* Requests in flight. Their callbacks run within nbd_poll(), in the same thread. */
struct flight {
	unsigned left; /* number of unanswered requests */
	int failed;    /* errno of the first failed request; 0: none */
};

static int request_completed(void *opaque, int *error)
{
	struct flight *flight = opaque;

	flight->left--;
	if (*error != 0 && flight->failed == 0)
		flight->failed = *error;
	return 1; /* libnbd frees the request */
}

/* Waits for all answers, because libnbd writes them to the caller's buffer. After an error the
 * caller closes the connection, which ends all requests. */
static int wait_for_answers(struct nbd_source *source, struct flight *flight, const char *action,
			    GError **error)
{
	gint64 progress_us = g_get_monotonic_time();
	unsigned left_before = flight->left;

	while (flight->left > 0) {
		int rc = nbd_poll(source->nbd, POLL_MS);

		if (flight->left < left_before) {
			left_before = flight->left;
			progress_us = g_get_monotonic_time();
		}
		if (rc < 0)
			return set_libnbd_error(source, error, action);
		if (nbd_check_cancelled(source, error) < 0)
			return -1;
		if (g_get_monotonic_time() - progress_us >
		    (gint64)source->timeout_s * G_USEC_PER_SEC) {
			g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED,
				    "%s: no answer within %u s", action, source->timeout_s);
			return -1;
		}
	}
	if (flight->failed == 0)
		return 0;
	g_set_error(error, IMAGE_SOURCE_ERROR, nbd_error_code(source), "%s: %s", action,
		    g_strerror(flight->failed));
	return -1;
}

/* Ends all requests, because the caller may free their buffers after an error. */
static void close_connection(struct nbd_source *source)
{
	nbd_close(source->nbd);
	source->nbd = NULL;
	nbd_server_stop(g_steal_pointer(&source->server));
}

static int check_connected(const struct nbd_source *source, GError **error)
{
	if (source->nbd)
		return 0;
	g_set_error_literal(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED,
			    "the connection to the disk's NBD export was closed after an error");
	return -1;
}

/* Sends the requests for one read. */
static int send_reads(struct nbd_source *source, uint64_t offset, char *buf, size_t len,
		      struct flight *flight)
{
	for (size_t at = 0; at < len; at += REQUEST_SIZE_MAX) {
		nbd_completion_callback callback = {.callback = request_completed,
						    .user_data = flight};
		size_t length = MIN(REQUEST_SIZE_MAX, len - at);

		flight->left++;
		if (nbd_aio_pread(source->nbd, buf + at, length, offset + at, callback, 0) < 0) {
			flight->left--;
			return -1;
		}
	}
	return 0;
}

static int nbd_source_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
			   GError **error)
{
	struct nbd_source *nbd = (struct nbd_source *)source;
	struct flight flight = {0};
	g_autofree char *action =
		g_strdup_printf("reading the disk at byte %" G_GUINT64_FORMAT, offset);
	int rc;

	if (check_connected(nbd, error) < 0)
		return -1;
	rc = send_reads(nbd, offset, buf, len, &flight) < 0
		     ? set_libnbd_error(nbd, error, action)
		     : wait_for_answers(nbd, &flight, action, error);
	if (rc < 0)
		close_connection(nbd);
	return rc;
}

/* The progress of a query for extents. */
struct extents_walk {
	image_extent_fn each;
	void *opaque;
	uint64_t at;   /* all extents before this byte were reported */
	uint64_t end;  /* the size of the export */
	bool progress; /* the last request returned an extent */
	struct flight flight;
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
static int request_extents(struct nbd_source *nbd, struct extents_walk *walk, GError **error)
{
	static const char action[] = "querying the disk's extents";
	nbd_extent_callback extents = {.callback = receive_extents, .user_data = walk};
	nbd_completion_callback completed = {.callback = request_completed,
					     .user_data = &walk->flight};
	uint64_t length = MIN(walk->end - walk->at, EXTENTS_SIZE_MAX);

	walk->progress = false;
	walk->flight = (struct flight){.left = 1};
	if (nbd_aio_block_status(nbd->nbd, length, walk->at, extents, completed, 0) < 0)
		return set_libnbd_error(nbd, error, action);
	if (wait_for_answers(nbd, &walk->flight, action, error) < 0)
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

	if (check_connected(nbd, error) < 0)
		return -1;
	if (!nbd->has_extents) {
		each(0, source->size, true, opaque);
		return 0;
	}
	while (walk.at < walk.end) {
		if (request_extents(nbd, &walk, error) == 0)
			continue;
		close_connection(nbd);
		return -1;
	}
	return 0;
}

static void nbd_source_free(struct image_source *source)
{
	struct nbd_source *nbd = (struct nbd_source *)source;

	close_connection(nbd);
	g_free(nbd);
}

static const struct image_source_ops nbd_source_ops = {
	.read = nbd_source_read,
	.free = nbd_source_free,
	.extents = nbd_source_extents,
};

/* Waits until the handshake is complete. */
static int wait_for_handshake(struct nbd_source *source, GError **error)
{
	gint64 until_us = g_get_monotonic_time() + (gint64)source->timeout_s * G_USEC_PER_SEC;

	while (nbd_aio_is_ready(source->nbd) != 1) {
		if (nbd_poll(source->nbd, POLL_MS) < 0 || nbd_aio_is_dead(source->nbd) == 1 ||
		    nbd_aio_is_closed(source->nbd) == 1)
			return set_connect_error(source, error);
		if (nbd_check_cancelled(source, error) < 0)
			return -1;
		if (g_get_monotonic_time() > until_us) {
			g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED,
				    "connecting to the disk's NBD export: no answer within %u s",
				    source->timeout_s);
			return -1;
		}
	}
	return 0;
}

static int start_and_connect(struct nbd_source *source, const struct image_nbd *nbd, GError **error)
{
	int client;

	source->server = nbd_server_start(nbd->argv, nbd->socket, &client, error);
	if (!source->server)
		return -1;
	/* libnbd closes the socket, also after an error. */
	return nbd_aio_connect_socket(source->nbd, client) < 0 ? set_connect_error(source, error)
							       : 0;
}

static int connect_source(struct nbd_source *source, const struct image_nbd *nbd, GError **error)
{
	/* libnbd would zero each buffer before reading into it, which costs a tenth of the CPU
	 * time. It is not needed, because the buffer of a failed read is not used. */
	if (nbd_set_pread_initialize(source->nbd, false) < 0 ||
	    nbd_set_export_name(source->nbd, nbd->export_name) < 0 ||
	    nbd_add_meta_context(source->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
	    (!nbd->argv && nbd_aio_connect_unix(source->nbd, nbd->socket) < 0))
		return set_connect_error(source, error);
	if (nbd->argv && start_and_connect(source, nbd, error) < 0)
		return -1;
	return wait_for_handshake(source, error);
}

struct image_source *image_source_new_nbd(const struct image_nbd *nbd, GError **error)
{
	struct nbd_source *source = g_new0(struct nbd_source, 1);
	int64_t size = -1;

	source->head.ops = &nbd_source_ops;
	source->timeout_s = nbd->timeout_s;
	source->cancel = nbd->cancel;
	source->nbd = nbd_create();
	if (!source->nbd)
		(void)set_libnbd_error(source, error, "initializing libnbd");
	else if (connect_source(source, nbd, error) == 0) {
		size = nbd_get_size(source->nbd);
		if (size < 0)
			(void)set_libnbd_error(source, error, "querying the disk's size");
	}
	if (size < 0) {
		nbd_source_free(&source->head);
		return NULL;
	}
	source->head.size = (uint64_t)size;
	source->has_extents =
		nbd_can_meta_context(source->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
	return &source->head;
}
