/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's root disk and its backing chain, as far as the domain's XML lists it.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_ROOT_DISK_H
#define NOVASNAP_VIRT_DOMAIN_ROOT_DISK_H

#include <glib.h>
#include <stdbool.h>

/* One file of a chain. */
struct disk_layer {
	char *path;
	char *format; /* from the XML, or from the header of the overlay; never probed */
	bool block;   /* a block device */
};

struct disk {
	char *target;	   /* "vda" */
	GPtrArray *layers; /* struct disk_layer, top first */
	bool complete;	   /* `layers` is the whole chain */
};

/* The root disk of a domain: the disk that `root_device_name` names ("/dev/vda"). If that is NULL
 * or unknown, the first disk that is not a CD-ROM, config drive, ephemeral or swap disk
 * (nova.virt.libvirt.blockinfo). The caller frees it. NULL with VIRT_ERROR_NO_ROOT_DISK or
 * VIRT_ERROR_UNSUPPORTED. */
struct disk *root_disk_find(const char *xml, const char *root_device_name, GError **error);

/* The root disk of a container, in the given format: the file `disk` beside the directory `rootfs`,
 * on which nova mounts it (nova.virt.libvirt.utils.find_disk). */
struct disk *root_disk_find_of_container(const char *xml, const char *format, GError **error);

void disk_free(struct disk *disk);
/* The file that the guest writes to. */
struct disk_layer *disk_top(const struct disk *disk);

/* Adds a file at the bottom of the chain. `type` is libvirt's; only "file" and "block" are
 * supported. Takes ownership of `path` and `format`, which may be NULL. Returns 0, or -1 with
 * VIRT_ERROR_UNSUPPORTED. */
int disk_add_layer(struct disk *disk, const char *type, char *path, char *format, GError **error);

/* Sets VIRT_ERROR_UNSUPPORTED, "the root disk TARGET WHY", and returns -1. */
int disk_refuse(const struct disk *disk, const char *why, GError **error);

#endif
