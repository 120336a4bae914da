/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fills in the image's record in Glance while the guest is prepared and the conductor is informed:
 * each answer of Glance takes some ten milliseconds.
 */
#ifndef NOVASNAP_AGENT_METHOD_IMAGE_RECORD_H
#define NOVASNAP_AGENT_METHOD_IMAGE_RECORD_H

#include "agent/method/image-metadata.h"

struct image_record_writer;

/* Starts to write the metadata (image_metadata_build, image_metadata_save), and to read with which
 * algorithm the store hashes, unless `hash_algo` or [novasnap]hash_algo names it. Task, base and
 * strings must stay until the end. */
struct image_record_writer *image_record_writer_start(struct task *task,
						      const struct image_base *base,
						      const char *name, const char *disk_format,
						      const char *hash_algo);

/* Waits for the end, which the time limits of the store bound. If the store did not answer, it is
 * asked once more. `*ret_hash_algo` becomes the algorithm, or NULL for the default; the caller
 * frees it. Frees the writer. Returns 0, or -1 with an error. */
int image_record_writer_end(struct image_record_writer *writer, char **ret_hash_algo,
			    GError **error);
/* Waits for the end, and frees the writer. What it has written stays. */
void image_record_writer_free(struct image_record_writer *writer);

#endif
