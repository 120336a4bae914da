/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configured store, and the common code of all types of stores.
 */
#include "image/image.h"

#include "image/store/directory.h"
#include "image/store/glance.h"
#include "image/store/pipeline.h"
#include "image/store/rate-limit.h"

struct image_store {
	const struct image_store_ops *ops;
	void *self;
	struct rate_limit *rate_limit; /* NULL: no limit */
	unsigned read_ahead_mib;
	atomic_llong locations_refused_at; /* monotonic us, since the last success; 0: never */
};

struct image_store *image_store_new(const struct image_config *config, GError **error)
{
	struct image_store *store = g_new0(struct image_store, 1);

	store->ops = config->directory ? &directory_store_ops : &glance_store_ops;
	store->self = store->ops->open(config, error);
	if (!store->self) {
		g_free(store);
		return NULL;
	}
	store->rate_limit = rate_limit_new(config->upload_bytes_per_second);
	store->read_ahead_mib = config->read_ahead_mib;
	return store;
}

void image_store_free(struct image_store *store)
{
	if (!store)
		return;
	store->ops->close(store->self);
	rate_limit_free(store->rate_limit);
	g_free(store);
}

/* An id becomes part of a URL or a path, so only UUIDs are accepted. */
static bool check_image_id(const char *id, GError **error)
{
	if (g_uuid_string_is_valid(id))
		return true;
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
		    "\"%.64s\" is not an image id: not a UUID", id);
	return false;
}

int image_store_get(struct image_store *store, const struct image_identity *identity,
		    const char *id, struct image_record **ret_record, GError **error)
{
	return check_image_id(id, error)
		       ? store->ops->get(store->self, identity, id, ret_record, error)
		       : -1;
}

int image_store_update(struct image_store *store, const struct image_identity *identity,
		       const char *id, const struct image_meta *meta, GError **error)
{
	return check_image_id(id, error)
		       ? store->ops->update(store->self, identity, id, meta, error)
		       : -1;
}

int image_store_upload(struct image_store *store, const struct image_identity *identity,
		       const char *id, struct image_upload *upload, GError **error)
{
	upload->hash[0] = '\0';
	upload->hash_name = pipeline_hash_name(upload);
	upload->rate_limit = store->rate_limit;
	upload->read_ahead_mib = store->read_ahead_mib;
	upload->sent = 0;
	upload->attempts = 0;
	upload->verified = upload->may_be_complete = false;
	return check_image_id(id, error)
		       ? store->ops->upload(store->self, identity, id, upload, error)
		       : -1;
}

enum image_location_result image_store_add_location(struct image_store *store,
						    const struct image_identity *identity,
						    const char *id, const char *url,
						    const atomic_int *cancel, GError **error)
{
	enum image_location_result result;

	if (!check_image_id(id, error))
		return IMAGE_LOCATION_FAILED;
	result = store->ops->add_location(store->self, identity, id, url, cancel, error);
	if (result == IMAGE_LOCATION_REFUSED)
		atomic_store(&store->locations_refused_at, g_get_monotonic_time());
	else if (result == IMAGE_LOCATION_ADDED)
		atomic_store(&store->locations_refused_at, 0);
	return result;
}

bool image_store_takes_locations(struct image_store *store)
{
	long long refused_at = atomic_load(&store->locations_refused_at);

	return store->ops != &directory_store_ops &&
	       (refused_at == 0 || g_get_monotonic_time() - refused_at >=
					   IMAGE_LOCATIONS_REFUSED_S * (gint64)G_USEC_PER_SEC);
}

enum image_location_answer image_store_has_location(struct image_store *store,
						    const struct image_identity *identity,
						    const char *id, const char *url, GError **error)
{
	return check_image_id(id, error)
		       ? store->ops->has_location(store->self, identity, id, url, error)
		       : IMAGE_LOCATION_NOT_KNOWN;
}

GPtrArray *image_store_list(struct image_store *store, const struct image_identity *identity,
			    const struct image_property *wanted, GError **error)
{
	GPtrArray *records = g_ptr_array_new_with_free_func((GDestroyNotify)image_record_free);

	if (store->ops->list(store->self, identity, wanted, records, error) == 0)
		return records;
	g_ptr_array_unref(records);
	return NULL;
}

int image_store_delete(struct image_store *store, const struct image_identity *identity,
		       const char *id, GError **error)
{
	return check_image_id(id, error) ? store->ops->remove(store->self, identity, id, error)
					 : -1;
}

char *image_store_create(struct image_store *store, const struct image_identity *identity,
			 const char *name, GError **error)
{
	return store->ops->create(store->self, identity, name, error);
}

int image_store_answered(struct image_store *store)
{
	return store->ops->answered ? store->ops->answered(store->self) : -1;
}

int image_store_has_tokens(struct image_store *store)
{
	return store->ops->has_tokens ? store->ops->has_tokens(store->self) : -1;
}

char *image_store_location(struct image_store *store)
{
	return store->ops->location(store->self);
}
