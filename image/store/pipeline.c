/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading and hashing overlap with sending: a thread fills a ring of blocks, the consumer empties
 * it.
 */
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>
#include <sys/types.h>

#include "image/internal.h"

#define BLOCK_SIZE ((size_t)1024 * 1024)
#define BLOCKS 4
#define STACK_SIZE ((size_t)512 * 1024)

struct pipeline {
	const struct image_upload *upload;
	pthread_t thread;
	bool running;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock, but for the bytes of a block, which are the reader's until it is
	 * filled and the consumer's until it is emptied. */
	char *blocks[BLOCKS];
	size_t lengths[BLOCKS];
	unsigned filled; /* how many blocks were filled in all */
	unsigned emptied;
	bool ended; /* the reader fills no more */
	bool abandoned;
	GError *error;
	char hash[129];

	/* The consumer's own. */
	size_t offset; /* in the block that is being emptied */
};

static bool is_cancelled(const struct pipeline *pipeline)
{
	const atomic_int *cancel = pipeline->upload->cancel;

	return cancel && atomic_load(cancel) != 0;
}

static int fail_hash(GError **error)
{
	g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_FAILED, "hashing the image failed");
	return -1;
}

/* Waits for an empty block, and for its time. False when nobody wants more. */
static bool wait_for_room(struct pipeline *pipeline, size_t length)
{
	gint64 from = pace_book(pipeline->upload->pace, length);
	bool wanted;

	pthread_mutex_lock(&pipeline->lock);
	while ((pipeline->filled - pipeline->emptied >= BLOCKS ||
		(from > 0 && g_get_monotonic_time() < from)) &&
	       !pipeline->abandoned && !is_cancelled(pipeline))
		image_wait_a_little(&pipeline->changed, &pipeline->lock);
	wanted = !pipeline->abandoned;
	if (is_cancelled(pipeline) && !pipeline->error)
		g_set_error_literal(&pipeline->error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED,
				    "the upload was cancelled");
	wanted = wanted && !pipeline->error;
	pthread_mutex_unlock(&pipeline->lock);
	return wanted;
}

/* Glance takes every name of Python's hashlib; one that is not known here is not worth a failure.
 */
static const EVP_MD *find_hash(const struct image_upload *upload)
{
	const EVP_MD *found = upload->hash_algo ? EVP_get_digestbyname(upload->hash_algo) : NULL;

	return found && EVP_MD_get_size(found) > 0 ? found : EVP_sha512();
}

const char *pipeline_hash_name(const struct image_upload *upload)
{
	const EVP_MD *found = find_hash(upload);

	return found == EVP_sha512() ? "sha512" : upload->hash_algo;
}

static int finish_hash(struct pipeline *pipeline, EVP_MD_CTX *digest, GError **error)
{
	const struct image_upload *upload = pipeline->upload;
	const struct image_checksum checksum = {pipeline_hash_name(upload), pipeline->hash,
						upload->source->size};
	unsigned char value[EVP_MAX_MD_SIZE];
	unsigned length = 0;

	if (EVP_DigestFinal_ex(digest, value, &length) != 1)
		return fail_hash(error);
	/* It is the consumer's from pipeline->ended on. */
	for (unsigned i = 0; i < length; i++)
		g_snprintf(pipeline->hash + (size_t)2 * i, 3, "%02x", value[i]);
	return upload->checksum ? upload->checksum(upload->opaque, &checksum, error) : 0;
}

static int read_all(struct pipeline *pipeline, EVP_MD_CTX *digest, GError **error)
{
	struct image_source *source = pipeline->upload->source;
	uint64_t offset = 0;

	if (source->size == 0)
		return finish_hash(pipeline, digest, error);
	while (offset < source->size) {
		size_t length = (size_t)MIN(source->size - offset, BLOCK_SIZE);
		unsigned index;

		if (!wait_for_room(pipeline, length))
			return -1;
		index = pipeline->filled % BLOCKS;
		if (!pipeline->blocks[index])
			pipeline->blocks[index] = g_malloc(BLOCK_SIZE);
		if (source->ops->read(source, offset, pipeline->blocks[index], length, error) < 0)
			return -1;
		if (EVP_DigestUpdate(digest, pipeline->blocks[index], length) != 1)
			return fail_hash(error);
		offset += length;
		if (offset == source->size && finish_hash(pipeline, digest, error) < 0)
			return -1;
		pthread_mutex_lock(&pipeline->lock);
		pipeline->lengths[index] = length;
		pipeline->filled++;
		pthread_cond_broadcast(&pipeline->changed);
		pthread_mutex_unlock(&pipeline->lock);
	}
	return 0;
}

static void *reader_main(void *opaque)
{
	struct pipeline *pipeline = opaque;
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	GError *error = NULL;

	if (digest && EVP_DigestInit_ex(digest, find_hash(pipeline->upload), NULL) == 1)
		(void)read_all(pipeline, digest, &error);
	else
		g_set_error_literal(&error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
				    "the hash cannot be had from OpenSSL");
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
	pthread_attr_t attributes;
	int rc;

	pipeline->upload = upload;
	pthread_mutex_init(&pipeline->lock, NULL);
	pthread_cond_init(&pipeline->changed, NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	rc = pthread_create(&pipeline->thread, &attributes, reader_main, pipeline);
	pthread_attr_destroy(&attributes);
	if (rc == 0) {
		pipeline->running = true;
		return pipeline;
	}
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED, "cannot start the reading thread: %s",
		    g_strerror(rc));
	pipeline_free(pipeline);
	return NULL;
}

ssize_t pipeline_read(struct pipeline *pipeline, void *buffer, size_t size)
{
	unsigned index;
	size_t length;
	bool ready;

	pthread_mutex_lock(&pipeline->lock);
	while (pipeline->filled == pipeline->emptied && !pipeline->ended)
		image_wait_a_little(&pipeline->changed, &pipeline->lock);
	ready = pipeline->filled != pipeline->emptied && !pipeline->error;
	if (!ready) {
		ssize_t end = pipeline->error ? -1 : 0;

		pthread_mutex_unlock(&pipeline->lock);
		return end;
	}
	index = pipeline->emptied % BLOCKS;
	length = MIN(size, pipeline->lengths[index] - pipeline->offset);
	pthread_mutex_unlock(&pipeline->lock);

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

int pipeline_drain(struct pipeline *pipeline)
{
	g_autofree char *buffer = g_malloc(BLOCK_SIZE);
	ssize_t got;

	while ((got = pipeline_read(pipeline, buffer, BLOCK_SIZE)) > 0)
		;
	return got < 0 ? -1 : 0;
}

const char *pipeline_hash(struct pipeline *pipeline)
{
	bool whole;

	pthread_mutex_lock(&pipeline->lock);
	while (!pipeline->ended && !pipeline->error && pipeline->filled == pipeline->emptied)
		image_wait_a_little(&pipeline->changed, &pipeline->lock);
	whole = pipeline->ended && pipeline->hash[0] != '\0';
	pthread_mutex_unlock(&pipeline->lock);
	return whole ? pipeline->hash : NULL;
}

GError *pipeline_error(struct pipeline *pipeline)
{
	GError *error;

	pthread_mutex_lock(&pipeline->lock);
	error = pipeline->error ? g_error_copy(pipeline->error) : NULL;
	pthread_mutex_unlock(&pipeline->lock);
	return error;
}

void pipeline_free(struct pipeline *pipeline)
{
	if (!pipeline)
		return;
	if (pipeline->running) {
		pthread_mutex_lock(&pipeline->lock);
		pipeline->abandoned = true;
		pthread_cond_broadcast(&pipeline->changed);
		pthread_mutex_unlock(&pipeline->lock);
		pthread_join(pipeline->thread, NULL);
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		g_free(pipeline->blocks[i]);
	g_clear_error(&pipeline->error);
	pthread_cond_destroy(&pipeline->changed);
	pthread_mutex_destroy(&pipeline->lock);
	g_free(pipeline);
}
