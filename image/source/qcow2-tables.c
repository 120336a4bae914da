/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The structures before the data of a qcow2 image. Each of their clusters is created when it is
 * read. Their refcounts are 1.
 */
#include "image/source/qcow2-tables.h"

#include <string.h>

#define REFCOUNTS_PER_BLOCK (CLUSTER_SIZE / 2) /* of 16 bits */
#define ENTRIES_PER_TABLE (CLUSTER_SIZE / 8)

/* The header: its values, and the offsets of its fields. */
#define QCOW2_MAGIC 0x514649fb /* "QFI" and 0xfb */
#define QCOW2_VERSION 3
#define QCOW2_REFCOUNT_ORDER 4 /* refcounts have 2^4 bits */
#define QCOW2_HEADER_LENGTH 104
#define QCOW2_HEADER_LENGTH_ZSTD 112 /* includes the compression type */
#define QCOW2_INCOMPATIBLE_COMPRESSION ((uint64_t)1 << 3)
#define QCOW2_COMPRESSION_ZSTD 1
enum {
	QCOW2_FIELD_MAGIC = 0,
	QCOW2_FIELD_VERSION = 4,
	QCOW2_FIELD_CLUSTER_BITS = 20,
	QCOW2_FIELD_SIZE = 24,
	QCOW2_FIELD_L1_SIZE = 36,
	QCOW2_FIELD_L1_TABLE_OFFSET = 40,
	QCOW2_FIELD_REFCOUNT_TABLE_OFFSET = 48,
	QCOW2_FIELD_REFCOUNT_TABLE_CLUSTERS = 56,
	QCOW2_FIELD_INCOMPATIBLE_FEATURES = 72,
	QCOW2_FIELD_REFCOUNT_ORDER = 96,
	QCOW2_FIELD_HEADER_LENGTH = 100,
	QCOW2_FIELD_COMPRESSION_TYPE = 104,
};

struct qcow2_tables {
	struct qcow2_layout layout;
	/* Only groups with data have an L2 table. Both arrays have an element for each group. */
	uint64_t l2_count;
	uint32_t *group_to_l2; /* the number of the group's L2 table, from 1; 0: none */
	uint32_t *l2_to_group; /* the group of the n-th L2 table, from 0 */

	uint64_t l1_entries;
	/* Positions and lengths in clusters of the file. */
	uint64_t refcount_table;
	uint64_t refcount_table_length;
	uint64_t refcount_blocks;
	uint64_t refcount_blocks_length;
	uint64_t l1;
	uint64_t l1_length;
	uint64_t l2;
	uint64_t data;
	uint64_t end;
};

static uint64_t divide_up(uint64_t n, uint64_t by)
{
	return (n + by - 1) / by;
}

void qcow2_put16(unsigned char *to, uint16_t value)
{
	value = GUINT16_TO_BE(value);
	memcpy(to, &value, sizeof(value));
}

void qcow2_put32(unsigned char *to, uint32_t value)
{
	value = GUINT32_TO_BE(value);
	memcpy(to, &value, sizeof(value));
}

void qcow2_put64(unsigned char *to, uint64_t value)
{
	value = GUINT64_TO_BE(value);
	memcpy(to, &value, sizeof(value));
}

static void number_l2_tables(struct qcow2_tables *tables)
{
	const struct cluster_map *clusters = tables->layout.clusters;
	uint64_t groups = cluster_map_group_count(clusters);

	tables->group_to_l2 = g_new0(uint32_t, groups + 1);
	tables->l2_to_group = g_new0(uint32_t, groups + 1);
	for (uint64_t i = 0; i < groups; i++) {
		if (cluster_map_data_before_group(clusters, i + 1) ==
		    cluster_map_data_before_group(clusters, i))
			continue;
		tables->l2_to_group[tables->l2_count] = (uint32_t)i;
		tables->group_to_l2[i] = (uint32_t)++tables->l2_count;
	}
}

/* Refcount blocks also count themselves and the refcount table, so their number is increased until
 * it is sufficient. */
static void choose_refcount_lengths(struct qcow2_tables *tables)
{
	uint64_t others = 1 + tables->l1_length + tables->l2_count + tables->layout.data_clusters;

	tables->refcount_blocks_length = 1;
	for (;;) {
		uint64_t all, blocks;

		tables->refcount_table_length =
			divide_up(tables->refcount_blocks_length, ENTRIES_PER_TABLE);
		all = others + tables->refcount_table_length + tables->refcount_blocks_length;
		blocks = divide_up(all, REFCOUNTS_PER_BLOCK);
		if (blocks <= tables->refcount_blocks_length)
			return;
		tables->refcount_blocks_length = blocks;
	}
}

static void choose_positions(struct qcow2_tables *tables)
{
	/* An empty disk has no group, but the L1 table needs at least one entry. */
	tables->l1_entries = MAX(cluster_map_group_count(tables->layout.clusters), 1);
	tables->l1_length = divide_up(tables->l1_entries, ENTRIES_PER_TABLE);
	choose_refcount_lengths(tables);
	tables->refcount_table = 1;
	tables->refcount_blocks = tables->refcount_table + tables->refcount_table_length;
	tables->l1 = tables->refcount_blocks + tables->refcount_blocks_length;
	tables->l2 = tables->l1 + tables->l1_length;
	tables->data = tables->l2 + tables->l2_count;
	tables->end = tables->data + tables->layout.data_clusters;
}

static void fill_header(const struct qcow2_tables *tables, unsigned char *to)
{
	qcow2_put32(to + QCOW2_FIELD_MAGIC, QCOW2_MAGIC);
	qcow2_put32(to + QCOW2_FIELD_VERSION, QCOW2_VERSION);
	qcow2_put32(to + QCOW2_FIELD_CLUSTER_BITS, CLUSTER_BITS);
	qcow2_put64(to + QCOW2_FIELD_SIZE, tables->layout.disk_size);
	qcow2_put32(to + QCOW2_FIELD_L1_SIZE, (uint32_t)tables->l1_entries);
	qcow2_put64(to + QCOW2_FIELD_L1_TABLE_OFFSET, tables->l1 << CLUSTER_BITS);
	qcow2_put64(to + QCOW2_FIELD_REFCOUNT_TABLE_OFFSET, tables->refcount_table << CLUSTER_BITS);
	qcow2_put32(to + QCOW2_FIELD_REFCOUNT_TABLE_CLUSTERS,
		    (uint32_t)tables->refcount_table_length);
	qcow2_put32(to + QCOW2_FIELD_REFCOUNT_ORDER, QCOW2_REFCOUNT_ORDER);
	qcow2_put32(to + QCOW2_FIELD_HEADER_LENGTH, QCOW2_HEADER_LENGTH);
	if (tables->layout.zstd) {
		qcow2_put64(to + QCOW2_FIELD_INCOMPATIBLE_FEATURES, QCOW2_INCOMPATIBLE_COMPRESSION);
		qcow2_put32(to + QCOW2_FIELD_HEADER_LENGTH, QCOW2_HEADER_LENGTH_ZSTD);
		to[QCOW2_FIELD_COMPRESSION_TYPE] = QCOW2_COMPRESSION_ZSTD;
	}
}

static void fill_refcount_table(const struct qcow2_tables *tables, uint64_t index,
				unsigned char *to)
{
	uint64_t first = index * ENTRIES_PER_TABLE;

	for (uint64_t i = 0; i < ENTRIES_PER_TABLE && first + i < tables->refcount_blocks_length;
	     i++)
		qcow2_put64(to + i * 8, (tables->refcount_blocks + first + i) << CLUSTER_BITS);
}

static int fill_refcount_block(const struct qcow2_tables *tables, uint64_t index, unsigned char *to,
			       GError **error)
{
	const struct qcow2_layout *layout = &tables->layout;
	uint64_t at = index * REFCOUNTS_PER_BLOCK;
	uint64_t end = MIN(at + REFCOUNTS_PER_BLOCK, tables->end);
	uint64_t ones_end = layout->fill_refcounts ? MIN(end, tables->data) : end;

	for (; at < ones_end; at++, to += 2)
		qcow2_put16(to, 1);
	if (at >= end)
		return 0;
	return layout->fill_refcounts(layout->opaque, at - tables->data, end - at, to, error);
}

static void fill_l1_table(const struct qcow2_tables *tables, uint64_t index, unsigned char *to)
{
	uint64_t first = index * ENTRIES_PER_TABLE;
	uint64_t groups = cluster_map_group_count(tables->layout.clusters);

	for (uint64_t i = 0; i < ENTRIES_PER_TABLE && first + i < groups; i++) {
		uint32_t l2 = tables->group_to_l2[first + i];

		if (l2 > 0)
			qcow2_put64(to + i * 8,
				    ((tables->l2 + l2 - 1) << CLUSTER_BITS) | QCOW2_COPIED);
	}
}

/* Creates a cluster of the file that comes before the data. */
static int fill_cluster(const struct qcow2_tables *tables, uint64_t cluster, unsigned char *to,
			GError **error)
{
	const struct qcow2_layout *layout = &tables->layout;

	memset(to, 0, CLUSTER_SIZE);
	if (cluster >= tables->l2)
		return layout->fill_l2_table(layout->opaque,
					     tables->l2_to_group[cluster - tables->l2], to, error);
	if (cluster >= tables->l1)
		fill_l1_table(tables, cluster - tables->l1, to);
	else if (cluster >= tables->refcount_blocks)
		return fill_refcount_block(tables, cluster - tables->refcount_blocks, to, error);
	else if (cluster >= tables->refcount_table)
		fill_refcount_table(tables, cluster - tables->refcount_table, to);
	else
		fill_header(tables, to);
	return 0;
}

/* Reads up to the end of the cluster that contains `offset`. */
static int read_cluster(const struct qcow2_tables *tables, uint64_t offset, unsigned char *to,
			size_t len, size_t *ret_length, GError **error)
{
	uint64_t skip = offset % CLUSTER_SIZE;
	size_t length = (size_t)MIN(CLUSTER_SIZE - skip, (uint64_t)len);
	g_autofree unsigned char *cluster = NULL;

	*ret_length = length;
	if (length == CLUSTER_SIZE)
		return fill_cluster(tables, offset >> CLUSTER_BITS, to, error);
	cluster = g_malloc(CLUSTER_SIZE);
	if (fill_cluster(tables, offset >> CLUSTER_BITS, cluster, error) < 0)
		return -1;
	memcpy(to, cluster + skip, length);
	return 0;
}

int qcow2_tables_read(const struct qcow2_tables *tables, struct image_read *read, uint64_t offset,
		      unsigned char *to, size_t len, GError **error)
{
	const struct qcow2_layout *layout = &tables->layout;
	uint64_t data = qcow2_tables_data_offset(tables);

	while (len > 0) {
		size_t length;
		int rc = offset < data ? read_cluster(tables, offset, to, len, &length, error)
				       : layout->read_data(layout->opaque, read, offset - data, to,
							   len, &length, error);

		if (rc < 0)
			return -1;
		to += length;
		offset += length;
		len -= length;
	}
	return 0;
}

struct qcow2_tables *qcow2_tables_new(const struct qcow2_layout *layout)
{
	struct qcow2_tables *tables = g_new0(struct qcow2_tables, 1);

	tables->layout = *layout;
	number_l2_tables(tables);
	choose_positions(tables);
	return tables;
}

void qcow2_tables_free(struct qcow2_tables *tables)
{
	if (!tables)
		return;
	g_free(tables->group_to_l2);
	g_free(tables->l2_to_group);
	g_free(tables);
}

uint64_t qcow2_tables_data_offset(const struct qcow2_tables *tables)
{
	return tables->data << CLUSTER_BITS;
}

uint64_t qcow2_tables_file_size(const struct qcow2_tables *tables)
{
	return tables->end << CLUSTER_BITS;
}
