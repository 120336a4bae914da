/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata of a snapshot's image, which is set before the upload.
 */
#ifndef NOVASNAP_AGENT_IMAGE_METADATA_H
#define NOVASNAP_AGENT_IMAGE_METADATA_H

#include "agent/task/task.h"

/* What is taken over from the instance's base image. */
struct image_base;

/* Reads it from the instance, or, for a plain instance, from the base image's record. */
struct image_base *image_base_new(const struct task *task);
/* Accepts NULL. */
void image_base_free(struct image_base *base);
/* Whether the base image's format is ami and nova gives the snapshot that format, too: releases
 * before Instance 2.8 (2023.2). Nova itself stopped in 2024.2, which no message shows. */
bool image_base_forces_ami(const struct image_base *base);

/*
 * Builds the same metadata as nova: the format (see image_base_forces_ami), the base image's
 * container format (otherwise bare), and the properties kernel_id, ramdisk_id, image_location,
 * image_state, owner_id and os_type; for a plain instance, the base image's architecture instead of
 * os_type. Sources: nova.virt.libvirt.driver.LibvirtDriver._create_snapshot_metadata and, for a
 * plain instance, LibvirtDriver.snapshot of Folsom and Grizzly.
 *
 * Returns the properties, which the caller frees with cJSON_Delete; `ret` refers to them. The
 * strings in `ret` are valid as long as the arguments.
 */
cJSON *image_metadata_build(const struct task *task, const struct image_base *base,
			    const char *name, const char *disk_format, struct image_meta *ret);

/* Writes the metadata to the image's record, as a step. Returns 0, or -1 with an error. */
int image_metadata_save(struct task *task, const struct image_meta *meta, GError **error);

#endif
