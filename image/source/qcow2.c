/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The encoder qcow2, not compressed: the file is laid out in full from the map of clusters, all
 * clusters of it are used once.
 */
#include <string.h>

#include "image/source/qcow2-tables.h"

struct qcow2 {
	struct image_source head;
	struct image_source *source;
	struct clusters *clusters;
	struct qcow2_tables *tables;
};

static int make_l2(void *opaque, uint64_t group, unsigned char *to, GError **error)
{
	const struct qcow2 *qcow2 = opaque;
	uint64_t at = qcow2_tables_size(qcow2->tables) +
		      (clusters_data_before_group(qcow2->clusters, group) << CLUSTER_BITS);

	(void)error;
	for (uint64_t i = 0; i < GROUP; i++) {
		if (!clusters_has_data(qcow2->clusters, group * GROUP + i))
			continue;
		put64(to + i * 8, at | QCOW2_COPIED);
		at += CLUSTER;
	}
	return 0;
}

/* Data that lies in the guest as it lies here is read at once. What a last cluster lacks is zeros.
 */
static int read_data(void *opaque, uint64_t offset, unsigned char *to, size_t len,
		     size_t *ret_length, GError **error)
{
	const struct qcow2 *qcow2 = opaque;
	uint64_t index = clusters_find_data(qcow2->clusters, offset >> CLUSTER_BITS);
	uint64_t guest = (index << CLUSTER_BITS) + offset % CLUSTER;
	uint64_t end = (index + 1) << CLUSTER_BITS;
	uint64_t size = qcow2->source->size;
	size_t piece, there;

	while (end - guest < len && clusters_has_data(qcow2->clusters, end >> CLUSTER_BITS))
		end += CLUSTER;
	piece = (size_t)MIN(end - guest, (uint64_t)len);
	there = guest < size ? (size_t)MIN((uint64_t)piece, size - guest) : 0;
	if (there > 0 && qcow2->source->ops->read(qcow2->source, guest, to, there, error) < 0)
		return -1;
	memset(to + there, 0, piece - there);
	*ret_length = piece;
	return 0;
}

static int encoder_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
			GError **error)
{
	return qcow2_read(((struct qcow2 *)source)->tables, offset, buf, len, error);
}

static void qcow2_free(struct image_source *source)
{
	struct qcow2 *qcow2 = (struct qcow2 *)source;

	qcow2_tables_free(qcow2->tables);
	clusters_free(qcow2->clusters);
	image_source_free(qcow2->source);
	g_free(qcow2);
}

static const struct image_source_ops qcow2_ops = {.read = encoder_read, .free = qcow2_free};

struct image_source *image_source_new_qcow2(struct image_source *source, GError **error)
{
	struct qcow2 *qcow2 = g_new0(struct qcow2, 1);
	struct qcow2_shape shape = {
		.size = source->size, .make_l2 = make_l2, .read_data = read_data, .opaque = qcow2};

	qcow2->head.ops = &qcow2_ops;
	qcow2->source = source;
	qcow2->clusters = clusters_new(source, error);
	if (!qcow2->clusters) {
		qcow2_free(&qcow2->head);
		return NULL;
	}
	shape.clusters = qcow2->clusters;
	shape.data = clusters_data_count(qcow2->clusters);
	qcow2->tables = qcow2_tables_new(&shape);
	qcow2->head.size = qcow2_size(qcow2->tables);
	return &qcow2->head;
}
