/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sizes of the compressed clusters. 8 TiB have 256 MiB of them: what is over the bound is
 * written to a file and read again window by window.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "image/source/compressed.h"

#define DEFAULT_BOUND ((uint64_t)16 << 20) /* bytes: the clusters of 512 GiB */
#define WINDOW ((uint64_t)2048)

struct sizes {
	uint16_t *first; /* as many as the bound has room for */
	uint64_t room;
	uint64_t count;
	char *spill_dir;
	int fd;		  /* of what comes after `first`, -1: not yet needed */
	uint16_t *window; /* of the file */
	uint64_t window_at;
	bool window_dirty;
};

struct sizes *sizes_new(uint64_t count, const struct image_compression *how)
{
	struct sizes *sizes = g_new0(struct sizes, 1);
	uint64_t bound = how->spill_bound > 0 ? how->spill_bound : DEFAULT_BOUND;

	sizes->room = MIN(count, bound / sizeof(uint16_t));
	sizes->first = g_new(uint16_t, sizes->room + 1);
	sizes->spill_dir = g_strdup(how->spill_dir ? how->spill_dir : g_get_tmp_dir());
	sizes->fd = -1;
	return sizes;
}

void sizes_free(struct sizes *sizes)
{
	if (!sizes)
		return;
	if (sizes->fd >= 0)
		close(sizes->fd);
	g_free(sizes->first);
	g_free(sizes->window);
	g_free(sizes->spill_dir);
	g_free(sizes);
}

static int fail(const struct sizes *sizes, const char *what, int why, GError **error)
{
	g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(why),
		    "%s a temporary file in %s, of the sizes of compressed clusters: %s", what,
		    sizes->spill_dir, g_strerror(why));
	return -1;
}

static int open_file(struct sizes *sizes, GError **error)
{
	g_autofree char *path = g_build_filename(sizes->spill_dir, "novasnap-XXXXXX", NULL);

	sizes->fd = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);
	if (sizes->fd < 0)
		return fail(sizes, "making", errno, error);
	if (unlink(path) < 0)
		return fail(sizes, "unlinking", errno, error);
	sizes->window = g_new0(uint16_t, WINDOW);
	return 0;
}

static int write_window(struct sizes *sizes, GError **error)
{
	const char *from = (const char *)sizes->window;
	size_t left = WINDOW * sizeof(uint16_t);
	off_t at = (off_t)(sizes->window_at * sizeof(uint16_t));

	while (left > 0) {
		ssize_t n = pwrite(sizes->fd, from, left, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail(sizes, "writing to", n < 0 ? errno : EIO, error);
		from += n;
		at += n;
		left -= (size_t)n;
	}
	sizes->window_dirty = false;
	return 0;
}

static int read_window(struct sizes *sizes, uint64_t window_at, GError **error)
{
	char *to = (char *)sizes->window;
	size_t left = WINDOW * sizeof(uint16_t);
	off_t at = (off_t)(window_at * sizeof(uint16_t));

	sizes->window_at = UINT64_MAX;
	while (left > 0) {
		ssize_t n = pread(sizes->fd, to, left, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail(sizes, "reading", n < 0 ? errno : EIO, error);
		to += n;
		at += n;
		left -= (size_t)n;
	}
	sizes->window_at = window_at;
	return 0;
}

int sizes_append(struct sizes *sizes, uint16_t size, GError **error)
{
	uint64_t spilled;

	if (sizes->count < sizes->room) {
		sizes->first[sizes->count++] = size;
		return 0;
	}
	spilled = sizes->count - sizes->room;
	if (spilled == 0 && open_file(sizes, error) < 0)
		return -1;
	if (spilled > 0 && spilled % WINDOW == 0) {
		if (write_window(sizes, error) < 0)
			return -1;
		sizes->window_at = spilled;
	}
	sizes->window[spilled % WINDOW] = size;
	sizes->window_dirty = true;
	sizes->count++;
	return 0;
}

int sizes_get(struct sizes *sizes, uint64_t n, uint16_t *ret_size, GError **error)
{
	uint64_t spilled, window_at;

	if (n < sizes->room) {
		*ret_size = sizes->first[n];
		return 0;
	}
	spilled = n - sizes->room;
	window_at = spilled - spilled % WINDOW;
	if (window_at != sizes->window_at) {
		if (sizes->window_dirty && write_window(sizes, error) < 0)
			return -1;
		if (read_window(sizes, window_at, error) < 0)
			return -1;
	}
	*ret_size = sizes->window[spilled % WINDOW];
	return 0;
}
