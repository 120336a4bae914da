/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A type of image store. To add one, define a table of this type and use it in image_store_new().
 */
#ifndef NOVASNAP_IMAGE_STORE_OPS_H
#define NOVASNAP_IMAGE_STORE_OPS_H

#include "image/image.h"

/*
 * Each callback NAME implements the function image_store_NAME() of image.h, for any thread. `self`
 * is the result of `open`. Ids are valid UUIDs.
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
	/* Adds struct image_record to `records`; may have added some even if it fails. */
	int (*list)(void *self, const struct image_identity *identity,
		    const struct image_property *wanted, GPtrArray *records, GError **error);
	int (*remove)(void *self, const struct image_identity *identity, const char *id,
		      GError **error);
	char *(*create)(void *self, const struct image_identity *identity, const char *name,
			GError **error);
	char *(*location)(void *self);
	enum image_location_result (*add_location)(void *self,
						   const struct image_identity *identity,
						   const char *id, const char *url,
						   const atomic_int *cancel, GError **error);
	enum image_location_answer (*has_location)(void *self,
						   const struct image_identity *identity,
						   const char *id, const char *url, GError **error);
	int (*answered)(void *self);   /* NULL: it is always there */
	int (*has_tokens)(void *self); /* NULL: it needs none */
};

#endif
