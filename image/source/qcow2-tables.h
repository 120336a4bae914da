/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the encoders of qcow2 (version 3, docs/interop/qcow2.txt of QEMU) share: all of the file
 * before its data, made from the map of clusters when it is read.
 *
 *     header | refcount table | refcount blocks | L1 | L2 tables | data in the guest's order
 */
#ifndef NOVASNAP_IMAGE_QCOW2_H
#define NOVASNAP_IMAGE_QCOW2_H

#include "image/source/cluster-map.h"

#define QCOW2_COPIED ((uint64_t)1 << 63) /* the refcount is exactly 1 */

/* What is said of the data. A callback gets `to` zeroed, fills it in the file's byte order, and
 * returns 0, or -1 with an error. */
struct qcow2_shape {
	const struct clusters *clusters; /* which have an entry in an L2 table; must outlive it */
	uint64_t size;			 /* of the guest's disk */
	uint64_t data;			 /* how many clusters of the file hold data */
	bool zstd;			 /* how those are compressed that are */
	/* The 8192 entries of a group's L2 table. */
	int (*make_l2)(void *opaque, uint64_t group, unsigned char *to, GError **error);
	/* The refcounts of clusters that hold data; the first of them is 0. NULL: they are 1. */
	int (*make_refcounts)(void *opaque, uint64_t first, uint64_t count, unsigned char *to,
			      GError **error);
	/* What is at an offset of the data, as much of it as is at hand: at least a byte. */
	int (*read_data)(void *opaque, uint64_t offset, unsigned char *to, size_t len,
			 size_t *ret_length, GError **error);
	void *opaque;
};

struct qcow2_tables;
struct qcow2_tables *qcow2_tables_new(const struct qcow2_shape *shape);
void qcow2_tables_free(struct qcow2_tables *tables);
/* In bytes, whole clusters: where the data begins, and where the file ends. */
uint64_t qcow2_tables_size(const struct qcow2_tables *tables);
uint64_t qcow2_size(const struct qcow2_tables *tables);
/* Of the whole file, its data too. */
int qcow2_read(const struct qcow2_tables *tables, uint64_t offset, unsigned char *to, size_t len,
	       GError **error);

void put16(unsigned char *to, uint16_t value);
void put32(unsigned char *to, uint32_t value);
void put64(unsigned char *to, uint64_t value);

#endif
