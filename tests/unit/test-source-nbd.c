/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The NBD source against servers that violate the protocol, and with servers that it starts itself.
 */
#include <glib/gstdio.h>
#include <libnbd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/source/cluster-map.h"
#include "tests/unit/nbd-peer.h"

#define SIZE ((uint64_t)1024 * 1024)

/* libnbd 1.18, the first version with this function, rejects extents that are empty or that end
 * after the export. */
#ifdef LIBNBD_HAVE_NBD_SET_REQUEST_EXTENDED_HEADERS
#define LIBNBD_CHECKS_EXTENTS true
#else
#define LIBNBD_CHECKS_EXTENTS false
#endif

/* How a server answers requests for extents. Lists of lengths end with -1. */
struct script {
	const int64_t *usual; /* the lengths in each answer but the last */
	const int64_t *last;  /* the lengths in the last answer */
	unsigned answers;     /* how many requests are answered */
};

struct server {
	int listener;
	struct script script;
	struct nbd_peer peer;
};

/* Extents of data and of zeros alternate. */
static bool send_extents(struct nbd_peer *peer, const struct nbd_request *request,
			 const int64_t *lengths)
{
	g_autoptr(GByteArray) payload = g_byte_array_new();

	nbd_put(payload, NBD_CONTEXT_ID, 4);
	for (unsigned i = 0; lengths[i] >= 0; i++) {
		nbd_put(payload, (uint64_t)lengths[i], 4);
		nbd_put(payload, i % 2 ? 3 : 0, 4); /* NBD_STATE_HOLE, NBD_STATE_ZERO */
	}
	return nbd_peer_send_chunk(peer, request, NBD_CHUNK_BLOCK_STATUS, true, payload);
}

static void serve_requests(struct server *server)
{
	const struct script *script = &server->script;
	struct nbd_request request;

	for (unsigned i = 1; i <= script->answers; i++) {
		if (!nbd_peer_next_request(&server->peer, &request) ||
		    !send_extents(&server->peer, &request,
				  i < script->answers ? script->usual : script->last))
			return;
	}
}

/* Ends sending, and waits until the client has closed the connection. */
static void end_connection(int fd)
{
	char byte;

	(void)shutdown(fd, SHUT_WR);
	while (recv(fd, &byte, 1, 0) == 1)
		;
	(void)close(fd);
}

static void *server_main(void *opaque)
{
	struct server *server = opaque;

	server->peer.fd = accept(server->listener, NULL, NULL);
	if (nbd_peer_shake_hands(&server->peer))
		serve_requests(server);
	end_connection(server->peer.fd);
	return NULL;
}

/* Returns the number of clusters with data of an export, or -1 if reading the extents failed. */
static int64_t read_extents(const char *socket_path)
{
	struct image_nbd nbd = {.socket = socket_path, .export_name = "", .timeout_s = 5};
	g_autoptr(GError) error = NULL;
	struct image_source *source = image_source_new_nbd(&nbd, &error);
	struct cluster_map *clusters = source ? cluster_map_new(source, &error) : NULL;
	int64_t count = clusters ? (int64_t)cluster_map_data_count(clusters) : -1;

	g_assert_true((error != NULL) == (count < 0));
	cluster_map_free(clusters);
	image_source_free(source);
	return count;
}

/* Serves an export that sends at most `send_max` bytes. Returns what read_extents() does, and how
 * many bytes were sent. */
static int64_t serve(uint64_t size, struct script script, size_t send_max, size_t *ret_sent)
{
	g_autofree char *folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	g_autofree char *path = g_build_filename(folder, "nbd", NULL);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct server server = {
		.listener = socket(AF_UNIX, SOCK_STREAM, 0),
		.script = script,
		.peer = {.size = size, .structured = true, .context = true, .send_max = send_max},
	};
	pthread_t thread;
	int64_t count;
	int rc;

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	rc = bind(server.listener, (struct sockaddr *)&address, sizeof(address));
	g_assert_cmpint(rc, ==, 0);
	rc = listen(server.listener, 1);
	g_assert_cmpint(rc, ==, 0);
	rc = pthread_create(&thread, NULL, server_main, &server);
	g_assert_cmpint(rc, ==, 0);
	count = read_extents(path);
	(void)pthread_join(thread, NULL);
	(void)close(server.listener);
	(void)g_unlink(path);
	(void)g_rmdir(folder);
	if (ret_sent)
		*ret_sent = server.peer.sent;
	return count;
}

static int64_t serve_all(uint64_t size, const int64_t *usual, const int64_t *last, unsigned answers)
{
	return serve(size, (struct script){usual, last, answers}, SIZE_MAX, NULL);
}

/* A server that closes the connection at any byte. */
static void test_truncated(void)
{
	static const int64_t lengths[] = {SIZE / 2, SIZE / 2, -1};
	const struct script script = {NULL, lengths, 1};
	size_t total = 0;

	g_assert_cmpint(serve(SIZE, script, SIZE_MAX, &total), ==, SIZE / CLUSTER_SIZE / 2);
	for (size_t length = 0; length < total; length++)
		g_assert_cmpint(serve(SIZE, script, length, NULL), ==, -1);
}

/* A server that reports only empty extents is not asked forever. */
static void test_empty_extents(void)
{
	static const int64_t empty[] = {0, 0, -1};
	static const int64_t all[] = {SIZE, -1};
	static const int64_t some[] = {0, 0, SIZE / 4, 0, 0, SIZE / 4, -1};

	/* The third answer would be complete, but the second request must not be sent. */
	g_assert_cmpint(serve_all(SIZE, empty, all, 3), ==, -1);
	g_assert_cmpint(serve_all(SIZE, some, some, 2), ==,
			LIBNBD_CHECKS_EXTENTS ? -1 : (int64_t)(SIZE / CLUSTER_SIZE / 2));
}

/* Extents that end after the disk, and disks that are too large. */
static void test_too_large(void)
{
	static const int64_t beyond[] = {UINT32_MAX, UINT32_MAX, -1};
	static const uint64_t sizes[] = {IMAGE_QCOW2_MAX + 1, (uint64_t)1 << 62, INT64_MAX,
					 UINT64_MAX};

	g_assert_cmpint(serve_all(SIZE, beyond, beyond, 1), ==,
			LIBNBD_CHECKS_EXTENTS ? -1 : (int64_t)(SIZE / CLUSTER_SIZE));
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
		g_assert_cmpint(serve_all(sizes[i], beyond, beyond, 1), ==, -1);
}

/* A folder for the socket of a server that the source starts. */
struct socket_folder {
	char *folder;
	char *socket;
};

static struct socket_folder make_socket_folder(void)
{
	struct socket_folder where = {.folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL)};

	where.socket = g_build_filename(where.folder, "socket", NULL);
	return where;
}

/* Fails if the socket is still in it. */
static void remove_socket_folder(struct socket_folder *where)
{
	g_assert_cmpint(g_rmdir(where->folder), ==, 0);
	g_free(where->socket);
	g_free(where->folder);
}

static struct image_source *open_served(const struct socket_folder *where, const char *script,
					GError **error)
{
	const char *argv[] = {"sh", "-c", script, NULL};
	struct image_nbd nbd = {
		.socket = where->socket, .argv = argv, .export_name = "", .timeout_s = 30};

	return image_source_new_nbd(&nbd, error);
}

/* The error contains what the server wrote before it ended. */
static void test_server_error_text(void)
{
	static const struct {
		const char *script;
		const char *expected;
	} table[] = {
		{"echo the disk is locked >&2; echo >&2; exit 1", ": the disk is locked"},
		{"exit 1", "recv: Connection reset"},
		{"head -c 200000 /dev/zero | tr '\\0' 'x' >&2; exit 1", ": xxxxxxxxxx"},
		{"test $LISTEN_FDS = 1 && test $LISTEN_PID = $$ && test -S /proc/self/fd/3 && "
		 "echo activated >&2",
		 ": activated"},
	};
	struct socket_folder where = make_socket_folder();

	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		g_autoptr(GError) error = NULL;

		g_assert_null(open_served(&where, table[i].script, &error));
		g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED);
		g_test_message("%s", error->message);
		g_assert_nonnull(strstr(error->message, table[i].expected));
		g_assert_cmpuint(strlen(error->message), <, 500);
	}
	remove_socket_folder(&where);
}

/* It keeps the memory of a read for the next one, unless the operator has tuned it. */
static void test_server_memory(void)
{
	static const char script[] = "echo \"tuned: $GLIBC_TUNABLES\" >&2; exit 1";
	struct socket_folder where = make_socket_folder();
	g_autoptr(GError) ours = NULL;
	g_autoptr(GError) theirs = NULL;

	g_unsetenv("GLIBC_TUNABLES");
	g_assert_null(open_served(&where, script, &ours));
	g_assert_nonnull(strstr(ours->message, "tuned: glibc.malloc.mmap_threshold="));
	g_assert_true(g_setenv("GLIBC_TUNABLES", "glibc.malloc.check=0", TRUE));
	g_assert_null(open_served(&where, script, &theirs));
	g_assert_nonnull(strstr(theirs->message, "tuned: glibc.malloc.check=0"));
	g_unsetenv("GLIBC_TUNABLES");
	remove_socket_folder(&where);
}

static void test_server_cannot_start(void)
{
	static const char *const argv[] = {"novasnap-no-such-program", NULL};
	struct socket_folder where = make_socket_folder();
	struct image_nbd nbd = {
		.socket = where.socket, .argv = argv, .export_name = "", .timeout_s = 30};
	g_autoptr(GError) error = NULL;
	g_autoptr(GError) exists_error = NULL;

	g_assert_null(image_source_new_nbd(&nbd, &error));
	g_assert_nonnull(
		strstr(error->message, "the program novasnap-no-such-program was not found"));
	g_assert_true(g_file_set_contents(where.socket, "", 0, NULL));
	g_assert_null(open_served(&where, "exit 1", &exists_error));
	g_assert_nonnull(strstr(exists_error->message, where.socket));
	g_assert_cmpint(g_unlink(where.socket), ==, 0);
	remove_socket_folder(&where);
}

/* The server lets go of the disk while nobody reads; then reads fail. */
static void test_server_is_killed(void)
{
	struct socket_folder where = make_socket_folder();
	g_autofree char *path = g_build_filename(where.folder, "disk", NULL);
	g_autofree char *script =
		g_strdup_printf("exec qemu-nbd --read-only --format=raw %s", path);
	g_autoptr(GError) error = NULL;
	g_autoptr(image_source_t) source = NULL;
	char *buffer = g_malloc(SIZE);
	siginfo_t ended = {0};

	g_assert_true(g_file_set_contents(path, "", 0, NULL));
	g_assert_cmpint(truncate(path, SIZE), ==, 0);
	source = open_served(&where, script, &error);
	g_assert_no_error(error);
	g_assert_cmpint(source->ops->read(source, 0, buffer, SIZE, NULL), ==, 0);
	image_source_kill_server(source);
	g_assert_cmpint(waitid(P_ALL, 0, &ended, WEXITED | WNOWAIT), ==, 0);
	g_assert_cmpint(ended.si_status, ==, SIGKILL);
	g_assert_cmpint(source->ops->read(source, 0, buffer, SIZE, &error), ==, -1);
	g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED);
	/* It is waited for: its pid may be another process's now. */
	g_assert_cmpint(waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT), ==, -1);
	image_source_kill_server(source);
	g_free(buffer);
	g_assert_cmpint(g_unlink(path), ==, 0);
	remove_socket_folder(&where);
}

/* Returns 0 if there is no child yet. */
static pid_t child_of(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/children", (int)pid, (int)pid);
	g_autofree char *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? (pid_t)strtol(text, NULL, 10) : 0;
}

static bool runs_program(pid_t pid, const char *name)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
	g_autofree char *text = NULL;

	return pid > 0 && g_file_get_contents(path, &text, NULL, NULL) &&
	       g_str_equal(g_strchomp(text), name);
}

/* The server is killed with the process that started it, also during the handshake. */
static void test_server_dies_with_parent(void)
{
	struct socket_folder where = make_socket_folder();
	pid_t pid, served = 0;
	int status = 0;

	g_assert_cmpint(prctl(PR_SET_CHILD_SUBREAPER, 1), ==, 0);
	pid = fork();
	if (pid == 0) {
		(void)open_served(&where, "exec sleep 600", NULL);
		_exit(1);
	}
	for (int i = 0; i < 3000 && !runs_program(served, "sleep"); i++) {
		g_usleep(G_USEC_PER_SEC / 100);
		served = child_of(pid);
	}
	g_assert_true(runs_program(served, "sleep"));
	g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
	g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
	for (int i = 0; i < 1000 && status == 0; i++) {
		g_usleep(G_USEC_PER_SEC / 100);
		(void)waitpid(served, &status, WNOHANG);
	}
	g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	remove_socket_folder(&where);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/nbd/truncated", test_truncated);
	g_test_add_func("/nbd/empty-extents", test_empty_extents);
	g_test_add_func("/nbd/too-large", test_too_large);
	g_test_add_func("/nbd/server/error-text", test_server_error_text);
	g_test_add_func("/nbd/server/memory", test_server_memory);
	g_test_add_func("/nbd/server/cannot-start", test_server_cannot_start);
	g_test_add_func("/nbd/server/is-killed", test_server_is_killed);
	g_test_add_func("/nbd/server/dies-with-parent", test_server_dies_with_parent);
	return g_test_run();
}
