/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The image source that is an NBD export, read by libnbd: structured replies, base:allocation, and
 * several requests in flight.
 */
#include <libnbd.h>
#include <string.h>

#include "image/internal.h"

/* A request, and so an answer, is of at most so many bytes. Smaller ones cost the server and us a
 * tenth more CPU time, larger ones keep the guest's own waiting. */
#define PIECE ((size_t)1024 * 1024)
#define POLL_MS 250
/* What a block status is asked of at once: the protocol has 32 bits for it. */
#define STATUS_MAX ((uint64_t)2 << 30)
#define STATE_ZERO 2 /* NBD_STATE_ZERO */

struct nbd_source {
	struct image_source head;
	struct nbd_handle *nbd;
	unsigned timeout_s;
	const atomic_int *cancel;
	bool has_extents;
	struct nbd_server *server; /* NULL: somebody else's */
};

/* A connection that is dead may be had anew; what the server refused may not. */
static int error_code(const struct nbd_source *source)
{
	bool gone = source->nbd &&
		    (nbd_aio_is_dead(source->nbd) == 1 || nbd_aio_is_closed(source->nbd) == 1);

	return gone ? IMAGE_SOURCE_ERROR_DISCONNECTED : IMAGE_SOURCE_ERROR_FAILED;
}

static int fail(const struct nbd_source *source, GError **error, const char *what)
{
	const char *why = nbd_get_error();

	g_set_error(error, IMAGE_SOURCE_ERROR, error_code(source), "%s: %s", what,
		    why ? why : "libnbd does not say why");
	return -1;
}

/* The program that should have served it knows better why. */
static int fail_to_connect(const struct nbd_source *source, GError **error)
{
	static const char what[] = "connecting to the disk's export";
	g_autofree char *words = source->server ? nbd_server_words(source->server) : NULL;

	if (!words || *words == '\0')
		return fail(source, error, what);
	g_set_error(error, IMAGE_SOURCE_ERROR, error_code(source), "%s: %s", what, words);
	return -1;
}

static int check_cancel(const struct nbd_source *source, GError **error)
{
	if (!source->cancel || atomic_load(source->cancel) == 0)
		return 0;
	g_set_error_literal(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED,
			    "reading the disk was cancelled");
	return -1;
}

/* Requests that are on their way; the callbacks run within nbd_poll, in the same thread. */
struct flight {
	unsigned left;
	int failed; /* an errno, 0: none */
};

static int landed(void *opaque, int *error)
{
	struct flight *flight = opaque;

	flight->left--;
	if (*error != 0 && flight->failed == 0)
		flight->failed = *error;
	return 1; /* retire the command */
}

/* Until all have landed: a buffer must not be freed while an answer may still come. Only a
 * connection that is dead, or given up, ends it earlier, and lands them all. */
static int wait_for(struct nbd_source *source, struct flight *flight, const char *what,
		    GError **error)
{
	gint64 moved = g_get_monotonic_time();
	unsigned before = flight->left;

	while (flight->left > 0) {
		int rc = nbd_poll(source->nbd, POLL_MS);

		if (flight->left < before) {
			before = flight->left;
			moved = g_get_monotonic_time();
		}
		if (rc < 0) {
			(void)fail(source, error, what);
			return -1;
		}
		if (check_cancel(source, error) < 0)
			return -1;
		if (g_get_monotonic_time() - moved > (gint64)source->timeout_s * G_USEC_PER_SEC) {
			g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED,
				    "%s: no answer in %u s", what, source->timeout_s);
			return -1;
		}
	}
	if (flight->failed == 0)
		return 0;
	g_set_error(error, IMAGE_SOURCE_ERROR, error_code(source), "%s: %s", what,
		    g_strerror(flight->failed));
	return -1;
}

/* After a failure answers may still be on their way into memory that its owner frees: the
 * connection goes first. */
static void give_up(struct nbd_source *source)
{
	nbd_close(source->nbd);
	source->nbd = NULL;
	nbd_server_end(g_steal_pointer(&source->server));
}

static int is_open(const struct nbd_source *source, GError **error)
{
	if (source->nbd)
		return 0;
	g_set_error_literal(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED,
			    "the connection to the disk's export was given up");
	return -1;
}

static int nbd_source_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
			   GError **error)
{
	struct nbd_source *nbd = (struct nbd_source *)source;
	struct flight flight = {0};
	g_autofree char *what =
		g_strdup_printf("reading the disk at byte %" G_GUINT64_FORMAT, offset);
	int rc = is_open(nbd, error);

	for (size_t at = 0; rc == 0 && at < len; at += PIECE) {
		nbd_completion_callback callback = {.callback = landed, .user_data = &flight};
		size_t piece = MIN(PIECE, len - at);

		flight.left++;
		if (nbd_aio_pread(nbd->nbd, (char *)buf + at, piece, offset + at, callback, 0) <
		    0) {
			flight.left--;
			rc = fail(nbd, error, what);
		}
	}
	if (rc == 0)
		rc = wait_for(nbd, &flight, what, error);
	if (rc < 0 && nbd->nbd)
		give_up(nbd);
	return rc;
}

struct status {
	image_extent_fn each;
	void *opaque;
	uint64_t at;  /* up to where it was told */
	uint64_t end; /* of the export */
	bool told;
	struct flight flight;
};

static int take_extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries,
			size_t count, int *error)
{
	struct status *status = opaque;

	if (*error != 0 || !g_str_equal(context, LIBNBD_CONTEXT_BASE_ALLOCATION) ||
	    offset != status->at)
		return 0;
	for (size_t i = 0; i + 1 < count && status->at < status->end; i += 2) {
		uint64_t length = MIN((uint64_t)entries[i], status->end - status->at);

		/* Of nothing nothing is told: a server that says no more would be asked for ever.
		 */
		if (length == 0)
			continue;
		status->each(status->at, length, !(entries[i + 1] & STATE_ZERO), status->opaque);
		status->at += length;
		status->told = true;
	}
	return 0;
}

static int nbd_source_extents(struct image_source *source, image_extent_fn each, void *opaque,
			      GError **error)
{
	struct nbd_source *nbd = (struct nbd_source *)source;
	struct status status = {.each = each, .opaque = opaque, .end = source->size};

	if (is_open(nbd, error) < 0)
		return -1;
	if (!nbd->has_extents) {
		each(0, source->size, true, opaque);
		return 0;
	}
	while (status.at < status.end) {
		nbd_extent_callback take = {.callback = take_extents, .user_data = &status};
		nbd_completion_callback callback = {.callback = landed,
						    .user_data = &status.flight};
		uint64_t length = MIN(status.end - status.at, STATUS_MAX);

		status.told = false;
		status.flight = (struct flight){.left = 1};
		if (nbd_aio_block_status(nbd->nbd, length, status.at, take, callback, 0) < 0)
			(void)fail(nbd, error, "asking for the disk's extents");
		else if (wait_for(nbd, &status.flight, "asking for the disk's extents", error) ==
				 0 &&
			 status.told)
			continue;
		else if (error && !*error)
			g_set_error_literal(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
					    "asking for the disk's extents: the server names none");
		give_up(nbd);
		return -1;
	}
	return 0;
}

static void nbd_source_free(struct image_source *source)
{
	struct nbd_source *nbd = (struct nbd_source *)source;

	give_up(nbd);
	g_free(nbd);
}

static const struct image_source_ops nbd_source_ops = {
	.read = nbd_source_read,
	.free = nbd_source_free,
	.extents = nbd_source_extents,
};

/* Until the handshake is over. */
static int wait_ready(struct nbd_source *source, GError **error)
{
	gint64 until = g_get_monotonic_time() + (gint64)source->timeout_s * G_USEC_PER_SEC;

	while (nbd_aio_is_ready(source->nbd) != 1) {
		if (nbd_poll(source->nbd, POLL_MS) < 0 || nbd_aio_is_dead(source->nbd) == 1 ||
		    nbd_aio_is_closed(source->nbd) == 1)
			return fail_to_connect(source, error);
		if (check_cancel(source, error) < 0)
			return -1;
		if (g_get_monotonic_time() > until) {
			g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED,
				    "connecting to the disk's export: no answer in %u s",
				    source->timeout_s);
			return -1;
		}
	}
	return 0;
}

static int start_server(struct nbd_source *source, const struct image_nbd *nbd, GError **error)
{
	int client;

	source->server = nbd_server_start(nbd->argv, nbd->socket, &client, error);
	if (!source->server)
		return -1;
	/* libnbd closes it in every case. */
	return nbd_aio_connect_socket(source->nbd, client) < 0 ? fail_to_connect(source, error) : 0;
}

static int connect_to(struct nbd_source *source, const struct image_nbd *nbd, GError **error)
{
	/* Zeros first would be a tenth of the work; an answer that fails fails the whole read. */
	if (nbd_set_pread_initialize(source->nbd, false) < 0 ||
	    nbd_set_export_name(source->nbd, nbd->export_name) < 0 ||
	    nbd_add_meta_context(source->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
	    (!nbd->argv && nbd_aio_connect_unix(source->nbd, nbd->socket) < 0))
		return fail_to_connect(source, error);
	if (nbd->argv && start_server(source, nbd, error) < 0)
		return -1;
	return wait_ready(source, error);
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
		(void)fail(source, error, "libnbd");
	else if (connect_to(source, nbd, error) == 0) {
		size = nbd_get_size(source->nbd);
		if (size < 0)
			(void)fail(source, error, "asking for the disk's size");
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
