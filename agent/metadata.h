/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata that a snapshot's image gets before its data.
 */
#ifndef NOVASNAP_AGENT_METADATA_H
#define NOVASNAP_AGENT_METADATA_H

#include "image/image.h"
#include "rpc/nova.h"

/*
 * Builds what nova.virt.libvirt.driver._create_snapshot_metadata builds: format, the base image's
 * container format (else bare), and the properties kernel_id, ramdisk_id, image_location,
 * image_state, owner_id and, where the instance has one, os_type. The strings of `ret` belong to
 * the instance and to the caller's arguments; the properties are the caller's to free, with
 * cJSON_Delete.
 */
cJSON *metadata_build(const struct nova_instance *instance, const char *name,
		      const char *disk_format, struct image_meta *ret);

#endif
