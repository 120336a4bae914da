/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata that a snapshot's image gets before its data.
 */
#ifndef NOVASNAP_AGENT_METADATA_H
#define NOVASNAP_AGENT_METADATA_H

#include "agent/task/task.h"

/*
 * Builds what nova builds: format (ami where the base image is ami), the base image's container
 * format (else bare), and the properties kernel_id, ramdisk_id, image_location, image_state,
 * owner_id and, where the instance has one, os_type; of a plain instance instead the base image's
 * architecture. The strings of `ret` live as long as the task and the arguments; the properties are
 * the caller's to free, with cJSON_Delete.
 */
cJSON *metadata_build(const struct task *task, const char *name, const char *disk_format,
		      struct image_meta *ret);

#endif
