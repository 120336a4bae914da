/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error domain of images in Ceph, for both processes.
 */
#include "image/rbd.h"

G_DEFINE_QUARK(image - rbd - error - quark, image_rbd_error)
