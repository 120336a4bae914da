/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The map of a source's clusters.
 */
#include "image/source/cluster-map.h"

#include <string.h>

#define WORD_BITS 64
#define WORDS_OF_GROUP (GROUP / WORD_BITS)

struct clusters {
	uint64_t count;
	uint64_t groups;
	uint64_t *words;  /* a bit for each, the lowest first; whole groups */
	uint64_t *before; /* with data before each group; one more at the end: all */
};

/* All that an extent touches. */
static void mark(uint64_t offset, uint64_t length, bool data, void *opaque)
{
	struct clusters *clusters = opaque;
	uint64_t from = offset >> CLUSTER_BITS;
	uint64_t to = length > 0 ? ((offset + length - 1) >> CLUSTER_BITS) + 1 : from;

	if (!data)
		return;
	for (uint64_t i = from; i < to && i < clusters->count; i++) {
		if (i % WORD_BITS == 0 && to - i >= WORD_BITS && clusters->count - i >= WORD_BITS) {
			clusters->words[i / WORD_BITS] = UINT64_MAX;
			i += WORD_BITS - 1;
		} else {
			clusters->words[i / WORD_BITS] |= (uint64_t)1 << (i % WORD_BITS);
		}
	}
}

void clusters_recount(struct clusters *clusters)
{
	uint64_t sum = 0;

	for (uint64_t group = 0; group < clusters->groups; group++) {
		clusters->before[group] = sum;
		for (uint64_t i = 0; i < WORDS_OF_GROUP; i++)
			sum += (uint64_t)__builtin_popcountll(
				clusters->words[group * WORDS_OF_GROUP + i]);
	}
	clusters->before[clusters->groups] = sum;
}

/* Of a larger one the map alone would fill the memory. */
static int check_size(uint64_t size, GError **error)
{
	if (size <= IMAGE_QCOW2_MAX)
		return 0;
	g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
		    "a disk of %" G_GUINT64_FORMAT " bytes is over the limit of 8 TiB", size);
	return -1;
}

struct clusters *clusters_new(struct image_source *source, GError **error)
{
	struct clusters *clusters;
	int rc = 0;

	if (check_size(source->size, error) < 0)
		return NULL;
	clusters = g_new0(struct clusters, 1);
	clusters->count = (source->size + CLUSTER - 1) >> CLUSTER_BITS;
	clusters->groups = (clusters->count + GROUP - 1) / GROUP;
	clusters->words = g_new0(uint64_t, clusters->groups * WORDS_OF_GROUP + 1);
	clusters->before = g_new0(uint64_t, clusters->groups + 1);
	if (source->ops->extents)
		rc = source->ops->extents(source, mark, clusters, error);
	else
		mark(0, source->size, true, clusters);
	if (rc < 0) {
		clusters_free(clusters);
		return NULL;
	}
	clusters_recount(clusters);
	return clusters;
}

void clusters_free(struct clusters *clusters)
{
	if (!clusters)
		return;
	g_free(clusters->words);
	g_free(clusters->before);
	g_free(clusters);
}

uint64_t clusters_count(const struct clusters *clusters)
{
	return clusters->count;
}

bool clusters_has_data(const struct clusters *clusters, uint64_t index)
{
	return index < clusters->count &&
	       (clusters->words[index / WORD_BITS] >> (index % WORD_BITS) & 1);
}

uint64_t clusters_next_data(const struct clusters *clusters, uint64_t from)
{
	uint64_t at = from / WORD_BITS;
	uint64_t words = clusters->groups * WORDS_OF_GROUP;
	uint64_t word;

	if (from >= clusters->count)
		return clusters->count;
	word = clusters->words[at] & (UINT64_MAX << (from % WORD_BITS));
	while (word == 0 && ++at < words)
		word = clusters->words[at];
	return word ? at * WORD_BITS + (uint64_t)__builtin_ctzll(word) : clusters->count;
}

uint64_t clusters_data_end(const struct clusters *clusters, uint64_t from, uint64_t most)
{
	uint64_t to = from;

	while (to - from < most && clusters_has_data(clusters, to))
		to++;
	return to;
}

void clusters_clear(struct clusters *clusters, uint64_t index)
{
	clusters->words[index / WORD_BITS] &= ~((uint64_t)1 << (index % WORD_BITS));
}

/* Each byte is like the one before it, and the first is zero. */
bool is_all_zeros(const void *buffer, size_t length)
{
	const unsigned char *bytes = buffer;

	return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

uint64_t clusters_groups(const struct clusters *clusters)
{
	return clusters->groups;
}

uint64_t clusters_data_count(const struct clusters *clusters)
{
	return clusters->before[clusters->groups];
}

uint64_t clusters_data_before_group(const struct clusters *clusters, uint64_t group)
{
	return clusters->before[group];
}

/* The last group with no more than n before it. */
static uint64_t find_group(const struct clusters *clusters, uint64_t n)
{
	uint64_t low = 0, high = clusters->groups;

	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (clusters->before[middle] <= n)
			low = middle;
		else
			high = middle;
	}
	return low;
}

uint64_t clusters_find_data(const struct clusters *clusters, uint64_t n)
{
	uint64_t group = find_group(clusters, n);
	uint64_t left = n - clusters->before[group];
	uint64_t at = group * WORDS_OF_GROUP;
	uint64_t word;

	for (;; at++) {
		uint64_t here = (uint64_t)__builtin_popcountll(clusters->words[at]);

		if (left < here)
			break;
		left -= here;
	}
	for (word = clusters->words[at]; left > 0; left--)
		word &= word - 1;
	return at * WORD_BITS + (uint64_t)__builtin_ctzll(word);
}
