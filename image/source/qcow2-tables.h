/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Common code of the qcow2 encoders: the structures before the data of a qcow2 image of version 3
 * (see QEMU's docs/interop/qcow2.txt). They are created from a cluster map, each part when it is
 * read.
 *
 * header | refcount table | refcount blocks | L1 table | L2 tables | data
 *
 * Each part occupies complete clusters. A group of the cluster map without data has no L2 table.
 */
#ifndef NOVASNAP_IMAGE_QCOW2_TABLES_H
#define NOVASNAP_IMAGE_QCOW2_TABLES_H

#include "image/source/cluster-map.h"

#define QCOW2_COPIED ((uint64_t)1 << 63) /* flag of a table entry: the refcount is exactly 1 */

/*
 * Describes the data of an image. The callbacks get `opaque`; they return 0, or -1 with an error.
 * Buffers for tables are zeroed before the call and filled in big-endian order.
 */
struct qcow2_layout {
	const struct cluster_map *clusters; /* those with an L2 entry; outlives the image */
	uint64_t disk_size;		    /* bytes of the guest's disk */
	uint64_t data_clusters;		    /* number of clusters of the file that contain data */
	bool zstd;			    /* the compression type of compressed clusters */
	/* Fills the L2 table of a group that has data, CLUSTER_GROUP_SIZE entries of 8 bytes. */
	int (*fill_l2_table)(void *opaque, uint64_t group, unsigned char *to, GError **error);
	/* Fills the refcounts, 2 bytes each, of `count` data clusters of the file from `first` on,
	 * counted from 0. NULL: all are 1. */
	int (*fill_refcounts)(void *opaque, uint64_t first, uint64_t count, unsigned char *to,
			      GError **error);
	/* Reads at least one byte and at most `len` bytes at an offset from the start of the data,
	 * or starts a read of the source. */
	int (*read_data)(void *opaque, struct image_read *read, uint64_t offset, unsigned char *to,
			 size_t len, size_t *ret_length, GError **error);
	void *opaque;
};

/* A qcow2 image. */
struct qcow2_tables;

/* Creates an image with this layout, which is copied. */
struct qcow2_tables *qcow2_tables_new(const struct qcow2_layout *layout);
/* Accepts NULL. */
void qcow2_tables_free(struct qcow2_tables *tables);

/* Return the offset of the data in the file, and the size of the file, in bytes. */
uint64_t qcow2_tables_data_offset(const struct qcow2_tables *tables);
uint64_t qcow2_tables_file_size(const struct qcow2_tables *tables);

/* Reads `len` bytes of the file, tables and data; `read` is passed to read_data(). Returns 0, or -1
 * with the error of a callback. */
int qcow2_tables_read(const struct qcow2_tables *tables, struct image_read *read, uint64_t offset,
		      unsigned char *to, size_t len, GError **error);

/* Write a big-endian number. */
void qcow2_put16(unsigned char *to, uint16_t value);
void qcow2_put32(unsigned char *to, uint32_t value);
void qcow2_put64(unsigned char *to, uint64_t value);

#endif
