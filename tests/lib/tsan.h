/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Included first in a build with the thread sanitizer, which leaves out what GLib does (tsan.supp):
 * a block that we free while somebody else uses it is to be seen.
 */
#include <glib.h>
#include <stdlib.h>

#undef g_free
#define g_free free
