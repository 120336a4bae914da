/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's root disk and the chain of files below it, as far as the domain's XML names them.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_ROOT_DISK_H
#define NOVASNAP_VIRT_DOMAIN_ROOT_DISK_H

#include <glib.h>
#include <stdbool.h>

/* One file of a chain. */
struct disk_layer {
	char *path;
	char *format; /* from the XML, or from the header of the file above; never probed */
	bool block;   /* a block device */
};

struct disk {
	char *target;	   /* "vda" */
	GPtrArray *layers; /* struct disk_layer, the top first */
	bool complete;	   /* `layers` is the whole chain */
	char *mirror;	   /* the target file of a running block job; NULL: no job runs */
};

/* The root disk of a domain: the one that `root_device_name` names ("/dev/vda"); where that is NULL
 * or unknown, the first disk that is not a CD-ROM, a config drive, an ephemeral or a swap disk
 * (nova.virt.libvirt.blockinfo). The caller frees it. NULL with VIRT_ERROR_NO_ROOT_DISK or
 * VIRT_ERROR_UNSUPPORTED. */
struct disk *root_disk_find(const char *xml, const char *root_device_name, GError **error);

/* The root disk of a container, of the given format: nova mounts it, a file, as the directory
 * `rootfs` beside it (nova.virt.libvirt.utils.find_disk). */
struct disk *root_disk_find_of_container(const char *xml, const char *format, GError **error);

void disk_free(struct disk *disk);
/* The file that the guest writes to. */
struct disk_layer *disk_top(const struct disk *disk);

/* Adds a file below the others. `type` is libvirt's: only "file" and "block" are supported. Takes
 * `path` and `format`, which may be NULL. Returns 0, or -1 with VIRT_ERROR_UNSUPPORTED. */
int disk_add_layer(struct disk *disk, const char *type, char *path, char *format, GError **error);

/* Sets VIRT_ERROR_UNSUPPORTED, "the root disk TARGET WHY", and returns -1. */
int disk_refuse(const struct disk *disk, const char *why, GError **error);

#endif
