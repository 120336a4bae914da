/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap-rbd: works with images in Ceph for novasnapd, which starts it. Its standard input is a
 * socket to novasnapd. Operators do not run it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/rbd/server/cluster.h"
#include "image/rbd/server/failure.h"
#include "image/rbd/server/operations.h"
#include "image/rbd/server/patience.h"
#include "image/rbd/server/reply.h"
#include "image/rbd/server/source.h"

#define EXIT_USAGE 2
/* How long an operation may go on after novasnapd has closed its end. */
#define CLOSING_S 10

static const struct {
	const char *name;
	server_operation_fn run;
	bool patient; /* it may wait for the lock of a dead client */
} operations[] = {
	{"connect", cluster_connect, false},
	{"info", operation_info, false},
	{"snap_create", operation_snap_create, false},
	{"snap_protect", operation_snap_protect, false},
	{"snap_remove", operation_snap_remove, true},
	{"clone", operation_clone, false},
	{"flatten", operation_flatten, false},
	{"remove_copy", operation_remove_copy, true},
	{"source", server_source_open, false},
	{"extents", server_source_extents, false},
};

/* A thread: notices that novasnapd has closed its end, also during an operation. */
static void *watch_socket(void *opaque)
{
	struct server *server = opaque;
	struct pollfd fd = {.fd = server->fd, .events = POLLRDHUP};

	while (poll(&fd, 1, -1) < 0 && errno == EINTR)
		;
	atomic_store(&server->closing, 1);
	(void)sleep(CLOSING_S);
	_exit(0);
}

static void send_error(struct server *server, const GError *error)
{
	cJSON *json = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(json, "error", error->message);
	(void)cJSON_AddNumberToObject(json, "code", error->code);
	reply_send(server, json, NULL, 0);
}

static int run_operation(struct server *server, const char *name, const cJSON *request,
			 GError **error)
{
	struct patience *patience;
	cJSON *answer;
	int rc;

	for (size_t i = 0; i < G_N_ELEMENTS(operations); i++) {
		if (g_strcmp0(operations[i].name, name) != 0)
			continue;
		answer = cJSON_CreateObject();
		patience = operations[i].patient ? patience_begin(server) : NULL;
		rc = operations[i].run(server, request, answer, error);
		if (patience)
			patience_end(patience);
		if (rc == 0)
			reply_send(server, answer, NULL, 0);
		else
			cJSON_Delete(answer);
		return rc;
	}
	return failure_set_request(error);
}

static void handle_request(struct server *server, const cJSON *request)
{
	const char *name = rbd_frame_string(request, "op");
	g_autoptr(GError) error = NULL;
	int rc;

	if (g_strcmp0(name, "read") == 0)
		rc = server_source_read(server, request, &error);
	else
		rc = run_operation(server, name, request, &error);
	if (rc < 0)
		send_error(server, error);
}

/* Returns whether all bytes have arrived. */
static bool receive(int fd, void *buffer, size_t length)
{
	return recv(fd, buffer, length, MSG_WAITALL) == (ssize_t)length;
}

/* Returns the next request, which the caller frees; NULL at the end, or if it is not valid. */
static cJSON *receive_request(struct server *server)
{
	uint8_t head[RBD_FRAME_HEAD_SIZE];
	struct rbd_frame_lengths lengths;
	g_autofree char *text = NULL;

	if (!receive(server->fd, head, sizeof(head)) || !rbd_frame_read_head(head, &lengths) ||
	    lengths.data > 0)
		return NULL;
	text = g_malloc(lengths.json);
	return receive(server->fd, text, lengths.json) ? rbd_frame_read_json(text, lengths.json)
						       : NULL;
}

static void serve(struct server *server)
{
	for (;;) {
		struct pollfd fds[] = {{.fd = server->fd, .events = POLLIN},
				       {.fd = server_source_fd(server), .events = POLLIN}};
		cJSON *request;

		if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
			return;
		if (fds[1].revents)
			server_source_send(server);
		if (!fds[0].revents)
			continue;
		request = receive_request(server);
		if (!request)
			return;
		handle_request(server, request);
		cJSON_Delete(request);
	}
}

static void send_hello(struct server *server)
{
	cJSON *hello = cJSON_CreateObject();

	(void)cJSON_AddNumberToObject(hello, "protocol", RBD_PROTOCOL);
	reply_send(server, hello, NULL, 0);
}

static void print_help(void)
{
	(void)printf(
		"Usage:\n"
		"  novasnap-rbd\n"
		"\n"
		"Only novasnapd runs this program, for each snapshot of a disk in Ceph. Its "
		"standard "
		"input is a socket\n"
		"to novasnapd. It is the only program of novasnap that loads Ceph's libraries.\n"
		"\n"
		"Options:\n"
		"  -h, --help                 Print this help\n"
		"  --version                  Print the version\n"
		"\n"
		"Exit status:\n"
		"  0  novasnapd has closed the connection\n"
		"  1  no thread can be started\n"
		"  2  wrong argument, or the standard input is no socket\n");
}

int main(int argc, char **argv)
{
	struct server server = {.fd = STDIN_FILENO, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct stat status;
	pthread_t watcher;

	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		(void)printf("novasnap-rbd %s\n", NOVASNAP_VERSION);
		return 0;
	}
	if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
		print_help();
		return 0;
	}
	if (argc != 1 || fstat(server.fd, &status) < 0 || !S_ISSOCK(status.st_mode)) {
		(void)fprintf(stderr, "novasnap-rbd: only novasnapd runs this program\n");
		return EXIT_USAGE;
	}
	send_hello(&server);
	if (pthread_create(&watcher, NULL, watch_socket, &server) != 0) {
		(void)fprintf(stderr, "novasnap-rbd: cannot start a thread\n");
		return 1;
	}
	serve(&server);
	server_source_close(&server);
	cluster_disconnect(&server);
	/* Without the destructors of Ceph's libraries, whose threads may still run. */
	_exit(0);
}
