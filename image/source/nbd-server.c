/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program that serves a disk to us alone (qemu-nbd), by systemd's socket activation. libnbd can
 * start one too, but then it outlives us when we are killed before it has its client, and leaves
 * its socket in the system's temporary folder. Ours ends with the thread that started it.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/internal.h"

#define END_MS 5000
#define KILL_MS 2000
#define WORDS_MS 500
#define LOOK_MS 20
#define ACTIVATED_FD 3 /* SD_LISTEN_FDS_START */
#define PID_DIGITS 10

struct nbd_server {
	pid_t pid;
	int pidfd;
	int words; /* its standard error */
};

/* All that the child needs, made before it is. */
struct launch {
	char *const *argv;
	char *program; /* its path */
	char **environment;
	char *pid_digits; /* of LISTEN_PID, in the environment */
	pid_t parent;
	int listener;
	int words;
};

static int fail(GError **error, const char *what, const char *on, int code)
{
	g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED, "%s %s: %s", what, on,
		    g_strerror(code));
	return -1;
}

/* Listens at the socket, connects to it, and removes it: nobody else ever can. -1 with an error. */
static int make_ends(const char *path, int *ret_listener, int *ret_client, GError **error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct sockaddr *name = (const struct sockaddr *)&address;
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = 0;

	*ret_listener = listener;
	*ret_client = client;
	if (g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) >= sizeof(address.sun_path))
		return fail(error, "making the socket", path, ENAMETOOLONG);
	if (listener < 0 || client < 0 || bind(listener, name, sizeof(address)) < 0)
		return fail(error, "making the socket", path, errno);
	if (listen(listener, 1) < 0 || connect(client, name, sizeof(address)) < 0)
		rc = fail(error, "connecting to the socket", path, errno);
	(void)g_unlink(path);
	return rc;
}

/* Only what may be called between fork and exec. */
static G_NORETURN void run_child(const struct launch *launch)
{
	static const char cannot[] = "it cannot be run";
	sigset_t none;
	char digits[PID_DIGITS];
	int count = 0;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != launch->parent)
		_exit(127);
	for (pid_t pid = getpid(); pid > 0 && count < PID_DIGITS; pid /= 10)
		digits[count++] = (char)('0' + pid % 10);
	for (int i = 0; i < count; i++)
		launch->pid_digits[i] = digits[count - 1 - i];
	launch->pid_digits[count] = '\0';
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (dup2(launch->words, STDERR_FILENO) >= 0 &&
	    (launch->listener == ACTIVATED_FD ? fcntl(ACTIVATED_FD, F_SETFD, 0)
					      : dup2(launch->listener, ACTIVATED_FD)) >= 0)
		(void)execve(launch->program, launch->argv, launch->environment);
	(void)!write(STDERR_FILENO, cannot, strlen(cannot));
	_exit(127);
}

static pid_t launch(struct launch *launch, GError **error)
{
	char *digits = g_strdup("LISTEN_PID=0000000000");
	char **environment = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);
	guint count;
	pid_t pid;

	environment = g_environ_setenv(environment, "LISTEN_FDS", "1", TRUE);
	environment = g_environ_unsetenv(environment, "LISTEN_FDNAMES");
	environment = g_environ_unsetenv(environment, "LISTEN_PID");
	count = g_strv_length(environment);
	environment = g_renew(char *, environment, count + 2);
	environment[count] = digits;
	environment[count + 1] = NULL;
	launch->environment = environment;
	launch->pid_digits = digits + strlen("LISTEN_PID=");
	launch->parent = getpid();
	pid = fork();
	if (pid == 0)
		run_child(launch);
	if (pid < 0)
		(void)fail(error, "starting", launch->argv[0], errno);
	g_strfreev(environment);
	return pid;
}

static struct nbd_server *start(const char *const *argv, int listener, GError **error)
{
	g_autofree char *program = g_find_program_in_path(argv[0]);
	struct launch what = {
		.argv = (char *const *)argv, .program = program, .listener = listener};
	struct nbd_server *server;
	int words[2];
	pid_t pid;

	if (!program) {
		g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
			    "there is no %s: install qemu-utils", argv[0]);
		return NULL;
	}
	/* It must not wait for us to read its words. */
	if (pipe2(words, O_CLOEXEC | O_NONBLOCK) < 0) {
		(void)fail(error, "making a pipe for", argv[0], errno);
		return NULL;
	}
	what.words = words[1];
	pid = launch(&what, error);
	(void)close(words[1]);
	if (pid < 0) {
		(void)close(words[0]);
		return NULL;
	}
	server = g_new0(struct nbd_server, 1);
	server->pid = pid;
	server->pidfd = pidfd_open(pid, 0);
	server->words = words[0];
	return server;
}

struct nbd_server *nbd_server_start(const char *const *argv, const char *socket, int *ret_client,
				    GError **error)
{
	struct nbd_server *server = NULL;
	int listener, client;

	if (make_ends(socket, &listener, &client, error) == 0)
		server = start(argv, listener, error);
	if (listener >= 0)
		(void)close(listener);
	if (!server && client >= 0)
		(void)close(client);
	*ret_client = server ? client : -1;
	return server;
}

/* Until it has ended, which is its parent's to wait for. */
static bool wait_end(const struct nbd_server *server, int timeout_ms)
{
	struct pollfd fd = {.fd = server->pidfd, .events = POLLIN};
	gint64 until = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
	gint64 left = timeout_ms;
	pid_t ended;

	do {
		/* Of a kernel without pidfds nobody tells. */
		(void)poll(&fd, 1, (int)(server->pidfd >= 0 ? left : MIN(left, LOOK_MS)));
		ended = waitpid(server->pid, NULL, WNOHANG);
		left = (until - g_get_monotonic_time()) / 1000;
	} while (ended == 0 && left > 0);
	return ended != 0;
}

char *nbd_server_words(struct nbd_server *server)
{
	char words[WORDS_MAX + 1];
	ssize_t got;

	/* One that goes on has nothing to say of why it failed. */
	(void)poll(&(struct pollfd){.fd = server->pidfd, .events = POLLIN}, 1, WORDS_MS);
	got = read(server->words, words, WORDS_MAX);
	words[MAX(got, 0)] = '\0';
	g_strstrip(g_strdelimit(words, "\r\n", ' '));
	return g_utf8_make_valid(words, -1);
}

void nbd_server_end(struct nbd_server *server)
{
	if (!server)
		return;
	(void)kill(server->pid, SIGTERM);
	if (!wait_end(server, END_MS)) {
		g_warning("the program that serves a disk (pid %d) did not end in %d s: it is "
			  "killed",
			  (int)server->pid, END_MS / 1000);
		(void)kill(server->pid, SIGKILL);
		if (!wait_end(server, KILL_MS))
			g_warning("the program that serves a disk (pid %d) cannot be ended: it is "
				  "left to itself",
				  (int)server->pid);
	}
	if (server->pidfd >= 0)
		(void)close(server->pidfd);
	(void)close(server->words);
	g_free(server);
}
