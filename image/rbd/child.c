/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process of novasnap-rbd.
 */
#include "image/rbd/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/limits.h"
#include "image/rbd.h"

#define KILL_TIMEOUT_MS 5000
#define ERROR_TEXT_TIMEOUT_MS 200
#define POLL_INTERVAL_MS 20
#define EXIT_NOT_STARTED 127
/* How much of what the program writes to standard error is read. */
#define ERROR_BYTES_MAX 65536

struct rbd_child {
	GPid pid;
	int pidfd;    /* -1: not supported by the kernel */
	int error_fd; /* the read end of its standard error */
};

/* In the child. */
static void die_with_parent(gpointer opaque)
{
	const pid_t *parent = opaque;
	sigset_t no_signals;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The parent may have ended before prctl(). */
	if (getppid() != *parent)
		_exit(EXIT_NOT_STARTED);
	(void)sigemptyset(&no_signals);
	(void)sigprocmask(SIG_SETMASK, &no_signals, NULL);
}

static void set_start_error(GError **error, const char *program, const char *reason)
{
	g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_NO_PROGRAM,
		    "starting %s: %s; install the package novasnap-rbd, which images in Ceph need",
		    program, reason);
}

static struct rbd_child *spawn(const char *path, int input_fd, int error_fd, GError **error)
{
	g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);
	const char *const argv[] = {path, NULL};
	g_autoptr(GError) local = NULL;
	pid_t parent = getpid();
	struct rbd_child *child;
	GPid pid;

	if (!g_spawn_async_with_pipes_and_fds(NULL, argv, (const gchar *const *)environment,
					      G_SPAWN_DO_NOT_REAP_CHILD |
						      G_SPAWN_STDOUT_TO_DEV_NULL,
					      die_with_parent, &parent, input_fd, -1, error_fd,
					      NULL, NULL, 0, &pid, NULL, NULL, NULL, &local)) {
		set_start_error(error, path, local->message);
		return NULL;
	}
	child = g_new0(struct rbd_child, 1);
	child->pid = pid;
	child->pidfd = pidfd_open(pid, 0);
	return child;
}

struct rbd_child *rbd_child_start(const char *program, int *ret_socket, GError **error)
{
	g_autofree char *path = g_find_program_in_path(program);
	int sockets[2] = {-1, -1}, pipes[2] = {-1, -1};
	struct rbd_child *child = NULL;

	*ret_socket = -1;
	if (!path) {
		set_start_error(error, program, "it is not installed");
		return NULL;
	}
	/* The write end of the pipe does not block either: the program never waits for its messages
	 * to be read. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0 ||
	    fcntl(sockets[0], F_SETFL, O_NONBLOCK) < 0 || pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
		set_start_error(error, path, g_strerror(errno));
	else
		child = spawn(path, sockets[1], pipes[1], error);
	if (sockets[1] >= 0)
		(void)close(sockets[1]);
	if (pipes[1] >= 0)
		(void)close(pipes[1]);
	if (child) {
		*ret_socket = sockets[0];
		child->error_fd = pipes[0];
		return child;
	}
	if (sockets[0] >= 0)
		(void)close(sockets[0]);
	if (pipes[0] >= 0)
		(void)close(pipes[0]);
	return NULL;
}

/* Returns whether the program has ended within the time. */
static bool wait_for_end(const struct rbd_child *child, unsigned timeout_ms)
{
	struct pollfd fd = {.fd = child->pidfd, .events = POLLIN};
	gint64 until_us = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
	gint64 left_ms = timeout_ms;
	pid_t ended;

	do {
		/* Without a pidfd, poll() does not notice the end, so it waits in short
		 * intervals. */
		(void)poll(&fd, 1,
			   (int)(child->pidfd >= 0 ? left_ms : MIN(left_ms, POLL_INTERVAL_MS)));
		ended = waitpid(child->pid, NULL, WNOHANG);
		left_ms = (until_us - g_get_monotonic_time()) / 1000;
	} while (ended == 0 && left_ms > 0);
	return ended != 0;
}

char *rbd_child_error_text(struct rbd_child *child)
{
	g_autofree char *text = g_malloc(ERROR_BYTES_MAX + 1);
	size_t length = 0;
	ssize_t got;

	/* A failing program writes its message before it ends. */
	(void)poll(&(struct pollfd){.fd = child->pidfd, .events = POLLIN}, 1,
		   ERROR_TEXT_TIMEOUT_MS);
	do {
		got = read(child->error_fd, text + length, ERROR_BYTES_MAX - length);
		length += (size_t)MAX(got, 0);
	} while (got > 0 && length < ERROR_BYTES_MAX);
	text[length] = '\0';
	g_strstrip(g_strdelimit(text, "\r\n", ' '));
	length = strlen(text);
	/* The end tells most: librados writes warnings before its error. */
	return g_utf8_make_valid(
		text + (length > IMAGE_FOREIGN_TEXT_MAX ? length - IMAGE_FOREIGN_TEXT_MAX : 0), -1);
}

void rbd_child_end(struct rbd_child *child, unsigned wait_ms)
{
	if (!child)
		return;
	if (!wait_for_end(child, wait_ms)) {
		(void)kill(child->pid, SIGKILL);
		if (!wait_for_end(child, KILL_TIMEOUT_MS))
			g_warning("novasnap-rbd (pid %d) did not end within %d s of SIGKILL; check "
				  "this process",
				  (int)child->pid, KILL_TIMEOUT_MS / 1000);
	}
	if (child->pidfd >= 0)
		(void)close(child->pidfd);
	(void)close(child->error_fd);
	g_free(child);
}
