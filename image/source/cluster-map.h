/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A map of the clusters of a source that contain data, with one bit for each cluster. Clusters are
 * numbered from 0. A count for each group of clusters makes it fast to find the n-th cluster with
 * data. The map of 8 TiB needs 16 MiB.
 */
#ifndef NOVASNAP_IMAGE_CLUSTER_MAP_H
#define NOVASNAP_IMAGE_CLUSTER_MAP_H

#include "image/source.h"

/* A cluster is 64 KiB, the size that qemu-img uses. */
#define CLUSTER_BITS 16
#define CLUSTER_SIZE ((uint64_t)1 << CLUSTER_BITS)
/* The number of clusters in a group, which is the number of entries of a qcow2 L2 table. */
#define CLUSTER_GROUP_SIZE ((uint64_t)8192)
/* How many clusters to read at once: the size of one request of an NBD source, 1 MiB. */
#define CLUSTER_READ_MAX 16

struct cluster_map;

/* Creates the map from the extents of a source. Returns NULL with the error of the source, or
 * IMAGE_SOURCE_ERROR_FAILED if the source is larger than IMAGE_QCOW2_MAX. */
struct cluster_map *cluster_map_new(struct image_source *source, GError **error);
/* Accepts NULL. */
void cluster_map_free(struct cluster_map *map);

/* Return the number of clusters, and of groups. */
uint64_t cluster_map_count(const struct cluster_map *map);
uint64_t cluster_map_group_count(const struct cluster_map *map);

/* False for an index after the last cluster. */
bool cluster_map_has_data(const struct cluster_map *map, uint64_t index);

/* Returns the first cluster with data at or after `from`, or cluster_map_count(). */
uint64_t cluster_map_next_data(const struct cluster_map *map, uint64_t from);

/* Returns the first cluster without data at or after `from`, at most `from` + `limit`. */
uint64_t cluster_map_data_end(const struct cluster_map *map, uint64_t from, uint64_t limit);

/* Marks a cluster as zeros. Call cluster_map_recount() afterwards, before the functions below. */
void cluster_map_clear(struct cluster_map *map, uint64_t index);
void cluster_map_recount(struct cluster_map *map);

/* Return the number of clusters with data: the total, and those before a group. `group` may be
 * cluster_map_group_count(). */
uint64_t cluster_map_data_count(const struct cluster_map *map);
uint64_t cluster_map_data_before_group(const struct cluster_map *map, uint64_t group);

/* Returns the n-th cluster with data, counted from 0. `n` must be less than
 * cluster_map_data_count(). */
uint64_t cluster_map_find_data(const struct cluster_map *map, uint64_t n);

/* Returns the last of `count` groups whose start is at most `value`, or 0. `starts` contains the
 * start of each group in ascending order. */
uint64_t cluster_group_search(const uint64_t *starts, uint64_t count, uint64_t value);

#endif
