/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The snapshot methods, and the choice among them.
 */
#ifndef NOVASNAP_VIRT_METHOD_TABLE_H
#define NOVASNAP_VIRT_METHOD_TABLE_H

#include "virt/method/method.h"

/* The method of that name, for live guests or others. NULL with VIRT_ERROR_CONFIG, which lists the
 * names. */
const struct snapshot_method *snapshot_method_find(const char *name, bool live, GError **error);

/* The method for a guest, as nova.virt.libvirt.driver.snapshot chooses: a paused guest counts as
 * live; a disk in /dev is what nova calls lvm, and is never taken live; nor is a container. `state`
 * is VIR_DOMAIN_*. Where a stream cannot make the image, its fallback. NULL with VIRT_ERROR_CONFIG.
 */
const struct snapshot_method *snapshot_method_choose(const struct virt_config *config,
						     const struct domain_traits *traits,
						     const struct disk *disk, int state,
						     GError **error);

/* The image's format: the configured one, else raw for lvm, else the disk's. */
const char *snapshot_format_choose(const struct virt_config *config, const struct disk *disk);

#endif
