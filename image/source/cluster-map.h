/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which clusters of a source hold data: one bit each, and a count for each group of them, so that
 * "the n-th cluster with data" is found at once. 8 TiB of 64 KiB clusters are 16 MiB.
 */
#ifndef NOVASNAP_IMAGE_CLUSTERS_H
#define NOVASNAP_IMAGE_CLUSTERS_H

#include "image/source.h"

#define CLUSTER_BITS 16
#define CLUSTER ((uint64_t)1 << CLUSTER_BITS)
/* As many as an L2 table of qcow2 has entries. */
#define GROUP ((uint64_t)8192)

/* Read at once: as many requests as an NBD source has in flight. */
#define CLUSTERS_AT_ONCE 16

struct clusters;
/* Asks a source for its extents. NULL with the source's error, or when it is over
 * IMAGE_QCOW2_MAX. */
struct clusters *clusters_new(struct image_source *source, GError **error);
void clusters_free(struct clusters *clusters);

uint64_t clusters_count(const struct clusters *clusters);
bool clusters_has_data(const struct clusters *clusters, uint64_t index);
/* The first one with data from here on; clusters_count where there is none. */
uint64_t clusters_next_data(const struct clusters *clusters, uint64_t from);
/* Where the data ends that is at an index: the first without, at most `most` from there. */
uint64_t clusters_data_end(const struct clusters *clusters, uint64_t from, uint64_t most);
/* It was found to be all zeros. The counts, and clusters_find_data, follow with clusters_recount.
 */
void clusters_clear(struct clusters *clusters, uint64_t index);
void clusters_recount(struct clusters *clusters);
bool is_all_zeros(const void *buffer, size_t length);
/* With data, in all, and before a group. */
uint64_t clusters_data_count(const struct clusters *clusters);
uint64_t clusters_data_before_group(const struct clusters *clusters, uint64_t group);
uint64_t clusters_groups(const struct clusters *clusters);
/* The index of the n-th cluster with data, from 0; n is less than clusters_data_count. */
uint64_t clusters_find_data(const struct clusters *clusters, uint64_t n);

#endif
