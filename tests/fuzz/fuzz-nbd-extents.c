/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an NBD server answers. A server on a unix socket keeps to the protocol as far as the input
 * lets it: each answer to a request is made of the input's next bytes.
 */
#include <glib/gstdio.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "image/source/cluster-map.h"
#include "tests/fuzz/fuzz.h"

#define IHAVEOPT 0x49484156454f5054
#define OPTION_REPLY 0x0003e889045565a9
#define OPT_GO 7
#define OPT_STRUCTURED_REPLY 8
#define OPT_SET_META_CONTEXT 10
#define REP_ACK 1
#define REP_INFO 3
#define REP_META_CONTEXT 4
#define REP_ERR_UNSUP 0x80000001
#define CONTEXT "base:allocation"
#define CONTEXT_ID 7
#define REQUEST_MAGIC 0x25609513
#define REQUEST_LENGTH 28
#define CHUNK_MAGIC 0x668e33ef
#define CHUNK_DONE 1
#define COMMAND_READ 0
#define COMMAND_STATUS 7
#define CHUNK_NONE 0
#define CHUNK_DATA 1
#define CHUNK_HOLE 2
#define CHUNK_STATUS 5
#define CHUNK_ERROR 0x8001
#define PIECE_MAX ((size_t)64 * 1024)
#define CHUNKS_MAX 64
/* The sizes that make a run slow are left out. */
#define SMALL ((uint64_t)0xfffff)
#define MIDDLING ((uint64_t)0x7ffffffff)

/* How the input begins. */
enum {
	WITH_STRUCTURED = 1,
	WITH_CONTEXT = 2,
	LARGE = 4, /* the size is taken as it is */
	RAW = 8,
	SCANNED = 16,
};

struct server {
	sem_t begin; /* an input is there */
	sem_t end;   /* it is served */
	int listener;
	int fd;
	uint64_t size;
	unsigned how;
	struct fuzz_input input;
};

struct request {
	uint16_t type;
	uint64_t cookie;
	uint64_t offset;
	uint32_t length;
};

static bool give(const struct server *server, const void *data, size_t length)
{
	return send(server->fd, data, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static void put(GByteArray *to, uint64_t value, unsigned bytes)
{
	while (bytes-- > 0) {
		guint8 byte = (guint8)(value >> (8 * bytes));

		g_byte_array_append(to, &byte, 1);
	}
}

static uint64_t take(const uint8_t *from, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | *from++;
	return value;
}

static bool receive(const struct server *server, void *buffer, size_t length)
{
	return length == 0 || recv(server->fd, buffer, length, MSG_WAITALL) == (ssize_t)length;
}

static bool answer_option(const struct server *server, uint32_t option, uint32_t type,
			  const GByteArray *payload)
{
	g_autoptr(GByteArray) reply = g_byte_array_new();

	put(reply, OPTION_REPLY, 8);
	put(reply, option, 4);
	put(reply, type, 4);
	put(reply, payload ? payload->len : 0, 4);
	if (payload)
		g_byte_array_append(reply, payload->data, payload->len);
	return give(server, reply->data, reply->len);
}

/* 1: the handshake is over; 0: it goes on; -1: the client is gone. */
static int take_option(const struct server *server, uint32_t option)
{
	g_autoptr(GByteArray) payload = g_byte_array_new();
	bool taken = true;

	switch (option) {
	case OPT_STRUCTURED_REPLY:
		taken = server->how & WITH_STRUCTURED;
		break;
	case OPT_SET_META_CONTEXT:
		put(payload, CONTEXT_ID, 4);
		g_byte_array_append(payload, (const guint8 *)CONTEXT, strlen(CONTEXT));
		if ((server->how & WITH_CONTEXT) &&
		    !answer_option(server, option, REP_META_CONTEXT, payload))
			return -1;
		break;
	case OPT_GO:
		put(payload, 0, 2); /* NBD_INFO_EXPORT */
		put(payload, server->size, 8);
		put(payload, 1 | 2, 2); /* there are flags; it is read-only */
		if (!answer_option(server, option, REP_INFO, payload))
			return -1;
		break;
	default:
		taken = false;
		break;
	}
	if (!answer_option(server, option, taken ? REP_ACK : REP_ERR_UNSUP, NULL))
		return -1;
	return option == OPT_GO;
}

static bool shake_hands(const struct server *server)
{
	g_autoptr(GByteArray) greeting = g_byte_array_new();
	uint8_t buffer[PIECE_MAX];
	int rc = 0;

	g_byte_array_append(greeting, (const guint8 *)"NBDMAGIC", 8);
	put(greeting, IHAVEOPT, 8);
	put(greeting, 3, 2); /* fixed newstyle, no zeroes */
	if (!give(server, greeting->data, greeting->len) || !receive(server, buffer, 4))
		return false;
	while (rc == 0) {
		uint32_t option, length;

		if (!receive(server, buffer, 16) || take(buffer, 8) != IHAVEOPT)
			return false;
		option = (uint32_t)take(buffer + 8, 4);
		length = (uint32_t)take(buffer + 12, 4);
		if (length > sizeof(buffer) || !receive(server, buffer, length))
			return false;
		rc = take_option(server, option);
	}
	return rc > 0;
}

static bool give_chunk(const struct server *server, const struct request *request, uint16_t type,
		       bool done, const GByteArray *payload)
{
	g_autoptr(GByteArray) chunk = g_byte_array_new();

	put(chunk, CHUNK_MAGIC, 4);
	put(chunk, done ? CHUNK_DONE : 0, 2);
	put(chunk, type, 2);
	put(chunk, request->cookie, 8);
	put(chunk, payload->len, 4);
	g_byte_array_append(chunk, payload->data, payload->len);
	return give(server, chunk->data, chunk->len);
}

static void put_extents(struct fuzz_input *input, GByteArray *payload)
{
	put(payload, fuzz_byte(input) == 0xff ? CONTEXT_ID + 1 : CONTEXT_ID, 4);
	for (unsigned i = fuzz_byte(input) % 8 + 1; i > 0; i--) {
		/* Lengths of any size. */
		uint32_t length = fuzz_u32(input);

		put(payload, length >> (fuzz_byte(input) % 32), 4);
		put(payload, fuzz_byte(input), 4);
	}
}

static void put_data(const struct request *request, GByteArray *payload)
{
	put(payload, request->offset, 8);
	g_byte_array_set_size(payload, payload->len + MIN(request->length, 1024 * 1024));
	memset(payload->data + 8, 'x', payload->len - 8);
}

/* As it should be, when the input is at its end. */
static bool answer_well(const struct server *server, const struct request *request)
{
	g_autoptr(GByteArray) payload = g_byte_array_new();

	if (request->type == COMMAND_STATUS) {
		put(payload, CONTEXT_ID, 4);
		put(payload, request->length, 4);
		put(payload, 0, 4);
		return give_chunk(server, request, CHUNK_STATUS, true, payload);
	}
	if (server->how & WITH_STRUCTURED) {
		put_data(request, payload);
		return give_chunk(server, request, CHUNK_DATA, true, payload);
	}
	put(payload, 0x67446698, 4);
	put(payload, 0, 4);
	put(payload, request->cookie, 8);
	g_byte_array_set_size(payload, 16 + request->length);
	memset(payload->data + 16, 'x', request->length);
	return give(server, payload->data, payload->len);
}

/* False when nothing more can be said. */
static bool answer_one(struct server *server, const struct request *request, bool *ret_done)
{
	struct fuzz_input *input = &server->input;
	g_autoptr(GByteArray) payload = g_byte_array_new();
	uint8_t what = fuzz_byte(input);

	*ret_done = !(what & 0x80);
	switch (what % 8) {
	case 0:
	case 1:
		put_extents(input, payload);
		return give_chunk(server, request, CHUNK_STATUS, *ret_done, payload);
	case 2:
		put_data(request, payload);
		return give_chunk(server, request, CHUNK_DATA, *ret_done, payload);
	case 3:
		put(payload, request->offset, 8);
		put(payload, fuzz_byte(input) ? fuzz_u32(input) : request->length, 4);
		return give_chunk(server, request, CHUNK_HOLE, *ret_done, payload);
	case 4:
		put(payload, fuzz_byte(input), 4);
		put(payload, 0, 2);
		return give_chunk(server, request, CHUNK_ERROR, *ret_done, payload);
	case 5:
		return give_chunk(server, request, CHUNK_NONE, *ret_done, payload);
	case 6:
		for (unsigned i = fuzz_byte(input); i > 0; i--)
			put(payload, fuzz_byte(input), 1);
		return give_chunk(server, request, (uint16_t)fuzz_u32(input), *ret_done, payload);
	default:
		for (unsigned i = fuzz_byte(input); i > 0; i--)
			put(payload, fuzz_byte(input), 1);
		(void)give(server, payload->data, payload->len);
		return false;
	}
}

static bool answer(struct server *server, const struct request *request)
{
	bool done = false;

	for (int i = 0; !done; i++) {
		if (i == CHUNKS_MAX)
			return false;
		if (server->input.size == 0)
			return answer_well(server, request);
		if (!answer_one(server, request, &done))
			return false;
	}
	return true;
}

static void serve(struct server *server)
{
	/* A client that is left waiting is not waited for. */
	struct timeval limit = {0, 100000};
	uint8_t buffer[REQUEST_LENGTH];

	server->fd = accept(server->listener, NULL, NULL);
	(void)setsockopt(server->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	(void)setsockopt(server->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (shake_hands(server)) {
		while (receive(server, buffer, sizeof(buffer))) {
			struct request request = {
				.type = (uint16_t)take(buffer + 6, 2),
				.cookie = take(buffer + 8, 8),
				.offset = take(buffer + 16, 8),
				.length = (uint32_t)take(buffer + 24, 4),
			};

			if (take(buffer, 4) != REQUEST_MAGIC ||
			    (request.type != COMMAND_READ && request.type != COMMAND_STATUS) ||
			    !answer(server, &request))
				break;
		}
	}
	(void)close(server->fd);
}

/* Signals, which libFuzzer has of its own, do not end it. */
static void wait_for(sem_t *semaphore)
{
	while (sem_wait(semaphore) < 0)
		;
}

/* One thread for all inputs: what the sanitizer keeps of a thread it keeps for ever. */
static void *serve_each(void *opaque)
{
	struct server *server = opaque;

	for (;;) {
		wait_for(&server->begin);
		serve(server);
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

struct told {
	uint64_t at;
	uint64_t size;
};

/* One after the other, and never past the end. */
static void check_extent(uint64_t offset, uint64_t length, bool data, void *opaque)
{
	struct told *told = opaque;

	(void)data;
	g_assert_cmpuint(offset, ==, told->at);
	g_assert_cmpuint(length, >, 0);
	g_assert_cmpuint(length, <=, told->size - offset);
	told->at += length;
}

static void read_places(struct image_source *source)
{
	static char buffer[3 * CLUSTER_SIZE];
	const uint64_t places[] = {0, source->size / 2, source->size - MIN(source->size, 1000)};

	for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
		size_t length = (size_t)MIN(source->size - places[i], sizeof(buffer));

		if (source->ops->read(source, places[i], buffer, length, NULL) < 0)
			return;
	}
}

static void use(struct image_source *disk, unsigned how)
{
	struct told told = {0, disk->size};
	struct image_source *image;

	if (disk->size > 0 && disk->size <= IMAGE_QCOW2_MAX &&
	    disk->ops->extents(disk, check_extent, &told, NULL) == 0)
		g_assert_cmpuint(told.at, ==, disk->size);
	if ((how & SCANNED) && !(how & LARGE))
		disk = image_source_new_scanned(disk, NULL, NULL);
	if (!disk)
		return;
	image = how & RAW ? image_source_new_raw(disk, NULL) : image_source_new_qcow2(disk, NULL);
	if (!image)
		return;
	read_places(image);
	image_source_free(image);
}

static void start(struct server *server, const char *path)
{
	pthread_t thread;
	int rc;

	server->listener = listen_at(path);
	(void)sem_init(&server->begin, 0, 0);
	(void)sem_init(&server->end, 0, 0);
	rc = pthread_create(&thread, NULL, serve_each, server);
	g_assert_cmpint(rc, ==, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct server server = {.listener = -1};
	static char *path;
	struct image_nbd nbd = {.export_name = "", .timeout_s = 3};
	struct image_source *disk;

	if (server.listener < 0) {
		path = g_build_filename(g_get_tmp_dir(), "nbd", NULL);
		start(&server, path);
	}
	nbd.socket = path;
	server.input = (struct fuzz_input){data, size};
	server.how = fuzz_byte(&server.input);
	server.size = (uint64_t)fuzz_u32(&server.input) << 32;
	server.size |= fuzz_u32(&server.input);
	if (!(server.how & LARGE))
		server.size &= SMALL;
	else if (server.size <= IMAGE_QCOW2_MAX)
		server.size &= MIDDLING;
	(void)sem_post(&server.begin);
	disk = image_source_new_nbd(&nbd, NULL);
	if (disk)
		use(disk, server.how);
	wait_for(&server.end);
	return 0;
}
