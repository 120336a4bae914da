/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image source: something with a size whose bytes can be read at any place. virt/ builds one for
 * each snapshot, image/ reads it into a sink. This header is all that virt/ knows of image/.
 */
#ifndef NOVASNAP_IMAGE_SOURCE_H
#define NOVASNAP_IMAGE_SOURCE_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define IMAGE_SOURCE_ERROR image_source_error_quark()
GQuark image_source_error_quark(void);

enum image_source_error {
	IMAGE_SOURCE_ERROR_FAILED,
	IMAGE_SOURCE_ERROR_DISCONNECTED, /* the server is gone: its guest may be */
	IMAGE_SOURCE_ERROR_CANCELLED,
};

struct image_source;

typedef void (*image_extent_fn)(uint64_t offset, uint64_t length, bool data, void *opaque);

struct image_source_ops {
	/* Fills buf with exactly len bytes from offset; a read beyond the size is the caller's bug.
	 * Returns 0, or -1 with an error that names the source. Called by one thread at a time. */
	int (*read)(struct image_source *source, uint64_t offset, void *buf, size_t len,
		    GError **error);
	/* Gives back all that the source holds. */
	void (*free)(struct image_source *source);
	/* Calls back for each extent from the first byte to the last, in order and without gaps:
	 * `data` is false where it reads as zeros. NULL: the source knows nothing of its extents,
	 * all of it is data. Returns 0 or -1. */
	int (*extents)(struct image_source *source, image_extent_fn each, void *opaque,
		       GError **error);
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

/* What is asked of an NBD server; strings are copied. */
struct image_nbd {
	const char *socket;	  /* a unix socket, of a server that runs, or for: */
	const char *const *argv;  /* a program that serves its one client by socket activation */
	const char *export_name;  /* "" for the default one */
	unsigned timeout_s;	  /* how long any answer may take */
	const atomic_int *cancel; /* looked at while an answer is waited for; may be NULL */
};
/*
 * A source that is an NBD export: its extents are the server's base:allocation, and a read has many
 * requests in flight. NULL with IMAGE_SOURCE_ERROR. The program, where there is one, ends with the
 * source, or when the thread that called this dies; its socket, which nobody else may reach, is
 * gone when this returns.
 */
struct image_source *image_source_new_nbd(const struct image_nbd *nbd, GError **error);

/*
 * Encoders: sources that make an image of another source, which they take (also when they fail).
 * The extents are asked at once, so that the size is known before the first byte; what reads as
 * zeros is not read. Every byte is a function of the other source's bytes and extents: the same
 * place reads the same again.
 */
/* The bytes as they are. */
struct image_source *image_source_new_raw(struct image_source *source, GError **error);
/* Of a disk that any of the encoders takes, in bytes: 8 TiB. */
#define IMAGE_QCOW2_MAX ((uint64_t)8 << 40)
/* qcow2 version 3 with clusters of 64 KiB, as one stream: header, refcounts, L1, L2, and the data
 * in the guest's order. */
struct image_source *image_source_new_qcow2(struct image_source *source, GError **error);

/* How to compress; copied, but for the cancel flag, which must outlive the source. */
struct image_compression {
	bool zstd;		  /* read by QEMU 5.1 and later; else zlib: by any */
	int level;		  /* 0: the library's default */
	unsigned threads;	  /* 0: all cores but one, at least 1 */
	const atomic_int *cancel; /* may be NULL */
	const char *spill_dir;	  /* of a temporary file without a name; NULL: the system's */
	uint64_t spill_bound;	  /* bytes remembered without that file; 0: 16 MiB */
};
/*
 * qcow2 as above, its clusters compressed by several threads; those that do not get smaller are
 * stored as they are, those that are all zeros not at all. The size of the image is known only
 * when all of it was compressed: making the source takes as long as reading it, and looks at the
 * cancel flag (IMAGE_SOURCE_ERROR_CANCELLED). Reading compresses again, a little ahead of what is
 * read: best in order, from any place. An error when the other source's bytes have changed.
 */
struct image_source *image_source_new_qcow2_compressed(struct image_source *source,
						       const struct image_compression *how,
						       GError **error);

/*
 * The source that it takes (also when it fails), with finer extents: all that is called data is
 * read at once, and what is all zeros, in clusters of 64 KiB, is data no more. For what does not
 * look for zeros itself, as the compressing encoder does. The flag may be NULL.
 */
struct image_source *image_source_new_scanned(struct image_source *source, const atomic_int *cancel,
					      GError **error);

void image_source_free(struct image_source *source);
typedef struct image_source image_source_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(image_source_t, image_source_free)

#endif
