/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The common part of all image sources.
 */
#include "image/source.h"

GQuark image_source_error_quark(void)
{
	return g_quark_from_static_string("novasnap-image-source-error-quark");
}

int image_source_start(struct image_source *source, struct image_read *read, uint64_t offset,
		       void *buf, size_t len, GError **error)
{
	return source->ops->start ? source->ops->start(source, read, offset, buf, len, error)
				  : source->ops->read(source, offset, buf, len, error);
}

int image_source_finish(struct image_source *source, struct image_read *read, GError **error)
{
	return source->ops->finish ? source->ops->finish(source, read, error) : 0;
}

int image_source_start_and_finish(struct image_source *source, uint64_t offset, void *buf,
				  size_t len, GError **error)
{
	struct image_read read = {0};

	if (image_source_start(source, &read, offset, buf, len, error) == 0)
		return image_source_finish(source, &read, error);
	(void)image_source_finish(source, &read, NULL);
	return -1;
}

void image_source_free(struct image_source *source)
{
	if (source)
		source->ops->free(source);
}
