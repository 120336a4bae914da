/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of the Glance store.
 */
#include "image/store/glance.h"

#include "image/store/glance-client.h"
#include "image/store/glance-image.h"
#include "image/store/glance-list.h"
#include "image/store/glance-location.h"
#include "image/store/glance-upload.h"

const struct image_store_ops glance_store_ops = {
	.open = glance_client_open,
	.close = glance_client_close,
	.location = glance_client_location,
	.answered = glance_client_answered,
	.has_tokens = glance_client_has_tokens,
	.get = glance_image_get,
	.update = glance_image_update,
	.upload = glance_image_upload,
	.list = glance_image_list,
	.remove = glance_image_delete,
	.create = glance_image_create,
	.add_location = glance_location_add,
	.has_location = glance_location_ask,
};
