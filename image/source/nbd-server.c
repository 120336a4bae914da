/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program that serves a disk over NBD.
 */
#include "image/source/nbd-server.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/limits.h"
#include "image/source.h"

#define TERMINATE_TIMEOUT_MS 5000
#define KILL_TIMEOUT_MS 2000
#define ERROR_TEXT_TIMEOUT_MS 500
#define POLL_INTERVAL_MS 20
#define ACTIVATED_FD 3 /* SD_LISTEN_FDS_START */
#define PID_DIGITS 10
#define EXIT_NOT_STARTED 127

struct nbd_server {
	pid_t pid;
	int pidfd;    /* -1: not supported by the kernel */
	int error_fd; /* the read end of its standard error */
};

/* The data for the child process. It is prepared before the fork, because the child must not
 * allocate memory. */
struct launch {
	char *const *argv;
	char *program; /* its path */
	char **environment;
	char *pid_digits; /* the value of LISTEN_PID in `environment` */
	pid_t parent;
	int listener;
	int error_fd;
};

static int set_errno_error(GError **error, const char *action, const char *object)
{
	int saved = errno;

	g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED, "%s %s: %s", action,
		    object, g_strerror(saved));
	return -1;
}

/* Creates a listening socket, connects to it, and unlinks it, so that no other program can connect.
 * The caller closes both descriptors if they are not -1, also after an error. */
static int make_connection(const char *path, int *ret_listener, int *ret_client, GError **error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct sockaddr *name = (const struct sockaddr *)&address;
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = 0;

	*ret_listener = listener;
	*ret_client = client;
	if (g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) >=
	    sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return set_errno_error(error, "creating the socket", path);
	}
	if (listener < 0 || client < 0 || bind(listener, name, sizeof(address)) < 0)
		return set_errno_error(error, "creating the socket", path);
	if (listen(listener, 1) < 0 || connect(client, name, sizeof(address)) < 0)
		rc = set_errno_error(error, "connecting to the socket", path);
	(void)g_unlink(path);
	return rc;
}

/* Runs in the child process: calls only functions that are safe between fork and exec. */
static G_NORETURN void run_child(const struct launch *launch)
{
	static const char failure[] = "it cannot be executed";
	sigset_t no_signals;
	char digits[PID_DIGITS];
	int count = 0;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The parent may have ended before prctl(). */
	if (getppid() != launch->parent)
		_exit(EXIT_NOT_STARTED);
	for (pid_t pid = getpid(); pid > 0 && count < PID_DIGITS; pid /= 10)
		digits[count++] = (char)('0' + pid % 10);
	for (int i = 0; i < count; i++)
		launch->pid_digits[i] = digits[count - 1 - i];
	launch->pid_digits[count] = '\0';
	(void)sigemptyset(&no_signals);
	(void)sigprocmask(SIG_SETMASK, &no_signals, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (dup2(launch->error_fd, STDERR_FILENO) >= 0 &&
	    (launch->listener == ACTIVATED_FD ? fcntl(ACTIVATED_FD, F_SETFD, 0)
					      : dup2(launch->listener, ACTIVATED_FD)) >= 0)
		(void)execve(launch->program, launch->argv, launch->environment);
	(void)!write(STDERR_FILENO, failure, strlen(failure));
	_exit(EXIT_NOT_STARTED);
}

/* Otherwise qemu-nbd's malloc returns the buffer of each read to the kernel, which clears it again
 * for the next one: a third of its CPU time. */
#define MALLOC_TUNABLES "glibc.malloc.mmap_threshold=4194304:glibc.malloc.trim_threshold=33554432"

/* The environment for sd_listen_fds(3), with space for the process id, which the child fills in. */
static void prepare_environment(struct launch *launch)
{
	char *listen_pid = g_strdup("LISTEN_PID=0000000000");
	char **environment = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);
	guint count;

	environment = g_environ_setenv(environment, "GLIBC_TUNABLES", MALLOC_TUNABLES, FALSE);
	environment = g_environ_setenv(environment, "LISTEN_FDS", "1", TRUE);
	environment = g_environ_unsetenv(environment, "LISTEN_FDNAMES");
	environment = g_environ_unsetenv(environment, "LISTEN_PID");
	count = g_strv_length(environment);
	environment = g_renew(char *, environment, count + 2);
	environment[count] = listen_pid;
	environment[count + 1] = NULL;
	launch->environment = environment;
	launch->pid_digits = listen_pid + strlen("LISTEN_PID=");
}

static pid_t start_process(struct launch *launch, GError **error)
{
	pid_t pid;

	prepare_environment(launch);
	launch->parent = getpid();
	pid = fork();
	if (pid == 0)
		run_child(launch);
	if (pid < 0)
		(void)set_errno_error(error, "starting", launch->argv[0]);
	g_strfreev(launch->environment);
	return pid;
}

static struct nbd_server *start_nbd_program(const char *const *argv, int listener, GError **error)
{
	g_autofree char *program = g_find_program_in_path(argv[0]);
	struct launch launch = {
		.argv = (char *const *)argv, .program = program, .listener = listener};
	struct nbd_server *server;
	int error_pipe[2];
	pid_t pid;

	if (!program) {
		g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
			    "the program %s was not found: install qemu-utils", argv[0]);
		return NULL;
	}
	/* Non-blocking, so that the server never waits for its messages to be read. */
	if (pipe2(error_pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		(void)set_errno_error(error, "creating a pipe for", argv[0]);
		return NULL;
	}
	launch.error_fd = error_pipe[1];
	pid = start_process(&launch, error);
	(void)close(error_pipe[1]);
	if (pid < 0) {
		(void)close(error_pipe[0]);
		return NULL;
	}
	server = g_new0(struct nbd_server, 1);
	server->pid = pid;
	server->pidfd = pidfd_open(pid, 0);
	server->error_fd = error_pipe[0];
	return server;
}

struct nbd_server *nbd_server_start(const char *const *argv, const char *socket_path,
				    int *ret_client, GError **error)
{
	struct nbd_server *server = NULL;
	int listener, client;

	if (make_connection(socket_path, &listener, &client, error) == 0)
		server = start_nbd_program(argv, listener, error);
	if (listener >= 0)
		(void)close(listener);
	if (!server && client >= 0)
		(void)close(client);
	*ret_client = server ? client : -1;
	return server;
}

/* Returns whether the server has exited within the time. */
static bool wait_for_server_exit(const struct nbd_server *server, int timeout_ms)
{
	struct pollfd fd = {.fd = server->pidfd, .events = POLLIN};
	gint64 until_us = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
	gint64 left_ms = timeout_ms;
	pid_t ended;

	do {
		/* Without a pidfd, poll() does not notice the exit, so it waits in short
		 * intervals. */
		(void)poll(&fd, 1,
			   (int)(server->pidfd >= 0 ? left_ms : MIN(left_ms, POLL_INTERVAL_MS)));
		ended = waitpid(server->pid, NULL, WNOHANG);
		left_ms = (until_us - g_get_monotonic_time()) / 1000;
	} while (ended == 0 && left_ms > 0);
	return ended != 0;
}

char *nbd_server_error_text(struct nbd_server *server)
{
	char text[IMAGE_FOREIGN_TEXT_MAX + 1];
	ssize_t got;

	/* A failing server writes its message before it exits. */
	(void)poll(&(struct pollfd){.fd = server->pidfd, .events = POLLIN}, 1,
		   ERROR_TEXT_TIMEOUT_MS);
	got = read(server->error_fd, text, IMAGE_FOREIGN_TEXT_MAX);
	text[MAX(got, 0)] = '\0';
	g_strstrip(g_strdelimit(text, "\r\n", ' '));
	return g_utf8_make_valid(text, -1);
}

void nbd_server_kill(const struct nbd_server *server)
{
	(void)kill(server->pid, SIGKILL);
}

void nbd_server_stop(struct nbd_server *server)
{
	if (!server)
		return;
	(void)kill(server->pid, SIGTERM);
	if (!wait_for_server_exit(server, TERMINATE_TIMEOUT_MS)) {
		g_warning("the NBD server of a disk (pid %d) did not end within %d s of SIGTERM; "
			  "sending SIGKILL",
			  (int)server->pid, TERMINATE_TIMEOUT_MS / 1000);
		(void)kill(server->pid, SIGKILL);
		if (!wait_for_server_exit(server, KILL_TIMEOUT_MS))
			g_warning("the NBD server of a disk (pid %d) did not end within %d s of "
				  "SIGKILL; check this process",
				  (int)server->pid, KILL_TIMEOUT_MS / 1000);
	}
	if (server->pidfd >= 0)
		(void)close(server->pidfd);
	(void)close(server->error_fd);
	g_free(server);
}
