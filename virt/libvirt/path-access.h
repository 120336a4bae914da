/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Users, and whether they can access a path. virt.h declares the public functions.
 */
#ifndef NOVASNAP_VIRT_LIBVIRT_PATH_ACCESS_H
#define NOVASNAP_VIRT_LIBVIRT_PATH_ACCESS_H

#include <stdbool.h>

#include "virt/virt.h"

/* Parses the user and group from a label of libvirt's security model "dac": "+64055:+108", or
 * names. False if the label is NULL, has no user and group, or names an unknown one. */
bool virt_user_parse_label(const char *label, struct virt_user *ret_user);

#endif
