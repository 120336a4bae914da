/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tables of a qcow2 image: each cluster of them is made when it is read. They are used once:
 * their refcounts are 1.
 */
#include "image/source/qcow2-tables.h"

#include <string.h>

#define REFCOUNTS_OF_BLOCK (CLUSTER / 2) /* of 16 bits */
#define ENTRIES_OF_TABLE (CLUSTER / 8)
#define MAGIC 0x514649fb /* "QFI" and 0xfb */
#define HEADER_LENGTH 104
#define HEADER_LENGTH_ZSTD 112 /* with the kind of compression */
#define INCOMPATIBLE_COMPRESSION ((uint64_t)1 << 3)
#define COMPRESSION_ZSTD 1

struct qcow2_tables {
	struct qcow2_shape shape;
	uint32_t *tables; /* for each group: which L2 table it has, from 1; 0: none */
	uint64_t table_count;
	uint32_t *groups; /* the other way round: table -> group */

	uint64_t l1_entries;
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

void put16(unsigned char *to, uint16_t value)
{
	value = GUINT16_TO_BE(value);
	memcpy(to, &value, sizeof(value));
}

void put32(unsigned char *to, uint32_t value)
{
	value = GUINT32_TO_BE(value);
	memcpy(to, &value, sizeof(value));
}

void put64(unsigned char *to, uint64_t value)
{
	value = GUINT64_TO_BE(value);
	memcpy(to, &value, sizeof(value));
}

/* A group of clusters without data needs no L2 table. */
static void count_tables(struct qcow2_tables *tables)
{
	const struct clusters *clusters = tables->shape.clusters;
	uint64_t groups = clusters_groups(clusters);

	tables->tables = g_new0(uint32_t, groups + 1);
	tables->groups = g_new0(uint32_t, groups + 1);
	for (uint64_t i = 0; i < groups; i++) {
		if (clusters_data_before_group(clusters, i + 1) ==
		    clusters_data_before_group(clusters, i))
			continue;
		tables->groups[tables->table_count] = (uint32_t)i;
		tables->tables[i] = (uint32_t)++tables->table_count;
	}
}

/* The refcount blocks count themselves too: more of them, until it fits. */
static void lay_out(struct qcow2_tables *tables)
{
	uint64_t rest;

	/* One that a disk without bytes does not need, for L1 to be somewhere. */
	tables->l1_entries = MAX(clusters_groups(tables->shape.clusters), 1);
	tables->l1_size = divide_up(tables->l1_entries, ENTRIES_OF_TABLE);
	rest = 1 + tables->l1_size + tables->table_count + tables->shape.data;
	tables->refcount_blocks_size = 1;
	for (;;) {
		uint64_t all, blocks;

		tables->refcount_table_size =
			divide_up(tables->refcount_blocks_size, ENTRIES_OF_TABLE);
		all = rest + tables->refcount_table_size + tables->refcount_blocks_size;
		blocks = divide_up(all, REFCOUNTS_OF_BLOCK);
		if (blocks <= tables->refcount_blocks_size)
			break;
		tables->refcount_blocks_size = blocks;
	}
	tables->refcount_table = 1;
	tables->refcount_blocks = tables->refcount_table + tables->refcount_table_size;
	tables->l1 = tables->refcount_blocks + tables->refcount_blocks_size;
	tables->l2 = tables->l1 + tables->l1_size;
	tables->data = tables->l2 + tables->table_count;
	tables->end = tables->data + tables->shape.data;
}

static void make_header(const struct qcow2_tables *tables, unsigned char *to)
{
	put32(to, MAGIC);
	put32(to + 4, 3); /* version */
	put32(to + 20, CLUSTER_BITS);
	put64(to + 24, tables->shape.size);
	put32(to + 36, (uint32_t)tables->l1_entries);
	put64(to + 40, tables->l1 << CLUSTER_BITS);
	put64(to + 48, tables->refcount_table << CLUSTER_BITS);
	put32(to + 56, (uint32_t)tables->refcount_table_size);
	put32(to + 96, 4); /* refcounts of 2^4 bits */
	put32(to + 100, HEADER_LENGTH);
	if (tables->shape.zstd) {
		put64(to + 72, INCOMPATIBLE_COMPRESSION);
		put32(to + 100, HEADER_LENGTH_ZSTD);
		to[104] = COMPRESSION_ZSTD;
	}
}

static void make_refcount_table(const struct qcow2_tables *tables, uint64_t index,
				unsigned char *to)
{
	uint64_t first = index * ENTRIES_OF_TABLE;

	for (uint64_t i = 0; i < ENTRIES_OF_TABLE && first + i < tables->refcount_blocks_size; i++)
		put64(to + i * 8, (tables->refcount_blocks + first + i) << CLUSTER_BITS);
}

static int make_refcount_block(const struct qcow2_tables *tables, uint64_t index, unsigned char *to,
			       GError **error)
{
	uint64_t at = index * REFCOUNTS_OF_BLOCK;
	uint64_t end = MIN(at + REFCOUNTS_OF_BLOCK, tables->end);
	uint64_t ones = tables->shape.make_refcounts ? MIN(end, tables->data) : end;

	for (; at < ones; at++, to += 2)
		put16(to, 1);
	if (at >= end)
		return 0;
	return tables->shape.make_refcounts(tables->shape.opaque, at - tables->data, end - at, to,
					    error);
}

static void make_l1(const struct qcow2_tables *tables, uint64_t index, unsigned char *to)
{
	uint64_t first = index * ENTRIES_OF_TABLE;
	uint64_t groups = clusters_groups(tables->shape.clusters);

	for (uint64_t i = 0; i < ENTRIES_OF_TABLE && first + i < groups; i++) {
		uint32_t table = tables->tables[first + i];

		if (table > 0)
			put64(to + i * 8,
			      ((tables->l2 + table - 1) << CLUSTER_BITS) | QCOW2_COPIED);
	}
}

static int make_table(const struct qcow2_tables *tables, uint64_t cluster, unsigned char *to,
		      GError **error)
{
	const struct qcow2_shape *shape = &tables->shape;

	memset(to, 0, CLUSTER);
	if (cluster >= tables->l2)
		return shape->make_l2(shape->opaque, tables->groups[cluster - tables->l2], to,
				      error);
	if (cluster >= tables->l1)
		make_l1(tables, cluster - tables->l1, to);
	else if (cluster >= tables->refcount_blocks)
		return make_refcount_block(tables, cluster - tables->refcount_blocks, to, error);
	else if (cluster >= tables->refcount_table)
		make_refcount_table(tables, cluster - tables->refcount_table, to);
	else
		make_header(tables, to);
	return 0;
}

/* Up to the end of a cluster. Whole ones are made in the buffer itself. */
static int read_table(const struct qcow2_tables *tables, uint64_t offset, unsigned char *to,
		      size_t len, size_t *ret_length, GError **error)
{
	uint64_t skip = offset % CLUSTER;
	size_t piece = (size_t)MIN(CLUSTER - skip, (uint64_t)len);
	g_autofree unsigned char *whole = NULL;

	*ret_length = piece;
	if (piece == CLUSTER)
		return make_table(tables, offset >> CLUSTER_BITS, to, error);
	whole = g_malloc(CLUSTER);
	if (make_table(tables, offset >> CLUSTER_BITS, whole, error) < 0)
		return -1;
	memcpy(to, whole + skip, piece);
	return 0;
}

int qcow2_read(const struct qcow2_tables *tables, uint64_t offset, unsigned char *to, size_t len,
	       GError **error)
{
	const struct qcow2_shape *shape = &tables->shape;
	uint64_t data = qcow2_tables_size(tables);

	while (len > 0) {
		size_t piece;
		int rc = offset < data ? read_table(tables, offset, to, len, &piece, error)
				       : shape->read_data(shape->opaque, offset - data, to, len,
							  &piece, error);

		if (rc < 0)
			return -1;
		to += piece;
		offset += piece;
		len -= piece;
	}
	return 0;
}

struct qcow2_tables *qcow2_tables_new(const struct qcow2_shape *shape)
{
	struct qcow2_tables *tables = g_new0(struct qcow2_tables, 1);

	tables->shape = *shape;
	count_tables(tables);
	lay_out(tables);
	return tables;
}

void qcow2_tables_free(struct qcow2_tables *tables)
{
	if (!tables)
		return;
	g_free(tables->tables);
	g_free(tables->groups);
	g_free(tables);
}

uint64_t qcow2_tables_size(const struct qcow2_tables *tables)
{
	return tables->data << CLUSTER_BITS;
}

uint64_t qcow2_size(const struct qcow2_tables *tables)
{
	return (tables->data + tables->shape.data) << CLUSTER_BITS;
}
