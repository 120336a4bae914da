/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pipeline of one upload attempt: a ring of blocks that the reading thread fills and the
 * consumer empties.
 */
#include "image/store/pipeline.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

#include "image/cancel.h"
#include "image/store/rate-limit.h"
#include "image/thread.h"

#define BLOCK_SIZE ((size_t)1024 * 1024) /* the unit of read_ahead_mib */
#define DEFAULT_BLOCKS 8

/* Belongs to the reading thread until it is filled, and then to the consumer until it is emptied.
 */
struct block {
	char *bytes; /* NULL: not needed yet */
	size_t length;
	struct image_read read;
};

struct pipeline {
	const struct image_upload *upload;
	pthread_t thread;
	bool thread_started;
	struct block *blocks;
	unsigned block_count;

	/* Used only by the reading thread. */
	EVP_MD_CTX *digest;
	uint64_t start_offset;	/* of the next block to start */
	uint64_t filled_offset; /* of the next block to fill */
	unsigned started;	/* total number of blocks whose read was started */
	bool reserved;		/* the next block may be started at `start_us` */
	gint64 start_us;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by `lock`, but only the reading thread changes `filled`. */
	unsigned filled;  /* total number of blocks filled */
	unsigned emptied; /* total number of blocks emptied */
	bool ended;	  /* the reading thread fills no more blocks */
	bool abandoned;	  /* the consumer needs no more blocks */
	GError *error;
	char hash[IMAGE_HASH_TEXT_SIZE]; /* does not change once `ended` is set */

	/* Used only by the consumer. */
	size_t offset; /* bytes consumed of the block being emptied */
};

static int set_hash_error(GError **error)
{
	g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
			    "hashing the image failed in OpenSSL");
	return -1;
}

static struct block *get_block(const struct pipeline *pipeline, unsigned n)
{
	return &pipeline->blocks[n % pipeline->block_count];
}

/* More blocks in flight would only delay the guest's own requests: meanwhile the other half is
 * hashed and sent. */
static unsigned max_in_flight(const struct pipeline *pipeline)
{
	return (pipeline->block_count + 1) / 2;
}

static size_t next_length(const struct pipeline *pipeline)
{
	return (size_t)MIN(pipeline->upload->source->size - pipeline->start_offset, BLOCK_SIZE);
}

/* Whether the reading thread may start to read another block. */
enum start {
	START_NOW,
	START_LATER, /* enough are in flight, none is empty or left, or the rate limit says so */
	START_NEVER, /* the upload has ended */
};

/* If `wait` is set, waits while the answer is START_LATER. */
static enum start can_start(struct pipeline *pipeline, bool wait)
{
	const atomic_int *cancel = pipeline->upload->cancel;
	size_t length = next_length(pipeline);
	enum start start;

	if (!pipeline->reserved && length > 0)
		pipeline->start_us = rate_limit_reserve(pipeline->upload->rate_limit, length);
	pipeline->reserved = true;
	pthread_mutex_lock(&pipeline->lock);
	for (;;) {
		if (image_cancel_is_set(cancel) && !pipeline->error)
			g_set_error_literal(&pipeline->error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED,
					    "the upload was cancelled");
		if (pipeline->abandoned || pipeline->error)
			start = START_NEVER;
		else if (length == 0 ||
			 pipeline->started - pipeline->filled >= max_in_flight(pipeline) ||
			 pipeline->started - pipeline->emptied >= pipeline->block_count ||
			 (pipeline->start_us > 0 && g_get_monotonic_time() < pipeline->start_us))
			start = START_LATER;
		else
			start = START_NOW;
		if (start != START_LATER || !wait)
			break;
		image_thread_wait(&pipeline->changed, &pipeline->lock);
	}
	pthread_mutex_unlock(&pipeline->lock);
	return start;
}

/* Glance accepts every algorithm of Python's hashlib. An algorithm that OpenSSL does not know is
 * replaced: image_record_verify() then compares only the size. */
static const EVP_MD *find_digest(const struct image_upload *upload)
{
	const EVP_MD *found = upload->hash_algo ? EVP_get_digestbyname(upload->hash_algo) : NULL;

	return found && EVP_MD_get_size(found) > 0 ? found : EVP_sha512();
}

const char *pipeline_hash_name(const struct image_upload *upload)
{
	return find_digest(upload) == EVP_sha512() ? "sha512" : upload->hash_algo;
}

static int finish_hash(struct pipeline *pipeline, GError **error)
{
	const struct image_upload *upload = pipeline->upload;
	const struct image_checksum checksum = {pipeline_hash_name(upload), pipeline->hash,
						upload->source->size};
	unsigned char value[EVP_MAX_MD_SIZE];
	unsigned length = 0;

	if (EVP_DigestFinal_ex(pipeline->digest, value, &length) != 1)
		return set_hash_error(error);
	for (unsigned i = 0; i < length; i++)
		g_snprintf(pipeline->hash + (size_t)2 * i, 3, "%02x", value[i]);
	if (!upload->checksum || upload->checksum(upload->opaque, &checksum, error) == 0)
		return 0;
	/* The last block is not sent. */
	pipeline->hash[0] = '\0';
	return -1;
}

static int start_block(struct pipeline *pipeline, GError **error)
{
	struct block *block = get_block(pipeline, pipeline->started);
	uint64_t offset = pipeline->start_offset;

	if (!block->bytes)
		block->bytes = g_malloc(BLOCK_SIZE);
	block->length = next_length(pipeline);
	block->read = (struct image_read){0};
	pipeline->started++;
	pipeline->start_offset += block->length;
	pipeline->reserved = false;
	return image_source_start(pipeline->upload->source, &block->read, offset, block->bytes,
				  block->length, error);
}

/* Waits for the oldest block that was started, and passes it to the consumer. */
static int fill_block(struct pipeline *pipeline, GError **error)
{
	struct image_source *source = pipeline->upload->source;
	struct block *block = get_block(pipeline, pipeline->filled);

	if (image_source_finish(source, &block->read, error) < 0)
		return -1;
	if (EVP_DigestUpdate(pipeline->digest, block->bytes, block->length) != 1)
		return set_hash_error(error);
	pipeline->filled_offset += block->length;
	/* The checksum must be reported before the last block can be sent. */
	if (pipeline->filled_offset == source->size && finish_hash(pipeline, error) < 0)
		return -1;
	pthread_mutex_lock(&pipeline->lock);
	pipeline->filled++;
	pthread_cond_broadcast(&pipeline->changed);
	pthread_mutex_unlock(&pipeline->lock);
	return 0;
}

/* Starts to read as many blocks as possible before it waits for the oldest, but passes on first
 * what has arrived. */
static int read_or_fill_block(struct pipeline *pipeline, GError **error)
{
	bool reading = pipeline->started > pipeline->filled;
	enum start start;

	if (reading && get_block(pipeline, pipeline->filled)->read.pending == 0)
		return fill_block(pipeline, error);
	start = can_start(pipeline, !reading);
	if (start == START_NEVER)
		return -1;
	return start == START_NOW ? start_block(pipeline, error) : fill_block(pipeline, error);
}

static int read_and_hash(struct pipeline *pipeline, GError **error)
{
	uint64_t size = pipeline->upload->source->size;
	int rc = size == 0 ? finish_hash(pipeline, error) : 0;

	while (rc == 0 && pipeline->filled_offset < size)
		rc = read_or_fill_block(pipeline, error);
	return rc;
}

/* After an error or a cancel, the source may still write to blocks. */
static void finish_reads(struct pipeline *pipeline)
{
	for (unsigned n = pipeline->filled; n < pipeline->started; n++)
		(void)image_source_finish(pipeline->upload->source, &get_block(pipeline, n)->read,
					  NULL);
}

static void *pipeline_reader_main(void *opaque)
{
	struct pipeline *pipeline = opaque;
	GError *error = NULL;

	pipeline->digest = EVP_MD_CTX_new();
	if (pipeline->digest &&
	    EVP_DigestInit_ex(pipeline->digest, find_digest(pipeline->upload), NULL) == 1)
		(void)read_and_hash(pipeline, &error);
	else
		(void)set_hash_error(&error);
	finish_reads(pipeline);
	EVP_MD_CTX_free(pipeline->digest);
	pthread_mutex_lock(&pipeline->lock);
	if (pipeline->error)
		g_clear_error(&error);
	else
		pipeline->error = error;
	pipeline->ended = true;
	pthread_cond_broadcast(&pipeline->changed);
	pthread_mutex_unlock(&pipeline->lock);
	return NULL;
}

struct pipeline *pipeline_start(const struct image_upload *upload, GError **error)
{
	struct pipeline *pipeline = g_new0(struct pipeline, 1);
	int rc;

	pipeline->upload = upload;
	if (upload->begin)
		upload->begin(upload->opaque);
	pipeline->block_count =
		upload->read_ahead_mib > 0 ? upload->read_ahead_mib : DEFAULT_BLOCKS;
	pipeline->block_count = MAX(pipeline->block_count, upload->source->read_ahead_mib);
	pipeline->blocks = g_new0(struct block, pipeline->block_count);
	pthread_mutex_init(&pipeline->lock, NULL);
	pthread_cond_init(&pipeline->changed, NULL);
	rc = image_thread_start(&pipeline->thread, pipeline_reader_main, pipeline);
	if (rc == 0) {
		pipeline->thread_started = true;
		return pipeline;
	}
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
		    "cannot start the thread that reads the image: %s", g_strerror(rc));
	pipeline_free(pipeline);
	return NULL;
}

/* Waits for a filled block. Returns 1, 0 at the end, or -1 with an error. */
static int wait_for_filled_block(struct pipeline *pipeline, const struct block **ret_block,
				 GError **error)
{
	int rc = 1;

	pthread_mutex_lock(&pipeline->lock);
	while (pipeline->filled == pipeline->emptied && !pipeline->ended)
		image_thread_wait(&pipeline->changed, &pipeline->lock);
	*ret_block = get_block(pipeline, pipeline->emptied);
	if (pipeline->error) {
		g_propagate_error(error, g_error_copy(pipeline->error));
		rc = -1;
	} else if (pipeline->filled == pipeline->emptied) {
		rc = 0;
	}
	pthread_mutex_unlock(&pipeline->lock);
	return rc;
}

ssize_t pipeline_read(struct pipeline *pipeline, void *buffer, size_t size, GError **error)
{
	const struct block *block;
	size_t length;
	int rc = wait_for_filled_block(pipeline, &block, error);

	if (rc <= 0)
		return rc;
	length = MIN(size, block->length - pipeline->offset);
	memcpy(buffer, block->bytes + pipeline->offset, length);
	pipeline->offset += length;
	if (pipeline->offset == block->length) {
		pipeline->offset = 0;
		pthread_mutex_lock(&pipeline->lock);
		pipeline->emptied++;
		pthread_cond_broadcast(&pipeline->changed);
		pthread_mutex_unlock(&pipeline->lock);
	}
	return (ssize_t)length;
}

int pipeline_drain(struct pipeline *pipeline, GError **error)
{
	g_autofree char *buffer = g_malloc(BLOCK_SIZE);
	ssize_t got;

	do {
		got = pipeline_read(pipeline, buffer, BLOCK_SIZE, error);
	} while (got > 0);
	return got < 0 ? -1 : 0;
}

const char *pipeline_hash(struct pipeline *pipeline)
{
	bool complete;

	pthread_mutex_lock(&pipeline->lock);
	while (!pipeline->ended && !pipeline->error && pipeline->filled == pipeline->emptied)
		image_thread_wait(&pipeline->changed, &pipeline->lock);
	complete = pipeline->ended && pipeline->hash[0] != '\0';
	pthread_mutex_unlock(&pipeline->lock);
	return complete ? pipeline->hash : NULL;
}

void pipeline_free(struct pipeline *pipeline)
{
	if (!pipeline)
		return;
	if (pipeline->thread_started) {
		pthread_mutex_lock(&pipeline->lock);
		pipeline->abandoned = true;
		pthread_cond_broadcast(&pipeline->changed);
		pthread_mutex_unlock(&pipeline->lock);
		pthread_join(pipeline->thread, NULL);
	}
	for (unsigned i = 0; i < pipeline->block_count; i++)
		g_free(pipeline->blocks[i].bytes);
	g_free(pipeline->blocks);
	g_clear_error(&pipeline->error);
	pthread_cond_destroy(&pipeline->changed);
	pthread_mutex_destroy(&pipeline->lock);
	g_free(pipeline);
}
