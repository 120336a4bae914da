/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's root disk and its backing chain, as far as the domain's XML lists it.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_ROOT_DISK_H
#define NOVASNAP_VIRT_DOMAIN_ROOT_DISK_H

#include <glib.h>
#include <stdbool.h>

/* One file of a chain, or an image in Ceph, which is a chain of its own. */
struct disk_layer {
	char *path;   /* of an image in Ceph: "rbd:POOL/IMAGE", as nova writes it */
	char *format; /* from the XML, or from the header of the overlay (disk-chain.h) */
	bool block;   /* a block device */
	bool assumed; /* nothing names the format: it was detected as libvirt does */
	/* NULL: not in Ceph. libvirt and nova name a disk by both. */
	char *rbd_pool;
	char *rbd_image;
};

struct disk {
	char *target;	   /* "vda" */
	GPtrArray *layers; /* struct disk_layer, top first */
	bool complete;	   /* `layers` is the whole chain */
};

/* The root disk of a domain: the first <disk> of its definition, whatever its device type, target
 * or file name (nova.virt.libvirt.utils.find_disk). The caller frees it. NULL with
 * VIRT_ERROR_NO_ROOT_DISK or VIRT_ERROR_UNSUPPORTED. */
struct disk *root_disk_find(const char *xml, GError **error);

/* The root disk of a container, in the given format: the file `disk` beside the directory `rootfs`,
 * on which nova mounts it. That directory is the source of the first <filesystem>
 * (nova.virt.libvirt.utils.find_disk). */
struct disk *root_disk_find_of_container(const char *xml, const char *format, GError **error);

/* As root_disk_find, but finds the disk with the target "vdb", in a file or block device. */
struct disk *disk_find_by_target(const char *xml, const char *target, GError **error);

void disk_free(struct disk *disk);
/* The file that the guest writes to. */
struct disk_layer *disk_top(const struct disk *disk);
/* Whether the disk is an image in Ceph: then it has no file, and no program of QEMU opens it. */
bool disk_is_rbd(const struct disk *disk);

/* Adds a file at the bottom of the chain. `type` is libvirt's; only "file" and "block" are
 * supported. Takes ownership of `path` and `format`, which may be NULL. Returns 0, or -1 with
 * VIRT_ERROR_UNSUPPORTED. */
int disk_add_layer(struct disk *disk, const char *type, char *path, char *format, GError **error);

/* Sets VIRT_ERROR_UNSUPPORTED, "the disk TARGET WHY", and returns -1. */
int disk_refuse(const struct disk *disk, const char *why, GError **error);

#endif
