/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the compressed clusters are: their sizes, and where each group of them begins. The places
 * within a group are found by walking.
 */
#include "image/source/compressed.h"

struct places {
	const struct clusters *clusters;
	struct sizes *sizes;
	uint64_t *starts;     /* of each group's data, of those that were reached */
	uint64_t group_count; /* how many were */
	uint64_t end;
};

struct places *places_new(const struct clusters *clusters, const struct image_compression *how)
{
	struct places *places = g_new0(struct places, 1);

	places->clusters = clusters;
	places->sizes = sizes_new(clusters_data_count(clusters), how);
	places->starts = g_new0(uint64_t, clusters_groups(clusters) + 1);
	return places;
}

void places_free(struct places *places)
{
	if (!places)
		return;
	sizes_free(places->sizes);
	g_free(places->starts);
	g_free(places);
}

static struct place place_at(uint64_t at, uint64_t index, uint16_t size)
{
	struct place place = {.index = index, .start = at, .from = at, .size = size};

	if (size == SIZE_PLAIN) {
		place.from = (at + CLUSTER - 1) & ~(CLUSTER - 1);
		place.end = place.from + CLUSTER;
	} else {
		place.end = at + size;
	}
	return place;
}

int places_add(struct places *places, uint64_t index, uint16_t size, GError **error)
{
	while (places->group_count <= index / GROUP)
		places->starts[places->group_count++] = places->end;
	places->end = place_at(places->end, index, size).end;
	return sizes_append(places->sizes, size, error);
}

uint64_t places_end(const struct places *places)
{
	return places->end;
}

struct walk places_of_group(const struct places *places, uint64_t group)
{
	return (struct walk){
		.index = group * GROUP,
		.n = clusters_data_before_group(places->clusters, group),
		.at = places->starts[group],
	};
}

int places_next(const struct places *places, struct walk *walk, struct place *ret_place,
		GError **error)
{
	uint64_t index = clusters_next_data(places->clusters, walk->index);
	uint16_t size;

	if (index >= clusters_count(places->clusters))
		return 0;
	if (sizes_get(places->sizes, walk->n, &size, error) < 0)
		return -1;
	*ret_place = place_at(walk->at, index, size);
	walk->index = index + 1;
	walk->n++;
	walk->at = ret_place->end;
	return 1;
}

/* The last group that begins no later. */
static uint64_t find_group(const struct places *places, uint64_t offset)
{
	uint64_t low = 0, high = places->group_count;

	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (places->starts[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

int places_find(const struct places *places, uint64_t offset, struct walk *ret_walk, GError **error)
{
	struct walk next = places_of_group(places, find_group(places, offset));
	struct place place;
	int rc;

	do {
		*ret_walk = next;
		rc = places_next(places, &next, &place, error);
	} while (rc > 0 && place.end <= offset);
	return MIN(rc, 0);
}
