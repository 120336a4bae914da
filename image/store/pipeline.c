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

#define BLOCK_SIZE ((size_t)1024 * 1024)
#define BLOCK_COUNT 4

struct pipeline {
	const struct image_upload *upload;
	pthread_t thread;
	bool thread_started;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by `lock`, except for the bytes of a block: they belong to the reading thread
	 * until the block is filled, and to the consumer until it is emptied. */
	char *blocks[BLOCK_COUNT];
	size_t lengths[BLOCK_COUNT];
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

/* Waits until a block is empty and the rate limit allows `length` bytes. Returns false if no more
 * blocks are needed. */
static bool wait_for_empty_block(struct pipeline *pipeline, size_t length)
{
	const atomic_int *cancel = pipeline->upload->cancel;
	gint64 start_us = rate_limit_reserve(pipeline->upload->rate_limit, length);
	bool wanted;

	pthread_mutex_lock(&pipeline->lock);
	while ((pipeline->filled - pipeline->emptied >= BLOCK_COUNT ||
		(start_us > 0 && g_get_monotonic_time() < start_us)) &&
	       !pipeline->abandoned && !image_cancel_is_set(cancel))
		image_thread_wait(&pipeline->changed, &pipeline->lock);
	if (image_cancel_is_set(cancel) && !pipeline->error)
		g_set_error_literal(&pipeline->error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED,
				    "the upload was cancelled");
	wanted = !pipeline->abandoned && !pipeline->error;
	pthread_mutex_unlock(&pipeline->lock);
	return wanted;
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

static int finish_hash(struct pipeline *pipeline, EVP_MD_CTX *digest, GError **error)
{
	const struct image_upload *upload = pipeline->upload;
	const struct image_checksum checksum = {pipeline_hash_name(upload), pipeline->hash,
						upload->source->size};
	unsigned char value[EVP_MAX_MD_SIZE];
	unsigned length = 0;

	if (EVP_DigestFinal_ex(digest, value, &length) != 1)
		return set_hash_error(error);
	for (unsigned i = 0; i < length; i++)
		g_snprintf(pipeline->hash + (size_t)2 * i, 3, "%02x", value[i]);
	if (!upload->checksum || upload->checksum(upload->opaque, &checksum, error) == 0)
		return 0;
	/* The last block is not sent. */
	pipeline->hash[0] = '\0';
	return -1;
}

static void publish_block(struct pipeline *pipeline, size_t length)
{
	pthread_mutex_lock(&pipeline->lock);
	pipeline->lengths[pipeline->filled % BLOCK_COUNT] = length;
	pipeline->filled++;
	pthread_cond_broadcast(&pipeline->changed);
	pthread_mutex_unlock(&pipeline->lock);
}

static int read_and_hash(struct pipeline *pipeline, EVP_MD_CTX *digest, GError **error)
{
	struct image_source *source = pipeline->upload->source;
	uint64_t offset = 0;

	if (source->size == 0)
		return finish_hash(pipeline, digest, error);
	while (offset < source->size) {
		size_t length = (size_t)MIN(source->size - offset, BLOCK_SIZE);
		unsigned index;

		if (!wait_for_empty_block(pipeline, length))
			return -1;
		index = pipeline->filled % BLOCK_COUNT;
		if (!pipeline->blocks[index])
			pipeline->blocks[index] = g_malloc(BLOCK_SIZE);
		if (source->ops->read(source, offset, pipeline->blocks[index], length, error) < 0)
			return -1;
		if (EVP_DigestUpdate(digest, pipeline->blocks[index], length) != 1)
			return set_hash_error(error);
		offset += length;
		/* The checksum must be reported before the last block can be sent. */
		if (offset == source->size && finish_hash(pipeline, digest, error) < 0)
			return -1;
		publish_block(pipeline, length);
	}
	return 0;
}

static void *pipeline_reader_main(void *opaque)
{
	struct pipeline *pipeline = opaque;
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	GError *error = NULL;

	if (digest && EVP_DigestInit_ex(digest, find_digest(pipeline->upload), NULL) == 1)
		(void)read_and_hash(pipeline, digest, &error);
	else
		(void)set_hash_error(&error);
	EVP_MD_CTX_free(digest);
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
static int wait_for_filled_block(struct pipeline *pipeline, unsigned *ret_index, GError **error)
{
	int rc = 1;

	pthread_mutex_lock(&pipeline->lock);
	while (pipeline->filled == pipeline->emptied && !pipeline->ended)
		image_thread_wait(&pipeline->changed, &pipeline->lock);
	*ret_index = pipeline->emptied % BLOCK_COUNT;
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
	unsigned index;
	size_t length;
	int rc = wait_for_filled_block(pipeline, &index, error);

	if (rc <= 0)
		return rc;
	length = MIN(size, pipeline->lengths[index] - pipeline->offset);
	memcpy(buffer, pipeline->blocks[index] + pipeline->offset, length);
	pipeline->offset += length;
	if (pipeline->offset == pipeline->lengths[index]) {
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
	for (unsigned i = 0; i < BLOCK_COUNT; i++)
		g_free(pipeline->blocks[i]);
	g_clear_error(&pipeline->error);
	pthread_cond_destroy(&pipeline->changed);
	pthread_mutex_destroy(&pipeline->lock);
	g_free(pipeline);
}
