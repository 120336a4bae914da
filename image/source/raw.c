/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The encoder raw: the bytes as they are, where zeros need not be read.
 */
#include <string.h>

#include "image/source/cluster-map.h"

struct raw {
	struct image_source head;
	struct image_source *source;
	struct clusters *clusters;
};

/* How far from here the clusters are of one kind, in bytes, at most `len`. */
static size_t run_length(const struct raw *raw, uint64_t offset, size_t len)
{
	uint64_t index = offset >> CLUSTER_BITS;
	bool data = clusters_has_data(raw->clusters, index);
	uint64_t end = (index + 1) << CLUSTER_BITS;

	while (end < offset + len && clusters_has_data(raw->clusters, end >> CLUSTER_BITS) == data)
		end += CLUSTER;
	return (size_t)MIN(end - offset, (uint64_t)len);
}

static int raw_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
		    GError **error)
{
	struct raw *raw = (struct raw *)source;
	char *to = buf;

	while (len > 0) {
		size_t run = run_length(raw, offset, len);

		if (!clusters_has_data(raw->clusters, offset >> CLUSTER_BITS))
			memset(to, 0, run);
		else if (raw->source->ops->read(raw->source, offset, to, run, error) < 0)
			return -1;
		to += run;
		offset += run;
		len -= run;
	}
	return 0;
}

static void raw_free(struct image_source *source)
{
	struct raw *raw = (struct raw *)source;

	clusters_free(raw->clusters);
	image_source_free(raw->source);
	g_free(raw);
}

static const struct image_source_ops raw_ops = {.read = raw_read, .free = raw_free};

struct image_source *image_source_new_raw(struct image_source *source, GError **error)
{
	struct raw *raw = g_new0(struct raw, 1);

	raw->head.ops = &raw_ops;
	raw->head.size = source->size;
	raw->source = source;
	raw->clusters = clusters_new(source, error);
	if (raw->clusters)
		return &raw->head;
	raw_free(&raw->head);
	return NULL;
}
