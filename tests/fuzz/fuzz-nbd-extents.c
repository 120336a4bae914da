/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The answers of an NBD server. The server does a correct handshake on a unix socket; then the next
 * bytes of the input determine each answer to a request.
 */
#include <glib/gstdio.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "image/source/cluster-map.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/nbd-peer.h"

#define CHUNKS_MAX 64
/* Larger disks would make an input slow. */
#define SMALL_SIZE_MASK ((uint64_t)0xfffff)
#define LARGE_SIZE_MASK ((uint64_t)0x7ffffffff)

/* Bits of the first byte of the input. */
enum {
	FLAG_STRUCTURED = 1,
	FLAG_CONTEXT = 2,
	FLAG_LARGE = 4, /* use LARGE_SIZE_MASK, and sizes over the limit as they are */
	FLAG_RAW = 8,	/* the raw encoder, not qcow2 */
	FLAG_SCANNED = 16,
};

struct server {
	sem_t begin; /* an input is ready */
	sem_t end;   /* the input was served */
	int listener;
	struct nbd_peer peer;
	struct fuzz_input input;
};

static void put_extents(struct fuzz_input *input, GByteArray *payload)
{
	nbd_put(payload, fuzz_byte(input) == 0xff ? NBD_CONTEXT_ID + 1 : NBD_CONTEXT_ID, 4);
	for (unsigned i = fuzz_byte(input) % 8 + 1; i > 0; i--) {
		uint32_t length = fuzz_u32(input);

		/* The shift makes small lengths as likely as large ones. */
		nbd_put(payload, length >> (fuzz_byte(input) % 32), 4);
		nbd_put(payload, fuzz_byte(input), 4);
	}
}

static void put_data(const struct nbd_request *request, GByteArray *payload)
{
	nbd_put(payload, request->offset, 8);
	g_byte_array_set_size(payload, payload->len + MIN(request->length, 1024 * 1024));
	memset(payload->data + 8, 'x', payload->len - 8);
}

/* The answer after the end of the input. */
static bool answer_correctly(struct nbd_peer *peer, const struct nbd_request *request)
{
	g_autoptr(GByteArray) payload = g_byte_array_new();

	if (request->type == NBD_CMD_BLOCK_STATUS) {
		nbd_put(payload, NBD_CONTEXT_ID, 4);
		nbd_put(payload, request->length, 4);
		nbd_put(payload, 0, 4);
		return nbd_peer_send_chunk(peer, request, NBD_CHUNK_BLOCK_STATUS, true, payload);
	}
	if (peer->structured) {
		put_data(request, payload);
		return nbd_peer_send_chunk(peer, request, NBD_CHUNK_DATA, true, payload);
	}
	nbd_put(payload, NBD_SIMPLE_REPLY_MAGIC, 4);
	nbd_put(payload, 0, 4);
	nbd_put(payload, request->cookie, 8);
	g_byte_array_set_size(payload, 16 + request->length);
	memset(payload->data + 16, 'x', request->length);
	return nbd_peer_send(peer, payload);
}

static void put_bytes(struct fuzz_input *input, GByteArray *payload)
{
	for (unsigned i = fuzz_byte(input); i > 0; i--)
		nbd_put(payload, fuzz_byte(input), 1);
}

/* Sends one chunk. Returns false if nothing more can be sent. */
static bool send_chunk(struct server *server, const struct nbd_request *request, bool *ret_done)
{
	struct nbd_peer *peer = &server->peer;
	struct fuzz_input *input = &server->input;
	g_autoptr(GByteArray) payload = g_byte_array_new();
	uint8_t kind = fuzz_byte(input);

	*ret_done = !(kind & 0x80);
	switch (kind % 8) {
	case 0:
	case 1:
		put_extents(input, payload);
		return nbd_peer_send_chunk(peer, request, NBD_CHUNK_BLOCK_STATUS, *ret_done,
					   payload);
	case 2:
		put_data(request, payload);
		return nbd_peer_send_chunk(peer, request, NBD_CHUNK_DATA, *ret_done, payload);
	case 3:
		nbd_put(payload, request->offset, 8);
		nbd_put(payload, fuzz_byte(input) ? fuzz_u32(input) : request->length, 4);
		return nbd_peer_send_chunk(peer, request, NBD_CHUNK_HOLE, *ret_done, payload);
	case 4:
		nbd_put(payload, fuzz_byte(input), 4);
		nbd_put(payload, 0, 2);
		return nbd_peer_send_chunk(peer, request, NBD_CHUNK_ERROR, *ret_done, payload);
	case 5:
		return nbd_peer_send_chunk(peer, request, NBD_CHUNK_NONE, *ret_done, payload);
	case 6:
		put_bytes(input, payload);
		return nbd_peer_send_chunk(peer, request, (uint16_t)fuzz_u32(input), *ret_done,
					   payload);
	default:
		put_bytes(input, payload);
		(void)nbd_peer_send(peer, payload);
		return false;
	}
}

static bool answer_request(struct server *server, const struct nbd_request *request)
{
	bool done = false;

	for (int i = 0; !done; i++) {
		if (i == CHUNKS_MAX)
			return false;
		if (server->input.size == 0)
			return answer_correctly(&server->peer, request);
		if (!send_chunk(server, request, &done))
			return false;
	}
	return true;
}

static void serve_input(struct server *server)
{
	/* The client may wait for an answer that never comes, and its limit is longer. */
	struct timeval limit = {0, 100000};
	struct nbd_peer *peer = &server->peer;
	struct nbd_request request;

	peer->fd = accept(server->listener, NULL, NULL);
	(void)setsockopt(peer->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	(void)setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (nbd_peer_shake_hands(peer)) {
		while (nbd_peer_next_request(peer, &request) &&
		       (request.type == NBD_CMD_READ || request.type == NBD_CMD_BLOCK_STATUS) &&
		       answer_request(server, &request))
			;
	}
	(void)close(peer->fd);
}

/* libFuzzer uses signals, which interrupt the wait. */
static void wait_for(sem_t *semaphore)
{
	while (sem_wait(semaphore) < 0)
		;
}

/* One thread serves all inputs: the sanitizer never frees what it keeps of a thread. */
static void *server_main(void *opaque)
{
	struct server *server = opaque;

	for (;;) {
		wait_for(&server->begin);
		serve_input(server);
		(void)sem_post(&server->end);
	}
	return NULL;
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	(void)g_unlink(path);
	g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
	g_assert_cmpint(listen(fd, 4), ==, 0);
	return fd;
}

struct reported {
	uint64_t at;
	uint64_t size;
};

/* Extents follow each other without gaps and end with the disk. */
static void check_extent(uint64_t offset, uint64_t length, bool data, void *opaque)
{
	struct reported *reported = opaque;

	(void)data;
	g_assert_cmpuint(offset, ==, reported->at);
	g_assert_cmpuint(length, >, 0);
	g_assert_cmpuint(length, <=, reported->size - offset);
	reported->at += length;
}

/* Reads the start, the middle and the end of the image at the same time. */
static void read_image(struct image_source *source)
{
	static char buffers[3][3 * CLUSTER_SIZE];
	const uint64_t offsets[] = {0, source->size / 2, source->size - MIN(source->size, 1000)};
	struct image_read reads[G_N_ELEMENTS(offsets)] = {0};

	for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
		size_t length = (size_t)MIN(source->size - offsets[i], sizeof(buffers[i]));

		(void)image_source_start(source, &reads[i], offsets[i], buffers[i], length, NULL);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++)
		(void)image_source_finish(source, &reads[i], NULL);
}

static void use_disk(struct image_source *disk, unsigned flags)
{
	struct reported reported = {0, disk->size};
	struct image_source *image;

	if (disk->size > 0 && disk->size <= IMAGE_QCOW2_MAX &&
	    disk->ops->extents(disk, check_extent, &reported, NULL) == 0)
		g_assert_cmpuint(reported.at, ==, disk->size);
	if ((flags & FLAG_SCANNED) && !(flags & FLAG_LARGE))
		disk = image_source_new_scanned(disk, NULL, NULL);
	if (!disk)
		return;
	image = flags & FLAG_RAW ? image_source_new_raw(disk, NULL)
				 : image_source_new_qcow2(disk, NULL);
	if (!image)
		return;
	read_image(image);
	image_source_free(image);
}

static void start_server(struct server *server, const char *path)
{
	pthread_t thread;
	int rc;

	server->listener = listen_at(path);
	(void)sem_init(&server->begin, 0, 0);
	(void)sem_init(&server->end, 0, 0);
	rc = pthread_create(&thread, NULL, server_main, server);
	g_assert_cmpint(rc, ==, 0);
}

/* Takes the export from the head of the input. Returns its flags. */
static unsigned choose_export(struct server *server)
{
	unsigned flags = fuzz_byte(&server->input);
	uint64_t size = (uint64_t)fuzz_u32(&server->input) << 32;

	size |= fuzz_u32(&server->input);
	if (!(flags & FLAG_LARGE))
		size &= SMALL_SIZE_MASK;
	else if (size <= IMAGE_QCOW2_MAX)
		size &= LARGE_SIZE_MASK;
	server->peer = (struct nbd_peer){.size = size,
					 .structured = flags & FLAG_STRUCTURED,
					 .context = flags & FLAG_CONTEXT,
					 .send_max = SIZE_MAX};
	return flags;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct server server = {.listener = -1};
	static char *path;
	struct image_nbd nbd = {.export_name = "", .timeout_s = 3};
	struct image_source *disk;
	unsigned flags;

	if (server.listener < 0) {
		path = g_build_filename(g_get_tmp_dir(), "nbd", NULL);
		start_server(&server, path);
	}
	nbd.socket = path;
	server.input = (struct fuzz_input){data, size};
	flags = choose_export(&server);
	(void)sem_post(&server.begin);
	disk = image_source_new_nbd(&nbd, NULL);
	if (disk)
		use_disk(disk, flags);
	wait_for(&server.end);
	return 0;
}
