/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the header of a disk's file would make QEMU open files outside the backing chain: the
 * external data file of a qcow2, or the extents of a VMDK that is only a description. And the
 * format of a backing file that is named nowhere.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_IMAGE_HEADER_H
#define NOVASNAP_VIRT_DOMAIN_IMAGE_HEADER_H

#include <glib.h>

#include "virt/domain/root-disk.h"

/* Reads the header of a layer's file, in the layer's format. *ret_why (not to be freed) describes
 * the problem, worded to follow "the disk vda"; NULL if there is none. Returns 0, or -1 with
 * VIRT_ERROR_UNSUPPORTED if the file cannot be read. */
int image_header_check(const struct disk_layer *layer, const char **ret_why, GError **error);

/* The format that libvirt assumes for a backing file whose overlay does not name one: the one whose
 * signature the file has, else raw (libvirt's virStorageFileProbeGetMetadata). It may be a format
 * that novasnap does not support. libvirt does not start a guest where that file has a backing file
 * itself. Returns a static string, or NULL with VIRT_ERROR_UNSUPPORTED if the file cannot be
 * read. */
const char *image_header_detect(const char *path, GError **error);

#endif
