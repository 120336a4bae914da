/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The encoder qcow2 (version 3, docs/interop/qcow2.txt of QEMU): the file is laid out in full from
 * the map of clusters; each cluster of it is made when it is read.
 *
 *     header | refcount table | refcount blocks | L1 | L2 tables | data in the guest's order
 *
 * All clusters of the file are used once: every refcount is 1.
 */
#include <string.h>

#include "image/clusters.h"

#define MAX_SIZE ((uint64_t)8 << 40)
#define REFCOUNTS_OF_BLOCK (CLUSTER / 2) /* of 16 bits */
#define ENTRIES_OF_TABLE (CLUSTER / 8)
#define COPIED ((uint64_t)1 << 63) /* the refcount is exactly 1 */
#define HEADER_LENGTH 104

struct qcow2 {
	struct image_source head;
	struct image_source *source;
	struct clusters *clusters;
	uint32_t *tables; /* for each group: which L2 table it has, from 1; 0: none */
	uint64_t table_count;
	uint32_t *groups; /* the other way round: table -> group */

	/* In clusters of the file. */
	uint64_t refcount_table;
	uint64_t refcount_table_size;
	uint64_t refcount_blocks;
	uint64_t refcount_blocks_size;
	uint64_t l1;
	uint64_t l1_size;
	uint64_t l2;
	uint64_t data;
	uint64_t end;
};

static uint64_t divide_up(uint64_t n, uint64_t by)
{
	return (n + by - 1) / by;
}

static void put16(unsigned char *to, uint16_t value)
{
	value = GUINT16_TO_BE(value);
	memcpy(to, &value, sizeof(value));
}

static void put32(unsigned char *to, uint32_t value)
{
	value = GUINT32_TO_BE(value);
	memcpy(to, &value, sizeof(value));
}

static void put64(unsigned char *to, uint64_t value)
{
	value = GUINT64_TO_BE(value);
	memcpy(to, &value, sizeof(value));
}

/* A group of clusters without data needs no L2 table. */
static void count_tables(struct qcow2 *qcow2)
{
	uint64_t groups = clusters_groups(qcow2->clusters);

	qcow2->tables = g_new0(uint32_t, groups + 1);
	qcow2->groups = g_new0(uint32_t, groups + 1);
	for (uint64_t i = 0; i < groups; i++) {
		if (clusters_data_before_group(qcow2->clusters, i + 1) ==
		    clusters_data_before_group(qcow2->clusters, i))
			continue;
		qcow2->groups[qcow2->table_count] = (uint32_t)i;
		qcow2->tables[i] = (uint32_t)++qcow2->table_count;
	}
}

/* The refcount blocks count themselves too: more of them, until it fits. */
static void lay_out(struct qcow2 *qcow2)
{
	uint64_t l1_entries = MAX(clusters_groups(qcow2->clusters), 1);
	uint64_t rest;

	qcow2->l1_size = divide_up(l1_entries, ENTRIES_OF_TABLE);
	rest = 1 + qcow2->l1_size + qcow2->table_count + clusters_data_count(qcow2->clusters);
	qcow2->refcount_blocks_size = 1;
	for (;;) {
		uint64_t all, blocks;

		qcow2->refcount_table_size =
			divide_up(qcow2->refcount_blocks_size, ENTRIES_OF_TABLE);
		all = rest + qcow2->refcount_table_size + qcow2->refcount_blocks_size;
		blocks = divide_up(all, REFCOUNTS_OF_BLOCK);
		if (blocks <= qcow2->refcount_blocks_size)
			break;
		qcow2->refcount_blocks_size = blocks;
	}
	qcow2->refcount_table = 1;
	qcow2->refcount_blocks = qcow2->refcount_table + qcow2->refcount_table_size;
	qcow2->l1 = qcow2->refcount_blocks + qcow2->refcount_blocks_size;
	qcow2->l2 = qcow2->l1 + qcow2->l1_size;
	qcow2->data = qcow2->l2 + qcow2->table_count;
	qcow2->end = qcow2->data + clusters_data_count(qcow2->clusters);
}

static void make_header(const struct qcow2 *qcow2, unsigned char *to)
{
	memset(to, 0, CLUSTER);
	memcpy(to, "QFI\xfb", 4);
	put32(to + 4, 3); /* version */
	put32(to + 20, CLUSTER_BITS);
	put64(to + 24, qcow2->source->size);
	put32(to + 36, (uint32_t)clusters_groups(qcow2->clusters)); /* entries of L1 */
	put64(to + 40, qcow2->l1 << CLUSTER_BITS);
	put64(to + 48, qcow2->refcount_table << CLUSTER_BITS);
	put32(to + 56, (uint32_t)qcow2->refcount_table_size);
	put32(to + 96, 4); /* refcounts of 2^4 bits */
	put32(to + 100, HEADER_LENGTH);
}

static void make_refcount_table(const struct qcow2 *qcow2, uint64_t index, unsigned char *to)
{
	uint64_t first = index * ENTRIES_OF_TABLE;

	memset(to, 0, CLUSTER);
	for (uint64_t i = 0; i < ENTRIES_OF_TABLE && first + i < qcow2->refcount_blocks_size; i++)
		put64(to + i * 8, (qcow2->refcount_blocks + first + i) << CLUSTER_BITS);
}

static void make_refcount_block(const struct qcow2 *qcow2, uint64_t index, unsigned char *to)
{
	uint64_t first = index * REFCOUNTS_OF_BLOCK;

	memset(to, 0, CLUSTER);
	for (uint64_t i = 0; i < REFCOUNTS_OF_BLOCK && first + i < qcow2->end; i++)
		put16(to + i * 2, 1);
}

static void make_l1(const struct qcow2 *qcow2, uint64_t index, unsigned char *to)
{
	uint64_t first = index * ENTRIES_OF_TABLE;

	memset(to, 0, CLUSTER);
	for (uint64_t i = 0; i < ENTRIES_OF_TABLE && first + i < clusters_groups(qcow2->clusters);
	     i++) {
		uint32_t table = qcow2->tables[first + i];

		if (table > 0)
			put64(to + i * 8, ((qcow2->l2 + table - 1) << CLUSTER_BITS) | COPIED);
	}
}

static void make_l2(const struct qcow2 *qcow2, uint64_t table, unsigned char *to)
{
	uint64_t group = qcow2->groups[table];
	uint64_t at = qcow2->data + clusters_data_before_group(qcow2->clusters, group);

	memset(to, 0, CLUSTER);
	for (uint64_t i = 0; i < GROUP; i++) {
		if (clusters_has_data(qcow2->clusters, group * GROUP + i))
			put64(to + i * 8, (at++ << CLUSTER_BITS) | COPIED);
	}
}

static void make_table(const struct qcow2 *qcow2, uint64_t cluster, unsigned char *to)
{
	if (cluster < qcow2->refcount_table)
		make_header(qcow2, to);
	else if (cluster < qcow2->refcount_blocks)
		make_refcount_table(qcow2, cluster - qcow2->refcount_table, to);
	else if (cluster < qcow2->l1)
		make_refcount_block(qcow2, cluster - qcow2->refcount_blocks, to);
	else if (cluster < qcow2->l2)
		make_l1(qcow2, cluster - qcow2->l1, to);
	else
		make_l2(qcow2, cluster - qcow2->l2, to);
}

/* Part of a cluster that is no data, whole ones straight into the buffer. */
static size_t read_table(const struct qcow2 *qcow2, uint64_t offset, unsigned char *to, size_t len)
{
	uint64_t skip = offset % CLUSTER;
	size_t piece = (size_t)MIN(CLUSTER - skip, (uint64_t)len);
	g_autofree unsigned char *whole = NULL;

	if (piece == CLUSTER) {
		make_table(qcow2, offset >> CLUSTER_BITS, to);
		return piece;
	}
	whole = g_malloc(CLUSTER);
	make_table(qcow2, offset >> CLUSTER_BITS, whole);
	memcpy(to, whole + skip, piece);
	return piece;
}

/* Data that lies in the guest as it lies here is read at once. What a last cluster lacks is zeros.
 */
static int read_data(struct qcow2 *qcow2, uint64_t offset, unsigned char *to, size_t len,
		     size_t *ret_length, GError **error)
{
	uint64_t n = (offset >> CLUSTER_BITS) - qcow2->data;
	uint64_t index = clusters_find_data(qcow2->clusters, n);
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

static int qcow2_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
		      GError **error)
{
	struct qcow2 *qcow2 = (struct qcow2 *)source;
	unsigned char *to = buf;

	while (len > 0) {
		size_t piece;

		if (offset >> CLUSTER_BITS < qcow2->data)
			piece = read_table(qcow2, offset, to, len);
		else if (read_data(qcow2, offset, to, len, &piece, error) < 0)
			return -1;
		to += piece;
		offset += piece;
		len -= piece;
	}
	return 0;
}

static void qcow2_free(struct image_source *source)
{
	struct qcow2 *qcow2 = (struct qcow2 *)source;

	clusters_free(qcow2->clusters);
	image_source_free(qcow2->source);
	g_free(qcow2->tables);
	g_free(qcow2->groups);
	g_free(qcow2);
}

static const struct image_source_ops qcow2_ops = {.read = qcow2_read, .free = qcow2_free};

struct image_source *image_source_new_qcow2(struct image_source *source, GError **error)
{
	struct qcow2 *qcow2 = g_new0(struct qcow2, 1);

	qcow2->head.ops = &qcow2_ops;
	qcow2->source = source;
	if (source->size > MAX_SIZE)
		g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
			    "a disk of %" G_GUINT64_FORMAT " bytes is over the limit of 8 TiB",
			    source->size);
	else
		qcow2->clusters = clusters_new(source, error);
	if (!qcow2->clusters) {
		qcow2_free(&qcow2->head);
		return NULL;
	}
	count_tables(qcow2);
	lay_out(qcow2);
	qcow2->head.size = qcow2->end << CLUSTER_BITS;
	return &qcow2->head;
}
