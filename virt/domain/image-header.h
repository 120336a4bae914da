/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the header of a disk's file would make QEMU open files that no chain names: the external
 * data file of a qcow2, the extents of a VMDK that is only a description.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_IMAGE_HEADER_H
#define NOVASNAP_VIRT_DOMAIN_IMAGE_HEADER_H

#include <glib.h>

#include "virt/domain/root-disk.h"

/* Reads the header of a layer's file, with the layer's format. *ret_why (not to be freed) is what
 * is wrong with it, worded after "the root disk vda"; NULL: nothing. Returns 0, or -1 with
 * VIRT_ERROR_UNSUPPORTED where the file cannot be read. */
int image_header_check(const struct disk_layer *layer, const char **ret_why, GError **error);

#endif
