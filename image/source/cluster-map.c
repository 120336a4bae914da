/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The map of the clusters of a source that hold data.
 */
#include "image/source/cluster-map.h"

#define WORD_BITS 64
#define WORDS_PER_GROUP (CLUSTER_GROUP_SIZE / WORD_BITS)

struct cluster_map {
	uint64_t count;
	uint64_t group_count;
	uint64_t *words;  /* one bit for each cluster, lowest bit first; complete groups */
	uint64_t *before; /* clusters with data before each group; the last element is the total */
};

/* Marks all clusters that overlap an extent with data. */
static void mark_extent(uint64_t offset, uint64_t length, bool data, void *opaque)
{
	struct cluster_map *map = opaque;
	uint64_t from = offset >> CLUSTER_BITS;
	uint64_t to = length > 0 ? ((offset + length - 1) >> CLUSTER_BITS) + 1 : from;

	if (!data)
		return;
	for (uint64_t i = from; i < to && i < map->count; i++) {
		if (i % WORD_BITS == 0 && to - i >= WORD_BITS && map->count - i >= WORD_BITS) {
			map->words[i / WORD_BITS] = UINT64_MAX;
			i += WORD_BITS - 1;
		} else {
			map->words[i / WORD_BITS] |= (uint64_t)1 << (i % WORD_BITS);
		}
	}
}

void cluster_map_recount(struct cluster_map *map)
{
	uint64_t sum = 0;

	for (uint64_t group = 0; group < map->group_count; group++) {
		map->before[group] = sum;
		for (uint64_t i = 0; i < WORDS_PER_GROUP; i++)
			sum += (uint64_t)__builtin_popcountll(
				map->words[group * WORDS_PER_GROUP + i]);
	}
	map->before[map->group_count] = sum;
}

/* A server may report any size; the map of a huge disk would not fit into memory. */
static int check_disk_size(uint64_t size, GError **error)
{
	if (size <= IMAGE_QCOW2_MAX)
		return 0;
	g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
		    "a disk of %" G_GUINT64_FORMAT " bytes is over the limit of 8 TiB", size);
	return -1;
}

struct cluster_map *cluster_map_new(struct image_source *source, GError **error)
{
	struct cluster_map *map;
	int rc = 0;

	if (check_disk_size(source->size, error) < 0)
		return NULL;
	map = g_new0(struct cluster_map, 1);
	map->count = (source->size + CLUSTER_SIZE - 1) >> CLUSTER_BITS;
	map->group_count = (map->count + CLUSTER_GROUP_SIZE - 1) / CLUSTER_GROUP_SIZE;
	map->words = g_new0(uint64_t, map->group_count * WORDS_PER_GROUP + 1);
	map->before = g_new0(uint64_t, map->group_count + 1);
	if (source->ops->extents)
		rc = source->ops->extents(source, mark_extent, map, error);
	else
		mark_extent(0, source->size, true, map);
	if (rc < 0) {
		cluster_map_free(map);
		return NULL;
	}
	cluster_map_recount(map);
	return map;
}

void cluster_map_free(struct cluster_map *map)
{
	if (!map)
		return;
	g_free(map->words);
	g_free(map->before);
	g_free(map);
}

uint64_t cluster_map_count(const struct cluster_map *map)
{
	return map->count;
}

uint64_t cluster_map_group_count(const struct cluster_map *map)
{
	return map->group_count;
}

bool cluster_map_has_data(const struct cluster_map *map, uint64_t index)
{
	return index < map->count && (map->words[index / WORD_BITS] >> (index % WORD_BITS) & 1);
}

uint64_t cluster_map_next_data(const struct cluster_map *map, uint64_t from)
{
	uint64_t at = from / WORD_BITS;
	uint64_t words = map->group_count * WORDS_PER_GROUP;
	uint64_t word;

	if (from >= map->count)
		return map->count;
	word = map->words[at] & (UINT64_MAX << (from % WORD_BITS));
	while (word == 0 && ++at < words)
		word = map->words[at];
	return word ? at * WORD_BITS + (uint64_t)__builtin_ctzll(word) : map->count;
}

uint64_t cluster_map_data_end(const struct cluster_map *map, uint64_t from, uint64_t limit)
{
	uint64_t to = from;

	while (to - from < limit && cluster_map_has_data(map, to))
		to++;
	return to;
}

void cluster_map_clear(struct cluster_map *map, uint64_t index)
{
	map->words[index / WORD_BITS] &= ~((uint64_t)1 << (index % WORD_BITS));
}

uint64_t cluster_map_data_count(const struct cluster_map *map)
{
	return map->before[map->group_count];
}

uint64_t cluster_map_data_before_group(const struct cluster_map *map, uint64_t group)
{
	return map->before[group];
}

uint64_t cluster_group_search(const uint64_t *starts, uint64_t count, uint64_t value)
{
	uint64_t low = 0, high = count;

	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (starts[middle] <= value)
			low = middle;
		else
			high = middle;
	}
	return low;
}

uint64_t cluster_map_find_data(const struct cluster_map *map, uint64_t n)
{
	uint64_t group = cluster_group_search(map->before, map->group_count, n);
	uint64_t left = n - map->before[group];
	uint64_t at = group * WORDS_PER_GROUP;
	uint64_t word;

	for (;; at++) {
		uint64_t here = (uint64_t)__builtin_popcountll(map->words[at]);

		if (left < here)
			break;
		left -= here;
	}
	for (word = map->words[at]; left > 0; left--)
		word &= word - 1; /* clears the lowest bit */
	return at * WORD_BITS + (uint64_t)__builtin_ctzll(word);
}
