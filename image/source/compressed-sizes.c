/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of compressed sizes. A disk of 8 TiB has 256 MiB of them. Sizes over the memory limit
 * are written to a file, of which one window is in memory.
 */
#include "image/source/compressed-sizes.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "image/file-io.h"

#define DEFAULT_BOUND ((uint64_t)16 << 20) /* bytes: enough for the clusters of 512 GiB */
#define WINDOW_COUNT ((uint64_t)2048)
#define WINDOW_SIZE ((size_t)WINDOW_COUNT * sizeof(uint16_t))

struct compressed_sizes {
	uint16_t *in_memory; /* the first `capacity` sizes */
	uint64_t capacity;
	uint64_t count; /* of all sizes */
	char *spill_dir;
	int fd; /* contains all further sizes; -1: not created yet */
	uint16_t *window;
	uint64_t window_start; /* the window's position in the file, in sizes */
	bool window_dirty;     /* the window is not written to the file yet */
};

struct compressed_sizes *compressed_sizes_new(uint64_t count, const struct image_compression *how)
{
	struct compressed_sizes *sizes = g_new0(struct compressed_sizes, 1);
	uint64_t bound = how->spill_bound > 0 ? how->spill_bound : DEFAULT_BOUND;

	sizes->capacity = MIN(count, bound / sizeof(uint16_t));
	sizes->in_memory = g_new(uint16_t, sizes->capacity + 1);
	sizes->spill_dir = g_strdup(how->spill_dir ? how->spill_dir : g_get_tmp_dir());
	sizes->fd = -1;
	return sizes;
}

void compressed_sizes_free(struct compressed_sizes *sizes)
{
	if (!sizes)
		return;
	if (sizes->fd >= 0)
		(void)close(sizes->fd);
	g_free(sizes->in_memory);
	g_free(sizes->window);
	g_free(sizes->spill_dir);
	g_free(sizes);
}

static int set_spill_error(const struct compressed_sizes *sizes, const char *action, int code,
			   GError **error)
{
	g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(code),
		    "%s the temporary file for the sizes of compressed clusters in %s: %s", action,
		    sizes->spill_dir, g_strerror(code));
	return -1;
}

static int create_spill_file(struct compressed_sizes *sizes, GError **error)
{
	g_autofree char *path = g_build_filename(sizes->spill_dir, "novasnap-XXXXXX", NULL);

	sizes->fd = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);
	if (sizes->fd < 0)
		return set_spill_error(sizes, "creating", errno, error);
	if (unlink(path) < 0)
		return set_spill_error(sizes, "unlinking", errno, error);
	sizes->window = g_new0(uint16_t, WINDOW_COUNT);
	return 0;
}

static int write_window(struct compressed_sizes *sizes, GError **error)
{
	if (image_file_write(sizes->fd, sizes->window, WINDOW_SIZE,
			     sizes->window_start * sizeof(uint16_t)) < 0)
		return set_spill_error(sizes, "writing to", errno, error);
	sizes->window_dirty = false;
	return 0;
}

static int read_window(struct compressed_sizes *sizes, uint64_t start, GError **error)
{
	ssize_t got =
		image_file_read(sizes->fd, sizes->window, WINDOW_SIZE, start * sizeof(uint16_t));

	sizes->window_start = UINT64_MAX;
	if (got != (ssize_t)WINDOW_SIZE)
		return set_spill_error(sizes, "reading", got < 0 ? errno : EIO, error);
	sizes->window_start = start;
	return 0;
}

int compressed_sizes_append(struct compressed_sizes *sizes, uint16_t size, GError **error)
{
	uint64_t position;

	if (sizes->count < sizes->capacity) {
		sizes->in_memory[sizes->count++] = size;
		return 0;
	}
	position = sizes->count - sizes->capacity;
	if (position == 0 && create_spill_file(sizes, error) < 0)
		return -1;
	if (position > 0 && position % WINDOW_COUNT == 0) {
		if (write_window(sizes, error) < 0)
			return -1;
		sizes->window_start = position;
	}
	sizes->window[position % WINDOW_COUNT] = size;
	sizes->window_dirty = true;
	sizes->count++;
	return 0;
}

int compressed_sizes_get(struct compressed_sizes *sizes, uint64_t n, uint16_t *ret_size,
			 GError **error)
{
	uint64_t position, start;

	if (n < sizes->capacity) {
		*ret_size = sizes->in_memory[n];
		return 0;
	}
	position = n - sizes->capacity;
	start = position - position % WINDOW_COUNT;
	if (start != sizes->window_start) {
		if (sizes->window_dirty && write_window(sizes, error) < 0)
			return -1;
		if (read_window(sizes, start, error) < 0)
			return -1;
	}
	*ret_size = sizes->window[position % WINDOW_COUNT];
	return 0;
}
