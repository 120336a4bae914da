/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image source has a size, and its bytes can be read at any offset. virt/ opens a source for
 * each snapshot, and image/ uploads it to a store. virt/ includes no other header of image/.
 */
#ifndef NOVASNAP_IMAGE_SOURCE_H
#define NOVASNAP_IMAGE_SOURCE_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define IMAGE_SOURCE_ERROR image_source_error_quark()
GQuark image_source_error_quark(void);

/* The codes of IMAGE_SOURCE_ERROR. */
enum image_source_error {
	IMAGE_SOURCE_ERROR_FAILED,	 /* any other failure; the message describes it */
	IMAGE_SOURCE_ERROR_DISCONNECTED, /* the NBD server has exited; its guest may have stopped */
	IMAGE_SOURCE_ERROR_CANCELLED,	 /* the cancel flag was set */
};

struct image_source;

/* Receives one extent: `length` bytes at byte `offset`. `data` is false if all of them read as
 * zeros. */
typedef void (*image_extent_fn)(uint64_t offset, uint64_t length, bool data, void *opaque);

/* A read that was started. The caller sets it to {0}, and then only reads it. */
struct image_read {
	unsigned pending; /* number of its requests that are not answered yet */
	int error_code;	  /* errno of the first request that failed; 0: none */
	uint64_t offset;  /* the byte that a message names */
};

/* A type of source. Only one thread at a time may use a source. */
struct image_source_ops {
	/* Fills `buf` with `len` bytes at byte `offset`. The range must be within the size of the
	 * source. Returns 0, or -1 with an error whose message names the source. */
	int (*read)(struct image_source *source, uint64_t offset, void *buf, size_t len,
		    GError **error);
	/* Frees the source and its members. */
	void (*free)(struct image_source *source);
	/* Calls `each` for all extents from the first byte to the last, in order and without gaps.
	 * NULL: the extents are unknown; treat the whole source as data. Returns 0 or -1. */
	int (*extents)(struct image_source *source, image_extent_fn each, void *opaque,
		       GError **error);
	/*
	 * Does what `read` does, but may return before the bytes have arrived. Several starts may
	 * share one `read`, and several reads may be started before the first is finished. Finish
	 * each read, also if a start failed: until then `read` and `buf` must exist. NULL, with
	 * `finish`: the source can only be read at once. Returns 0 or -1.
	 */
	int (*start)(struct image_source *source, struct image_read *read, uint64_t offset,
		     void *buf, size_t len, GError **error);
	/* Waits until all that was started with `read` has arrived. Returns 0 or -1. */
	int (*finish)(struct image_source *source, struct image_read *read, GError **error);
};

/* The common part of all sources. Each type of source embeds it as its first member. */
struct image_source {
	const struct image_source_ops *ops;
	uint64_t size; /* bytes */
	/* How much must be in flight for fast reads in order, in MiB; 0: what is configured does.
	 */
	unsigned read_ahead_mib;
};

/*
 * Opens a regular file as a source. The file may be unlinked while the source exists. Returns NULL
 * with G_FILE_ERROR.
 */
struct image_source *image_source_new_file(const char *path, GError **error);

/* The NBD export to read. The strings may be freed after image_source_new_nbd(). */
struct image_nbd {
	/* A unix socket: of a running server if argv is NULL, else a path that does not exist yet,
	 * in a folder that only novasnap can access. */
	const char *socket;
	const char *const *argv; /* a server to start, with systemd's socket activation; or NULL */
	const char *export_name; /* "": the default export */
	unsigned timeout_s;	 /* limit for each answer in seconds */
	/* Checked while waiting for an answer; must outlive the source; may be NULL. */
	const atomic_int *cancel;
};
/*
 * Opens an NBD export. All started reads are in flight at once; the extents are those of the
 * metadata context base:allocation. A server started from `argv` serves no other client. It is
 * stopped with the source, and killed if the calling thread ends. Its socket no longer exists when
 * this function returns. Returns NULL with IMAGE_SOURCE_ERROR.
 */
struct image_source *image_source_new_nbd(const struct image_nbd *nbd, GError **error);
/* Kills the server that image_source_new_nbd has started, so that it lets go of the disk at once,
 * whatever the thread that reads is doing. `source` is what image_source_new_nbd returned. Reads
 * fail afterwards with IMAGE_SOURCE_ERROR_DISCONNECTED. From any thread, while the source exists;
 * does not wait. */
void image_source_kill_server(struct image_source *source);

/*
 * Encoders are sources that convert another source to an image. An encoder takes ownership of that
 * source, also when it fails. It queries the extents immediately, so that the size of the image is
 * known before its first byte is read. It does not read extents of zeros. Each byte of the image
 * depends only on the bytes and extents of the other source, so reading an offset again returns the
 * same bytes. Encoders return NULL with IMAGE_SOURCE_ERROR or an error of the other source.
 */

/* The largest disk that an encoder accepts, in bytes: 8 TiB. */
#define IMAGE_QCOW2_MAX ((uint64_t)8 << 40)

/* Makes a raw image: the bytes of the other source. */
struct image_source *image_source_new_raw(struct image_source *source, GError **error);

/*
 * Makes a qcow2 image of version 3 with clusters of 64 KiB. The file contains the header, the
 * refcount structures, the L1 table, the L2 tables, and the data in the order of the guest's disk.
 */
struct image_source *image_source_new_qcow2(struct image_source *source, GError **error);

/* Compression options. The encoder copies them, except for the cancel flag, which must outlive
 * it. */
struct image_compression {
	bool zstd;		  /* true: zstd, for QEMU 5.1 or later; false: zlib */
	int level;		  /* 0: the library's default */
	unsigned threads;	  /* 0: the number of processors minus one, at least 1 */
	const atomic_int *cancel; /* may be NULL */
	const char *spill_dir;	  /* folder of an unlinked temporary file; NULL: g_get_tmp_dir() */
	/* Limit in bytes of the cluster sizes in memory; the rest is in the temporary file; 0: 16
	 * MiB. */
	uint64_t spill_bound;
};
/*
 * Creates a qcow2 image whose clusters are compressed by several threads. Clusters that do not get
 * smaller are stored uncompressed, and clusters of zeros are omitted.
 *
 * The size of the image is known only after all clusters were compressed. So this function reads
 * the whole source; it fails with IMAGE_SOURCE_ERROR_CANCELLED if the flag is set. Reading the
 * image compresses the clusters again, a little ahead of the reader. Any offset can be read, but
 * reading in order is fastest. A read fails if the bytes of the other source have changed.
 */
struct image_source *image_source_new_qcow2_compressed(struct image_source *source,
						       const struct image_compression *how,
						       GError **error);

/*
 * Creates a source with the same bytes and finer extents: reads all data immediately, and reports
 * clusters of 64 KiB that contain only zeros as zeros. It is for encoders that do not detect zeros;
 * the compressing encoder does. Takes ownership of `source`, also when it fails. `cancel` may be
 * NULL. Returns NULL with IMAGE_SOURCE_ERROR or an error of the other source.
 */
struct image_source *image_source_new_scanned(struct image_source *source, const atomic_int *cancel,
					      GError **error);

/* Call `start` and `finish` of a source; without them, the first one calls `read`. */
int image_source_start(struct image_source *source, struct image_read *read, uint64_t offset,
		       void *buf, size_t len, GError **error);
int image_source_finish(struct image_source *source, struct image_read *read, GError **error);

/* The operation `read` of sources that have `start` and `finish`. */
int image_source_start_and_finish(struct image_source *source, uint64_t offset, void *buf,
				  size_t len, GError **error);

/* Frees a source of any type. Accepts NULL. */
void image_source_free(struct image_source *source);
typedef struct image_source image_source_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(image_source_t, image_source_free)

#endif
