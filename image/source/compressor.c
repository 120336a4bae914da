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

#define SLOT_COUNT 64
/* The most slots that a worker takes at a time: waking a thread for each one would take longer than
 * zstd. */
#define CLAIM_MAX 8

struct slot {
	uint64_t index; /* of the cluster */
	uint16_t size;	/* compressed */
	bool plain;	/* is known not to get smaller */
	bool done;	/* guarded by `lock`; the other fields belong to the slot's owner */
};

/* A read of adjacent clusters into adjacent slots. */
struct slots_read {
	struct image_read read;
	uint64_t index; /* of the first cluster */
	unsigned count;
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
	uint64_t started;    /* total number of slots whose read was started */
	/* One bit per cluster: it was compressed once, and did not get smaller. */
	uint8_t *plain;
	/* Reads that are not finished, in the order of their slots. */
	struct slots_read reads[SLOT_COUNT];
	uint64_t first_read; /* total number of reads finished */
	uint64_t next_read;  /* total number of reads started */

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
	return SLOT_COUNT - (compressor->started - compressor->emptied);
}

/* Leaves filled slots for the other workers. */
static uint64_t fair_share(const struct compressor *compressor)
{
	uint64_t share = (compressor->filled - compressor->claimed) / compressor->worker_count;

	return CLAMP(share, 1, CLAIM_MAX);
}

/* Waits for filled slots, and claims those from `*ret_first` on. Returns false if the worker must
 * end. */
static bool claim_slots(struct compressor *compressor, uint64_t *ret_first, uint64_t *ret_end)
{
	bool stopping;

	pthread_mutex_lock(&compressor->lock);
	while (compressor->claimed == compressor->filled && !compressor->stopping)
		pthread_cond_wait(&compressor->changed, &compressor->lock);
	stopping = compressor->stopping;
	if (!stopping) {
		*ret_first = compressor->claimed;
		compressor->claimed += fair_share(compressor);
		*ret_end = compressor->claimed;
		compressor->busy++;
	}
	pthread_mutex_unlock(&compressor->lock);
	return !stopping;
}

static uint16_t compress_slot(const struct worker *worker, uint64_t n)
{
	const struct compressor *compressor = worker->compressor;
	const unsigned char *input = slot_input(compressor, n);

	if (image_is_zeros(input, CLUSTER_SIZE))
		return CODEC_SIZE_ZEROS;
	if (compressor->slots[n % SLOT_COUNT].plain)
		return CODEC_SIZE_UNCOMPRESSED;
	return codec_compress(worker->codec, input, slot_output(compressor, n));
}

static void *compressor_worker_main(void *opaque)
{
	struct worker *worker = opaque;
	struct compressor *compressor = worker->compressor;
	uint64_t first, end;

	while (claim_slots(compressor, &first, &end)) {
		for (uint64_t n = first; n < end; n++)
			compressor->slots[n % SLOT_COUNT].size = compress_slot(worker, n);
		pthread_mutex_lock(&compressor->lock);
		for (uint64_t n = first; n < end; n++)
			compressor->slots[n % SLOT_COUNT].done = true;
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
	compressor->plain = g_malloc0(cluster_map_count(clusters) / 8 + 1);
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

/* Waits until the source uses no slot any more. */
static void finish_all_reads(struct compressor *compressor)
{
	for (; compressor->first_read < compressor->next_read; compressor->first_read++)
		(void)image_source_finish(
			compressor->source,
			&compressor->reads[compressor->first_read % SLOT_COUNT].read, NULL);
}

void compressor_free(struct compressor *compressor)
{
	if (!compressor)
		return;
	finish_all_reads(compressor);
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
	g_free(compressor->plain);
	g_free(compressor->inputs);
	g_free(compressor->outputs);
	g_free(compressor);
}

void compressor_seek(struct compressor *compressor, uint64_t index)
{
	finish_all_reads(compressor);
	pthread_mutex_lock(&compressor->lock);
	compressor->claimed = compressor->filled;
	while (compressor->busy > 0)
		pthread_cond_wait(&compressor->changed, &compressor->lock);
	compressor->emptied = compressor->filled;
	pthread_mutex_unlock(&compressor->lock);
	compressor->started = compressor->filled;
	compressor->delivered = false;
	compressor->next_index = index;
}

static int compressor_check_cancelled(const struct compressor *compressor, GError **error)
{
	return image_cancel_check(compressor->cancel, "compressing the disk", error);
}

/* Starts to read adjacent clusters from `index` on. Returns false if there are too few free
 * slots. */
static bool start_read(struct compressor *compressor, uint64_t index, int *ret_rc, GError **error)
{
	struct image_source *source = compressor->source;
	uint64_t until_wrap = SLOT_COUNT - compressor->started % SLOT_COUNT;
	uint64_t limit = MIN(until_wrap, CLUSTER_READ_MAX);
	uint64_t end = cluster_map_data_end(compressor->clusters, index, limit);
	uint64_t offset = index << CLUSTER_BITS;
	size_t length = (size_t)((end - index) << CLUSTER_BITS);
	size_t present = (size_t)MIN((uint64_t)length, source->size - offset);
	unsigned char *to = slot_input(compressor, compressor->started);
	struct slots_read *slots = &compressor->reads[compressor->next_read % SLOT_COUNT];

	if (free_slots(compressor) < end - index)
		return false;
	*slots = (struct slots_read){.index = index, .count = (unsigned)(end - index)};
	compressor->next_read++;
	*ret_rc = image_source_start(source, &slots->read, offset, to, present, error);
	memset(to + present, 0, length - present);
	compressor->started += slots->count;
	compressor->next_index = end;
	return *ret_rc == 0;
}

/* Starts reads of the next clusters until there is no room for a large one: small ones would cost
 * more. */
static int start_reads(struct compressor *compressor, GError **error)
{
	uint64_t count = cluster_map_count(compressor->clusters);
	int rc = compressor_check_cancelled(compressor, error);

	while (rc == 0) {
		uint64_t index =
			cluster_map_next_data(compressor->clusters, compressor->next_index);

		if (index >= count || !start_read(compressor, index, &rc, error))
			break;
	}
	return rc;
}

/* Passes the slots of a finished read to the workers. */
static void publish_slots(struct compressor *compressor, const struct slots_read *slots)
{
	for (unsigned i = 0; i < slots->count; i++) {
		uint64_t index = slots->index + i;

		compressor->slots[(compressor->filled + i) % SLOT_COUNT] = (struct slot){
			.index = index, .plain = compressor->plain[index / 8] >> index % 8 & 1};
	}
	pthread_mutex_lock(&compressor->lock);
	compressor->filled += slots->count;
	pthread_cond_broadcast(&compressor->changed);
	pthread_mutex_unlock(&compressor->lock);
}

/* Finishes the reads that have ended, and others while the workers have little to do. */
static int finish_reads(struct compressor *compressor, GError **error)
{
	while (compressor->first_read < compressor->next_read) {
		struct slots_read *slots = &compressor->reads[compressor->first_read % SLOT_COUNT];

		if (slots->read.pending > 0 &&
		    compressor->filled - compressor->emptied >= CLUSTER_READ_MAX)
			break;
		compressor->first_read++;
		if (image_source_finish(compressor->source, &slots->read, error) < 0)
			return -1;
		publish_slots(compressor, slots);
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
	if (start_reads(compressor, error) < 0 || finish_reads(compressor, error) < 0)
		return -1;
	if (compressor->emptied == compressor->filled)
		return 0;
	slot = &compressor->slots[compressor->emptied % SLOT_COUNT];
	if (wait_for_slot(compressor, slot, error) < 0)
		return -1;
	if (slot->size == CODEC_SIZE_UNCOMPRESSED)
		compressor->plain[slot->index / 8] |= (uint8_t)(1U << slot->index % 8);
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
