/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An NBD server that does not keep to the protocol. It shakes hands without listening, for libnbd
 * asks the same in the same order each time; then it answers requests.
 */
#include <glib/gstdio.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/source/cluster-map.h"

#define SIZE ((uint64_t)1024 * 1024)
#define OPTION_REPLY 0x0003e889045565a9
#define REQUEST_MAGIC 0x25609513
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
	size_t length;	      /* of it */
	const int64_t *often; /* what each request but the last is answered; NULL: none is */
	const int64_t *last;
	unsigned requests;
};

/* Passes what is no request. False at the end. */
static bool next_request(int fd)
{
	uint32_t seen = 0;
	unsigned char byte;
	char rest[24];

	while (seen != REQUEST_MAGIC) {
		if (recv(fd, &byte, 1, 0) != 1)
			return false;
		seen = seen << 8 | byte;
	}
	return recv(fd, rest, sizeof(rest), MSG_WAITALL) == (ssize_t)sizeof(rest);
}

static void *serve(void *opaque)
{
	const struct server *server = opaque;
	int fd = accept(server->listener, NULL, NULL);

	(void)send(fd, server->said->data, server->length, MSG_NOSIGNAL);
	if (!server->often)
		(void)shutdown(fd, SHUT_WR);
	for (unsigned i = 1; next_request(fd); i++) {
		g_autoptr(GByteArray) answer = g_byte_array_new();

		if (!server->often || i > server->requests)
			break;
		put_extents(answer, i, i < server->requests ? server->often : server->last);
		(void)send(fd, answer->data, answer->len, MSG_NOSIGNAL);
	}
	(void)close(fd);
	return NULL;
}

/* The clusters with data; -1: the server was of no use. */
static int64_t count_data(struct server server)
{
	g_autofree char *folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	g_autofree char *path = g_build_filename(folder, "nbd", NULL);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct image_nbd nbd = {.socket = path, .export_name = "", .timeout_s = 5};
	g_autoptr(GError) error = NULL;
	struct image_source *source;
	struct cluster_map *clusters = NULL;
	pthread_t thread;
	int64_t count = -1;
	int rc;

	server.listener = socket(AF_UNIX, SOCK_STREAM, 0);
	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	g_assert_cmpint(bind(server.listener, (struct sockaddr *)&address, sizeof(address)), ==, 0);
	g_assert_cmpint(listen(server.listener, 1), ==, 0);
	rc = pthread_create(&thread, NULL, serve, &server);
	g_assert_cmpint(rc, ==, 0);
	source = image_source_new_nbd(&nbd, &error);
	if (source)
		clusters = cluster_map_new(source, &error);
	if (clusters)
		count = (int64_t)cluster_map_data_count(clusters);
	else
		g_assert_nonnull(error);
	cluster_map_free(clusters);
	image_source_free(source);
	(void)pthread_join(thread, NULL);
	(void)close(server.listener);
	(void)g_unlink(path);
	(void)g_rmdir(folder);
	return count;
}

static int64_t count_of_first(const GByteArray *said, size_t length)
{
	return count_data((struct server){.said = said, .length = length});
}

/* After the whole handshake: so many requests, the last of which is answered so. */
static int64_t count_of(uint64_t size, const int64_t *often, const int64_t *last, unsigned requests)
{
	g_autoptr(GByteArray) said = begin(size);

	return count_data((struct server){.said = said,
					  .length = said->len,
					  .often = often,
					  .last = last,
					  .requests = requests});
}

static void test_cut_at_each_byte(void)
{
	static const int64_t lengths[] = {SIZE / 2, SIZE / 2, -1};
	g_autoptr(GByteArray) said = begin(SIZE);

	put_extents(said, 1, lengths);
	for (size_t length = 0; length < said->len; length++)
		g_assert_cmpint(count_of_first(said, length), ==, -1);
	g_assert_cmpint(count_of_first(said, said->len), ==, SIZE / CLUSTER_SIZE / 2);
}

/* A server that tells nothing of anything is not asked for ever. */
static void test_extents_of_nothing(void)
{
	static const int64_t nothing[] = {0, 0, -1};
	static const int64_t all[] = {SIZE, -1};
	static const int64_t some[] = {0, 0, SIZE / 4, 0, 0, SIZE / 4, -1};

	/* Had it gone on, it would have come to all of the disk. */
	g_assert_cmpint(count_of(SIZE, nothing, all, 3), ==, -1);
	g_assert_cmpint(count_of(SIZE, some, some, 2), ==, SIZE / CLUSTER_SIZE / 2);
}

/* Beyond the end of the disk, and a disk beyond all bounds. */
static void test_too_much(void)
{
	static const int64_t beyond[] = {UINT32_MAX, UINT32_MAX, -1};
	static const uint64_t sizes[] = {IMAGE_QCOW2_MAX + 1, (uint64_t)1 << 62, INT64_MAX,
					 UINT64_MAX};

	g_assert_cmpint(count_of(SIZE, beyond, beyond, 1), ==, SIZE / CLUSTER_SIZE);
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
		g_assert_cmpint(count_of(sizes[i], beyond, beyond, 1), ==, -1);
}

/* --- programs that serve ---------------------------------------------------------------------- */

struct place {
	char *folder;
	char *socket;
};

static struct place make_place(void)
{
	struct place place = {.folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL)};

	place.socket = g_build_filename(place.folder, "socket", NULL);
	return place;
}

/* No socket may be left in it. */
static void remove_place(struct place *place)
{
	g_assert_cmpint(g_rmdir(place->folder), ==, 0);
	g_free(place->socket);
	g_free(place->folder);
}

static struct image_source *open_served(const struct place *place, const char *script,
					GError **error)
{
	const char *argv[] = {"sh", "-c", script, NULL};
	struct image_nbd nbd = {
		.socket = place->socket, .argv = argv, .export_name = "", .timeout_s = 30};

	return image_source_new_nbd(&nbd, error);
}

static void test_words(void)
{
	static const struct {
		const char *script;
		const char *words;
	} table[] = {
		{"echo the disk is locked >&2; echo >&2; exit 1", ": the disk is locked"},
		{"exit 1", "recv: Connection reset"},
		{"head -c 200000 /dev/zero | tr '\\0' 'x' >&2; exit 1", ": xxxxxxxxxx"},
		{"test $LISTEN_FDS = 1 && test $LISTEN_PID = $$ && test -S /proc/self/fd/3 && "
		 "echo activated >&2",
		 ": activated"},
	};
	struct place place = make_place();

	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		g_autoptr(GError) error = NULL;

		g_assert_null(open_served(&place, table[i].script, &error));
		g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED);
		g_test_message("%s", error->message);
		g_assert_nonnull(strstr(error->message, table[i].words));
		g_assert_cmpuint(strlen(error->message), <, 500);
	}
	remove_place(&place);
}

static void test_no_place(void)
{
	static const char *const argv[] = {"novasnap-no-such-program", NULL};
	struct place place = make_place();
	struct image_nbd nbd = {
		.socket = place.socket, .argv = argv, .export_name = "", .timeout_s = 30};
	g_autoptr(GError) error = NULL;
	g_autoptr(GError) taken = NULL;

	g_assert_null(image_source_new_nbd(&nbd, &error));
	g_assert_nonnull(
		strstr(error->message, "the program novasnap-no-such-program was not found"));
	g_assert_true(g_file_set_contents(place.socket, "", 0, NULL));
	g_assert_null(open_served(&place, "exit 1", &taken));
	g_assert_nonnull(strstr(taken->message, place.socket));
	g_assert_cmpint(g_unlink(place.socket), ==, 0);
	remove_place(&place);
}

/* 0: none yet. */
static pid_t child_of(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/children", (int)pid, (int)pid);
	g_autofree char *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? (pid_t)strtol(text, NULL, 10) : 0;
}

/* A process that is killed before its program has answered takes it along. */
static void test_killed(void)
{
	struct place place = make_place();
	pid_t pid, served = 0;
	int status = 0;

	g_assert_cmpint(prctl(PR_SET_CHILD_SUBREAPER, 1), ==, 0);
	pid = fork();
	if (pid == 0) {
		(void)open_served(&place, "exec sleep 600", NULL);
		_exit(1);
	}
	for (int i = 0; i < 1000 && served == 0; i++) {
		g_usleep(G_USEC_PER_SEC / 100);
		served = child_of(pid);
	}
	g_assert_cmpint(served, >, 0);
	g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
	g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
	for (int i = 0; i < 1000 && status == 0; i++) {
		g_usleep(G_USEC_PER_SEC / 100);
		(void)waitpid(served, &status, WNOHANG);
	}
	g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	remove_place(&place);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/nbd/cut-at-each-byte", test_cut_at_each_byte);
	g_test_add_func("/nbd/extents-of-nothing", test_extents_of_nothing);
	g_test_add_func("/nbd/too-much", test_too_much);
	g_test_add_func("/nbd/server/words", test_words);
	g_test_add_func("/nbd/server/no-place", test_no_place);
	g_test_add_func("/nbd/server/killed", test_killed);
	return g_test_run();
}
