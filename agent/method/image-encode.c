/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chooses the encoder for a guest's disk.
 */
#include "agent/method/image-encode.h"

struct image_source *image_encode(struct image_source *disk, const char *format,
				  const struct config *config, const atomic_int *cancel,
				  GError **error)
{
	const struct image_compression compression = {
		.zstd = config->compress_zstd,
		.cancel = cancel,
		.spill_dir = config->virt.scratch_dir,
	};

	if (!g_str_equal(format, "qcow2"))
		return image_source_new_raw(disk, error);
	if (config->snapshot_compression)
		return image_source_new_qcow2_compressed(disk, &compression, error);
	if (config->scan_zeroes)
		disk = image_source_new_scanned(disk, cancel, error);
	return disk ? image_source_new_qcow2(disk, error) : NULL;
}
