/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An NBD server that does not keep to the protocol: a thread that says all it has to say at once,
 * for libnbd asks the same in the same order each time.
 */
#include <glib/gstdio.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "image/clusters.h"

#define SIZE ((uint64_t)1024 * 1024)
#define OPTION_REPLY 0x0003e889045565a9
#define CONTEXT "base:allocation"

static void put(GByteArray *to, uint64_t value, unsigned bytes)
{
	while (bytes-- > 0) {
		guint8 byte = (guint8)(value >> (8 * bytes));

		g_byte_array_append(to, &byte, 1);
	}
}

static void put_text(GByteArray *to, const char *text)
{
	g_byte_array_append(to, (const guint8 *)text, (guint)strlen(text));
}

static void put_option(GByteArray *to, unsigned option, unsigned type, unsigned length)
{
	put(to, OPTION_REPLY, 8);
	put(to, option, 4);
	put(to, type, 4);
	put(to, length, 4);
}

/* Up to where an export of this size is ready, and its extents may be asked. */
static GByteArray *begin(uint64_t size)
{
	GByteArray *said = g_byte_array_new();

	put_text(said, "NBDMAGICIHAVEOPT");
	put(said, 3, 2);
	put_option(said, 8, 1, 0); /* structured replies */
	put_option(said, 10, 4, 4 + strlen(CONTEXT));
	put(said, 7, 4);
	put_text(said, CONTEXT);
	put_option(said, 10, 1, 0);
	put_option(said, 7, 3, 12); /* the export */
	put(said, 0, 2);
	put(said, size, 8);
	put(said, 3, 2);
	put_option(said, 7, 1, 0);
	return said;
}

/* The answer to the request of that number: extents, which end with one of -1. */
static void put_extents(GByteArray *to, uint64_t number, const int64_t *lengths)
{
	unsigned count = 0;

	while (lengths[count] >= 0)
		count++;
	put(to, 0x668e33ef, 4);
	put(to, 1, 2);
	put(to, 5, 2);
	put(to, number, 8);
	put(to, 4 + 8 * count, 4);
	put(to, 7, 4);
	for (unsigned i = 0; i < count; i++) {
		put(to, (uint64_t)lengths[i], 4);
		put(to, i % 2 ? 3 : 0, 4);
	}
}

struct server {
	int listener;
	const GByteArray *said;
	size_t length; /* of it */
};

static void *serve(void *opaque)
{
	const struct server *server = opaque;
	int fd = accept(server->listener, NULL, NULL);
	char buffer[512];

	(void)send(fd, server->said->data, server->length, MSG_NOSIGNAL);
	(void)shutdown(fd, SHUT_WR);
	while (recv(fd, buffer, sizeof(buffer), 0) > 0)
		;
	(void)close(fd);
	return NULL;
}

/* The clusters with data, of a server that says the first `length` bytes; -1: it was of no use. */
static int64_t count_data(const GByteArray *said, size_t length)
{
	g_autofree char *folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	g_autofree char *path = g_build_filename(folder, "nbd", NULL);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct server server = {socket(AF_UNIX, SOCK_STREAM, 0), said, length};
	struct image_nbd nbd = {.socket = path, .export_name = "", .timeout_s = 5};
	g_autoptr(GError) error = NULL;
	struct image_source *source;
	struct clusters *clusters = NULL;
	pthread_t thread;
	int64_t count = -1;

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	g_assert_cmpint(bind(server.listener, (struct sockaddr *)&address, sizeof(address)), ==, 0);
	g_assert_cmpint(listen(server.listener, 1), ==, 0);
	g_assert_cmpint(pthread_create(&thread, NULL, serve, &server), ==, 0);
	source = image_source_new_nbd(&nbd, &error);
	if (source)
		clusters = clusters_new(source, &error);
	if (clusters)
		count = (int64_t)clusters_data_count(clusters);
	else
		g_assert_nonnull(error);
	clusters_free(clusters);
	image_source_free(source);
	(void)pthread_join(thread, NULL);
	(void)close(server.listener);
	(void)g_unlink(path);
	(void)g_rmdir(folder);
	return count;
}

static void test_cut_at_each_byte(void)
{
	static const int64_t lengths[] = {SIZE / 2, SIZE / 2, -1};
	g_autoptr(GByteArray) said = begin(SIZE);

	put_extents(said, 1, lengths);
	for (size_t length = 0; length < said->len; length++)
		g_assert_cmpint(count_data(said, length), ==, -1);
	g_assert_cmpint(count_data(said, said->len), ==, SIZE / CLUSTER / 2);
}

/* A server that tells nothing of anything is not asked for ever. */
static void test_extents_of_nothing(void)
{
	static const int64_t nothing[] = {0, 0, -1};
	static const int64_t some[] = {0, 0, SIZE / 2, 0, 0, SIZE / 2, -1};
	g_autoptr(GByteArray) said = begin(SIZE);
	g_autoptr(GByteArray) more = begin(SIZE);

	for (unsigned i = 1; i < 1000; i++)
		put_extents(said, i, nothing);
	/* Had it gone on, all of this would have been asked for. */
	put_extents(said, 1000, some);
	g_assert_cmpint(count_data(said, said->len), ==, -1);
	put_extents(more, 1, some);
	g_assert_cmpint(count_data(more, more->len), ==, SIZE / CLUSTER / 2);
}

/* Beyond the end of the disk, and a disk beyond all bounds. */
static void test_too_much(void)
{
	static const int64_t beyond[] = {UINT32_MAX, UINT32_MAX, -1};
	static const uint64_t sizes[] = {IMAGE_QCOW2_MAX + 1, (uint64_t)1 << 62, INT64_MAX,
					 UINT64_MAX};
	g_autoptr(GByteArray) said = begin(SIZE);

	put_extents(said, 1, beyond);
	g_assert_cmpint(count_data(said, said->len), ==, SIZE / CLUSTER);
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		g_autoptr(GByteArray) large = begin(sizes[i]);

		put_extents(large, 1, beyond);
		g_assert_cmpint(count_data(large, large->len), ==, -1);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/nbd/cut-at-each-byte", test_cut_at_each_byte);
	g_test_add_func("/nbd/extents-of-nothing", test_extents_of_nothing);
	g_test_add_func("/nbd/too-much", test_too_much);
	return g_test_run();
}
