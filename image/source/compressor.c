/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ring of clusters: the caller's thread reads them into it, some at once, threads compress them,
 * and the caller takes them out in the order of the guest.
 */
#include <pthread.h>
#include <string.h>

#include "image/internal.h"
#include "image/source/compressed.h"

#define SLOTS 32
#define STACK_SIZE ((size_t)512 * 1024)

struct slot {
	uint64_t index;
	uint16_t size;
	bool done; /* guarded by the lock; what else there is belongs to who has the slot */
};

struct worker {
	struct compressor *compressor;
	struct codec *codec;
	pthread_t thread;
};

struct compressor {
	struct image_source *source;
	const struct clusters *clusters;
	const atomic_int *cancel;
	struct worker *workers;
	unsigned worker_count; /* those that run */

	/* The caller's thread's own. */
	uint64_t next;	/* where to look for the next cluster to be read */
	bool delivered; /* the oldest slot is what the caller was given */

	/* A cluster for each slot: the caller's until it is filled, then a worker's, and the
	 * caller's again when it is done. */
	struct slot slots[SLOTS];
	unsigned char *inputs;
	unsigned char *outputs;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. How many slots were filled, taken by workers, and emptied in all. */
	uint64_t filled; /* changed by the caller's thread alone */
	uint64_t taken;
	uint64_t emptied; /* the caller's thread's own */
	unsigned busy;	  /* workers that are compressing */
	bool ended;
};

static unsigned char *input_of(const struct compressor *compressor, uint64_t n)
{
	return compressor->inputs + n % SLOTS * CLUSTER;
}

static unsigned char *output_of(const struct compressor *compressor, uint64_t n)
{
	return compressor->outputs + n % SLOTS * CLUSTER;
}

/* The next slot to compress. False when there will be none. */
static bool take(struct compressor *compressor, uint64_t *ret_n)
{
	bool ended;

	pthread_mutex_lock(&compressor->lock);
	while (compressor->taken == compressor->filled && !compressor->ended)
		pthread_cond_wait(&compressor->changed, &compressor->lock);
	ended = compressor->ended;
	if (!ended) {
		*ret_n = compressor->taken++;
		compressor->busy++;
	}
	pthread_mutex_unlock(&compressor->lock);
	return !ended;
}

static void *worker_main(void *opaque)
{
	struct worker *worker = opaque;
	struct compressor *compressor = worker->compressor;
	uint64_t n;

	while (take(compressor, &n)) {
		struct slot *slot = &compressor->slots[n % SLOTS];
		const unsigned char *input = input_of(compressor, n);

		slot->size =
			is_all_zeros(input, CLUSTER)
				? SIZE_OF_ZEROS
				: codec_compress(worker->codec, input, output_of(compressor, n));
		pthread_mutex_lock(&compressor->lock);
		slot->done = true;
		compressor->busy--;
		pthread_cond_broadcast(&compressor->changed);
		pthread_mutex_unlock(&compressor->lock);
	}
	return NULL;
}

static int start_worker(struct compressor *compressor, const struct image_compression *how,
			GError **error)
{
	struct worker *worker = &compressor->workers[compressor->worker_count];
	pthread_attr_t attributes;
	int rc;

	worker->compressor = compressor;
	worker->codec = codec_new(how, error);
	if (!worker->codec)
		return -1;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	rc = pthread_create(&worker->thread, &attributes, worker_main, worker);
	pthread_attr_destroy(&attributes);
	if (rc == 0) {
		compressor->worker_count++;
		return 0;
	}
	codec_free(worker->codec);
	g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
		    "cannot start a compressing thread: %s", g_strerror(rc));
	return -1;
}

/* More threads than slots have nothing to do. */
static unsigned thread_count(const struct image_compression *how)
{
	unsigned cores = g_get_num_processors();
	unsigned wanted = how->threads > 0 ? how->threads : MAX(cores, 2) - 1;

	return MIN(wanted, SLOTS);
}

struct compressor *compressor_new(struct image_source *source, const struct clusters *clusters,
				  const struct image_compression *how, GError **error)
{
	struct compressor *compressor = g_new0(struct compressor, 1);
	unsigned threads = thread_count(how);

	compressor->source = source;
	compressor->clusters = clusters;
	compressor->cancel = how->cancel;
	compressor->inputs = g_malloc(SLOTS * CLUSTER);
	compressor->outputs = g_malloc(SLOTS * CLUSTER);
	compressor->workers = g_new0(struct worker, threads);
	pthread_mutex_init(&compressor->lock, NULL);
	pthread_cond_init(&compressor->changed, NULL);
	while (compressor->worker_count < threads) {
		if (start_worker(compressor, how, error) == 0)
			continue;
		compressor_free(compressor);
		return NULL;
	}
	return compressor;
}

void compressor_free(struct compressor *compressor)
{
	if (!compressor)
		return;
	pthread_mutex_lock(&compressor->lock);
	compressor->ended = true;
	pthread_cond_broadcast(&compressor->changed);
	pthread_mutex_unlock(&compressor->lock);
	for (unsigned i = 0; i < compressor->worker_count; i++) {
		pthread_join(compressor->workers[i].thread, NULL);
		codec_free(compressor->workers[i].codec);
	}
	pthread_cond_destroy(&compressor->changed);
	pthread_mutex_destroy(&compressor->lock);
	g_free(compressor->workers);
	g_free(compressor->inputs);
	g_free(compressor->outputs);
	g_free(compressor);
}

void compressor_seek(struct compressor *compressor, uint64_t index)
{
	pthread_mutex_lock(&compressor->lock);
	compressor->taken = compressor->filled;
	while (compressor->busy > 0)
		pthread_cond_wait(&compressor->changed, &compressor->lock);
	compressor->emptied = compressor->filled;
	pthread_mutex_unlock(&compressor->lock);
	compressor->delivered = false;
	compressor->next = index;
}

static int check_cancel(const struct compressor *compressor, GError **error)
{
	if (!compressor->cancel || atomic_load(compressor->cancel) == 0)
		return 0;
	g_set_error_literal(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED,
			    "compressing the disk was cancelled");
	return -1;
}

static void hand_over(struct compressor *compressor, uint64_t index, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		compressor->slots[(compressor->filled + i) % SLOTS] =
			(struct slot){index + i, 0, false};
	pthread_mutex_lock(&compressor->lock);
	compressor->filled += count;
	pthread_cond_broadcast(&compressor->changed);
	pthread_mutex_unlock(&compressor->lock);
}

/* Clusters that are neighbours in the guest, and whose slots are neighbours. */
static int fill_some(struct compressor *compressor, uint64_t index, GError **error)
{
	struct image_source *source = compressor->source;
	uint64_t room = SLOTS - (compressor->filled - compressor->emptied);
	uint64_t most = MIN(MIN(room, SLOTS - compressor->filled % SLOTS), CLUSTERS_AT_ONCE);
	uint64_t end = clusters_data_end(compressor->clusters, index, most);
	uint64_t offset = index << CLUSTER_BITS;
	size_t length = (size_t)((end - index) << CLUSTER_BITS);
	size_t there = (size_t)MIN((uint64_t)length, source->size - offset);
	unsigned char *to = input_of(compressor, compressor->filled);

	if (check_cancel(compressor, error) < 0 ||
	    source->ops->read(source, offset, to, there, error) < 0)
		return -1;
	memset(to + there, 0, length - there);
	hand_over(compressor, index, (unsigned)(end - index));
	compressor->next = end;
	return 0;
}

/* Reads when there is room for a large read, so that there are no small ones. */
static int fill(struct compressor *compressor, GError **error)
{
	uint64_t count = clusters_count(compressor->clusters);

	while (SLOTS - (compressor->filled - compressor->emptied) >= CLUSTERS_AT_ONCE) {
		uint64_t index = clusters_next_data(compressor->clusters, compressor->next);

		if (index >= count)
			break;
		if (fill_some(compressor, index, error) < 0)
			return -1;
	}
	return 0;
}

static int wait_for(struct compressor *compressor, const struct slot *slot, GError **error)
{
	int rc = 0;

	pthread_mutex_lock(&compressor->lock);
	while (rc == 0 && !slot->done) {
		image_wait_a_little(&compressor->changed, &compressor->lock);
		rc = check_cancel(compressor, error);
	}
	pthread_mutex_unlock(&compressor->lock);
	return rc;
}

int compressor_next(struct compressor *compressor, struct compressed *ret_compressed,
		    GError **error)
{
	const struct slot *slot;

	if (compressor->delivered)
		compressor->emptied++;
	compressor->delivered = false;
	if (fill(compressor, error) < 0)
		return -1;
	if (compressor->emptied == compressor->filled)
		return 0;
	slot = &compressor->slots[compressor->emptied % SLOTS];
	if (wait_for(compressor, slot, error) < 0)
		return -1;
	*ret_compressed = (struct compressed){
		.index = slot->index,
		.size = slot->size,
		.bytes = slot->size == SIZE_PLAIN ? input_of(compressor, compressor->emptied)
						  : output_of(compressor, compressor->emptied),
	};
	compressor->delivered = true;
	return 1;
}
