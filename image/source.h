/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image source: something with a size whose bytes can be read at any place. virt/ builds one for
 * each snapshot, image/ reads it into a sink. This header is all that virt/ knows of image/.
 */
#ifndef NOVASNAP_IMAGE_SOURCE_H
#define NOVASNAP_IMAGE_SOURCE_H

#include <glib.h>
#include <stdint.h>

struct image_source;

struct image_source_ops {
	/* Fills buf with exactly len bytes from offset; a read beyond the size is the caller's bug.
	 * Returns 0, or -1 with an error that names the source. Called by one thread at a time. */
	int (*read)(struct image_source *source, uint64_t offset, void *buf, size_t len,
		    GError **error);
	/* Gives back all that the source holds. */
	void (*free)(struct image_source *source);
};

/* The head of every source; a backend embeds it as its first member. */
struct image_source {
	const struct image_source_ops *ops;
	uint64_t size; /* bytes */
};

/*
 * A source that is a plain file on disk, read as it is. The file is opened at once, so that it may
 * be unlinked while the source lives. Returns NULL with a G_FILE_ERROR.
 */
struct image_source *image_source_new_file(const char *path, GError **error);

void image_source_free(struct image_source *source);
typedef struct image_source image_source_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(image_source_t, image_source_free)

#endif
