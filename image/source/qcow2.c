/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The encoder of uncompressed qcow2 images. The n-th cluster with data is the n-th data cluster of
 * the file.
 */
#include <string.h>

#include "image/source/qcow2-tables.h"

struct qcow2_encoder {
	struct image_source head;
	struct image_source *source;
	struct cluster_map *clusters;
	struct qcow2_tables *tables;
};

static int qcow2_fill_l2_table(void *opaque, uint64_t group, unsigned char *to, GError **error)
{
	const struct qcow2_encoder *encoder = opaque;
	uint64_t at = qcow2_tables_data_offset(encoder->tables) +
		      (cluster_map_data_before_group(encoder->clusters, group) << CLUSTER_BITS);

	(void)error;
	for (uint64_t i = 0; i < CLUSTER_GROUP_SIZE; i++) {
		if (!cluster_map_has_data(encoder->clusters, group * CLUSTER_GROUP_SIZE + i))
			continue;
		qcow2_put64(to + i * 8, at | QCOW2_COPIED);
		at += CLUSTER_SIZE;
	}
	return 0;
}

/* Starts to read as many clusters as are adjacent on the disk, too. If the disk's last cluster is
 * incomplete, zeros follow its data. */
static int qcow2_read_data(void *opaque, struct image_read *read, uint64_t offset,
			   unsigned char *to, size_t len, size_t *ret_length, GError **error)
{
	const struct qcow2_encoder *encoder = opaque;
	struct image_source *source = encoder->source;
	uint64_t index = cluster_map_find_data(encoder->clusters, offset >> CLUSTER_BITS);
	uint64_t disk_offset = (index << CLUSTER_BITS) + offset % CLUSTER_SIZE;
	uint64_t end = (index + 1) << CLUSTER_BITS;
	size_t length, present = 0;

	while (end - disk_offset < len &&
	       cluster_map_has_data(encoder->clusters, end >> CLUSTER_BITS))
		end += CLUSTER_SIZE;
	length = (size_t)MIN(end - disk_offset, (uint64_t)len);
	if (disk_offset < source->size)
		present = (size_t)MIN((uint64_t)length, source->size - disk_offset);
	if (present > 0 && image_source_start(source, read, disk_offset, to, present, error) < 0)
		return -1;
	memset(to + present, 0, length - present);
	*ret_length = length;
	return 0;
}

static int qcow2_start(struct image_source *source, struct image_read *read, uint64_t offset,
		       void *buf, size_t len, GError **error)
{
	return qcow2_tables_read(((struct qcow2_encoder *)source)->tables, read, offset, buf, len,
				 error);
}

static int qcow2_finish(struct image_source *source, struct image_read *read, GError **error)
{
	return image_source_finish(((struct qcow2_encoder *)source)->source, read, error);
}

static void qcow2_free(struct image_source *source)
{
	struct qcow2_encoder *encoder = (struct qcow2_encoder *)source;

	qcow2_tables_free(encoder->tables);
	cluster_map_free(encoder->clusters);
	image_source_free(encoder->source);
	g_free(encoder);
}

static const struct image_source_ops qcow2_ops = {
	.read = image_source_start_and_finish,
	.start = qcow2_start,
	.finish = qcow2_finish,
	.free = qcow2_free,
};

struct image_source *image_source_new_qcow2(struct image_source *source, GError **error)
{
	struct qcow2_encoder *encoder = g_new0(struct qcow2_encoder, 1);
	struct qcow2_layout layout = {.disk_size = source->size,
				      .fill_l2_table = qcow2_fill_l2_table,
				      .read_data = qcow2_read_data,
				      .opaque = encoder};

	encoder->head.ops = &qcow2_ops;
	encoder->source = source;
	encoder->clusters = cluster_map_new(source, error);
	if (!encoder->clusters) {
		qcow2_free(&encoder->head);
		return NULL;
	}
	layout.clusters = encoder->clusters;
	layout.data_clusters = cluster_map_data_count(encoder->clusters);
	encoder->tables = qcow2_tables_new(&layout);
	encoder->head.size = qcow2_tables_file_size(encoder->tables);
	encoder->head.read_ahead_mib = source->read_ahead_mib;
	return &encoder->head;
}
