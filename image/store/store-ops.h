/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A kind of image store. To add one, define a table of this type and choose it in
 * image_store_new().
 */
#ifndef NOVASNAP_IMAGE_STORE_OPS_H
#define NOVASNAP_IMAGE_STORE_OPS_H

#include "image/image.h"

/*
 * Each callback does what the function image_store_NAME() of image.h documents, for any thread.
 * `self` is what `open` returned. Ids are valid UUIDs.
 */
struct image_store_ops {
	/* Returns NULL with IMAGE_ERROR_CONFIG. `config` outlives the store. */
	void *(*open)(const struct image_config *config, GError **error);
	void (*close)(void *self);
	int (*get)(void *self, const struct image_identity *identity, const char *id,
		   struct image_record **ret_record, GError **error);
	int (*update)(void *self, const struct image_identity *identity, const char *id,
		      const struct image_meta *meta, GError **error);
	int (*upload)(void *self, const struct image_identity *identity, const char *id,
		      struct image_upload *upload, GError **error);
	/* Adds struct image_record to `records`, also if it then fails. */
	int (*list)(void *self, const struct image_identity *identity,
		    const struct image_property *wanted, GPtrArray *records, GError **error);
	int (*remove)(void *self, const struct image_identity *identity, const char *id,
		      GError **error);
	char *(*create)(void *self, const struct image_identity *identity, const char *name,
			GError **error);
	char *(*location)(void *self);
};

#endif
