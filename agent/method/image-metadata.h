/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata of a snapshot's image, which is set before the upload.
 */
#ifndef NOVASNAP_AGENT_IMAGE_METADATA_H
#define NOVASNAP_AGENT_IMAGE_METADATA_H

#include "agent/task/task.h"

/*
 * Builds the same metadata as nova: the format (ami if the base image is ami), the base image's
 * container format (otherwise bare), and the properties kernel_id, ramdisk_id, image_location,
 * image_state, owner_id and os_type; for a plain instance, the base image's architecture instead of
 * os_type. Sources: nova.virt.libvirt.driver.LibvirtDriver._create_snapshot_metadata and, for a
 * plain instance, LibvirtDriver.snapshot of Folsom and Grizzly.
 *
 * Returns the properties, which the caller frees with cJSON_Delete; `ret` refers to them. The
 * strings in `ret` are valid as long as the task and the arguments.
 */
cJSON *image_metadata_build(const struct task *task, const char *name, const char *disk_format,
			    struct image_meta *ret);

#endif
