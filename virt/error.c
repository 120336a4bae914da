/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The domain of the room's errors.
 */
#include "virt/virt.h"

G_DEFINE_QUARK(novasnap - virt - error - quark, virt_error)
