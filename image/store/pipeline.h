/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pipeline of one upload attempt. A separate thread reads the source from byte 0 and hashes it,
 * so that this overlaps with sending. It is at most the upload's `read_ahead` ahead of the
 * consumer, with half of that in flight if the source can start reads, and not faster than the rate
 * limit.
 */
#ifndef NOVASNAP_IMAGE_PIPELINE_H
#define NOVASNAP_IMAGE_PIPELINE_H

#include <sys/types.h>

#include "image/image.h"

struct pipeline;

/* Starts reading. `upload` must outlive the pipeline. Returns NULL with IMAGE_ERROR_FAILED. */
struct pipeline *pipeline_start(const struct image_upload *upload, GError **error);

/*
 * Copies the next bytes to `buffer`, at most `size`. Blocks until some are available. Returns their
 * number, 0 after the last byte, or -1 with IMAGE_ERROR_CANCELLED, IMAGE_ERROR_FAILED, or the error
 * of the source or of the upload's checksum callback.
 */
ssize_t pipeline_read(struct pipeline *pipeline, void *buffer, size_t size, GError **error);

/* Reads and discards the remaining bytes, to get the hash. Returns 0, or -1 with an error as from
 * pipeline_read(). */
int pipeline_drain(struct pipeline *pipeline, GError **error);

/* Returns the hash in hex, owned by the pipeline, or NULL if the source was not read completely.
 * Call it after pipeline_read() has returned 0 or -1, or after the consumer has stopped reading. */
const char *pipeline_hash(struct pipeline *pipeline);

/* Returns the name of the upload's hash algorithm. */
const char *pipeline_hash_name(const struct image_upload *upload);

/* Stops the thread and frees the pipeline. Accepts NULL. */
void pipeline_free(struct pipeline *pipeline);

#endif
