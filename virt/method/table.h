/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of snapshot methods, and the choice among them.
 */
#ifndef NOVASNAP_VIRT_METHOD_TABLE_H
#define NOVASNAP_VIRT_METHOD_TABLE_H

#include "virt/method/method.h"

/* The live or cold method of that name. NULL with VIRT_ERROR_CONFIG, which lists the valid
 * names. */
const struct snapshot_method *snapshot_method_find(const char *name, bool live, GError **error);

/* The method for a guest, chosen as in nova.virt.libvirt.driver.snapshot, but for a disk in /dev,
 * which nova calls lvm and never takes live: it is taken as a file. A paused guest counts as live;
 * a container never uses a live method. `state` is VIR_DOMAIN_*. If a stream cannot make the image,
 * its fallback is chosen. NULL with VIRT_ERROR_CONFIG. */
const struct snapshot_method *snapshot_method_choose(const struct virt_config *config,
						     const struct domain_traits *traits,
						     const struct disk *disk, int state,
						     GError **error);

/* The image's format: the configured one, else raw for lvm, else the disk's. */
const char *snapshot_format_choose(const struct virt_config *config, const struct disk *disk);

#endif
