/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The common part of all image sources.
 */
#include "image/source.h"

GQuark image_source_error_quark(void)
{
	return g_quark_from_static_string("novasnap-image-source-error-quark");
}

void image_source_free(struct image_source *source)
{
	if (source)
		source->ops->free(source);
}
