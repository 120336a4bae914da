/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error domain of image.h, which all of image/ uses.
 */
#include "image/image.h"

GQuark image_error_quark(void)
{
	return g_quark_from_static_string("novasnap-image-error-quark");
}
