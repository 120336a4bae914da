/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ring of slots, one cluster each. The caller's thread reads clusters into free slots, the worker
 * threads compress them in any order, and the caller's thread removes them in their order.
 */
#include "image/source/compressor.h"

#include <pthread.h>
#include <string.h>

#include "image/cancel.h"
#include "image/source/codec.h"
#include "image/source/zeros.h"
#include "image/thread.h"

#define SLOT_COUNT 32

struct slot {
	uint64_t index; /* of the cluster */
	uint16_t size;	/* compressed */
	bool done;	/* guarded by `lock`; the other fields belong to the slot's owner */
};

struct worker {
	struct compressor *compressor;
	struct codec *codec;
	pthread_t thread;
};

struct compressor {
	struct image_source *source;
	const struct cluster_map *clusters;
	const atomic_int *cancel;
	struct worker *workers;
	unsigned worker_count; /* number of workers that were started */

	/* Used only by the caller's thread. */
	uint64_t next_index; /* where the search for the next cluster to read starts */
	bool delivered;	     /* the caller is using the oldest slot */

	/* A slot and its buffers belong to the caller's thread until it is filled, then to a worker
	 * until it is done, and then again to the caller's thread. */
	struct slot slots[SLOT_COUNT];
	unsigned char *inputs;	/* one cluster for each slot */
	unsigned char *outputs; /* one cluster for each slot */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* The total numbers of slots filled, claimed by workers, and emptied. Guarded by `lock`,
	 * but only the caller's thread changes `filled`, and only it uses `emptied`. */
	uint64_t filled;
	uint64_t claimed;
	uint64_t emptied;
	unsigned busy; /* workers that are compressing; guarded by `lock` */
	bool stopping; /* guarded by `lock` */
};

static unsigned char *slot_input(const struct compressor *compressor, uint64_t n)
{
	return compressor->inputs + n % SLOT_COUNT * CLUSTER_SIZE;
}

static unsigned char *slot_output(const struct compressor *compressor, uint64_t n)
{
	return compressor->outputs + n % SLOT_COUNT * CLUSTER_SIZE;
}

static uint64_t free_slots(const struct compressor *compressor)
{
	return SLOT_COUNT - (compressor->filled - compressor->emptied);
}

/* Waits for a filled slot. Returns false if the worker must end. */
static bool claim_slot(struct compressor *compressor, uint64_t *ret_n)
{
	bool stopping;

	pthread_mutex_lock(&compressor->lock);
	while (compressor->claimed == compressor->filled && !compressor->stopping)
		pthread_cond_wait(&compressor->changed, &compressor->lock);
	stopping = compressor->stopping;
	if (!stopping) {
		*ret_n = compressor->claimed++;
		compressor->busy++;
	}
	pthread_mutex_unlock(&compressor->lock);
	return !stopping;
}

static void *compressor_worker_main(void *opaque)
{
	struct worker *worker = opaque;
	struct compressor *compressor = worker->compressor;
	uint64_t n;

	while (claim_slot(compressor, &n)) {
		struct slot *slot = &compressor->slots[n % SLOT_COUNT];
		const unsigned char *input = slot_input(compressor, n);

		slot->size =
			image_is_zeros(input, CLUSTER_SIZE)
				? CODEC_SIZE_ZEROS
				: codec_compress(worker->codec, input, slot_output(compressor, n));
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
	int rc;

	worker->compressor = compressor;
	worker->codec = codec_new(how, error);
	if (!worker->codec)
		return -1;
	rc = image_thread_start(&worker->thread, compressor_worker_main, worker);
	if (rc == 0) {
		compressor->worker_count++;
		return 0;
	}
	codec_free(worker->codec);
	g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
		    "cannot start a compressing thread: %s", g_strerror(rc));
	return -1;
}

static unsigned wanted_threads(const struct image_compression *how)
{
	unsigned cores = g_get_num_processors();
	unsigned wanted = how->threads > 0 ? how->threads : MAX(cores, 2) - 1;

	return MIN(wanted, SLOT_COUNT);
}

struct compressor *compressor_new(struct image_source *source, const struct cluster_map *clusters,
				  const struct image_compression *how, GError **error)
{
	struct compressor *compressor = g_new0(struct compressor, 1);
	unsigned threads = wanted_threads(how);

	compressor->source = source;
	compressor->clusters = clusters;
	compressor->cancel = how->cancel;
	compressor->inputs = g_malloc(SLOT_COUNT * CLUSTER_SIZE);
	compressor->outputs = g_malloc(SLOT_COUNT * CLUSTER_SIZE);
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
	compressor->stopping = true;
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
	compressor->claimed = compressor->filled;
	while (compressor->busy > 0)
		pthread_cond_wait(&compressor->changed, &compressor->lock);
	compressor->emptied = compressor->filled;
	pthread_mutex_unlock(&compressor->lock);
	compressor->delivered = false;
	compressor->next_index = index;
}

static int compressor_check_cancelled(const struct compressor *compressor, GError **error)
{
	return image_cancel_check(compressor->cancel, "compressing the disk", error);
}

/* Passes `count` slots to the workers, which contain the clusters from `index` on. */
static void publish_slots(struct compressor *compressor, uint64_t index, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		compressor->slots[(compressor->filled + i) % SLOT_COUNT] =
			(struct slot){index + i, 0, false};
	pthread_mutex_lock(&compressor->lock);
	compressor->filled += count;
	pthread_cond_broadcast(&compressor->changed);
	pthread_mutex_unlock(&compressor->lock);
}

/* Reads adjacent clusters from `index` on with one request into adjacent slots. */
static int read_clusters(struct compressor *compressor, uint64_t index, GError **error)
{
	struct image_source *source = compressor->source;
	uint64_t until_wrap = SLOT_COUNT - compressor->filled % SLOT_COUNT;
	uint64_t limit = MIN(MIN(free_slots(compressor), until_wrap), CLUSTER_READ_MAX);
	uint64_t end = cluster_map_data_end(compressor->clusters, index, limit);
	uint64_t offset = index << CLUSTER_BITS;
	size_t length = (size_t)((end - index) << CLUSTER_BITS);
	size_t present = (size_t)MIN((uint64_t)length, source->size - offset);
	unsigned char *to = slot_input(compressor, compressor->filled);

	if (compressor_check_cancelled(compressor, error) < 0 ||
	    source->ops->read(source, offset, to, present, error) < 0)
		return -1;
	memset(to + present, 0, length - present);
	publish_slots(compressor, index, (unsigned)(end - index));
	compressor->next_index = end;
	return 0;
}

/* Reads only if there is room for a large request, to avoid small ones. */
static int fill_slots(struct compressor *compressor, GError **error)
{
	uint64_t count = cluster_map_count(compressor->clusters);

	while (free_slots(compressor) >= CLUSTER_READ_MAX) {
		uint64_t index =
			cluster_map_next_data(compressor->clusters, compressor->next_index);

		if (index >= count)
			break;
		if (read_clusters(compressor, index, error) < 0)
			return -1;
	}
	return 0;
}

static int wait_for_slot(struct compressor *compressor, const struct slot *slot, GError **error)
{
	int rc = 0;

	pthread_mutex_lock(&compressor->lock);
	while (rc == 0 && !slot->done) {
		image_thread_wait(&compressor->changed, &compressor->lock);
		rc = compressor_check_cancelled(compressor, error);
	}
	pthread_mutex_unlock(&compressor->lock);
	return rc;
}

int compressor_next(struct compressor *compressor, struct compressed_cluster *ret_compressed,
		    GError **error)
{
	const struct slot *slot;

	if (compressor->delivered)
		compressor->emptied++;
	compressor->delivered = false;
	if (fill_slots(compressor, error) < 0)
		return -1;
	if (compressor->emptied == compressor->filled)
		return 0;
	slot = &compressor->slots[compressor->emptied % SLOT_COUNT];
	if (wait_for_slot(compressor, slot, error) < 0)
		return -1;
	*ret_compressed = (struct compressed_cluster){
		.index = slot->index,
		.size = slot->size,
		.bytes = slot->size == CODEC_SIZE_UNCOMPRESSED
				 ? slot_input(compressor, compressor->emptied)
				 : slot_output(compressor, compressor->emptied),
	};
	compressor->delivered = true;
	return 1;
}
