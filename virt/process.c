/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a program until it ends: with a time limit, killed on cancellation, and always waited for.
 */
#include "virt/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virt/virt.h"

#define POLL_MS 250
#define MAX_OUTPUT_BYTES ((size_t)4 * 1024 * 1024)
#define MAX_ERRORS_BYTES ((size_t)4096)

struct output {
	int fd; /* -1: closed */
	GString *text;
	size_t max; /* bytes; further output is dropped */
};

/* In the child: it is killed when the thread that started it ends, so also when novasnapd is
 * killed. */
static void die_with_parent(gpointer opaque)
{
	const pid_t *parent = opaque;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != *parent)
		_exit(127);
}

static void read_output(struct output *output)
{
	char buffer[4096];
	ssize_t got = read(output->fd, buffer, sizeof(buffer));

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0) {
		(void)close(output->fd);
		output->fd = -1;
		return;
	}
	if (output->text->len < output->max)
		g_string_append_len(output->text, buffer,
				    (gssize)MIN((size_t)got, output->max - output->text->len));
}

/* Reads both outputs until they are closed. Returns 0, or the error code for which the program was
 * killed. */
static int read_until_closed(GPid pid, struct output *out, struct output *err, unsigned timeout_s,
			     const atomic_int *cancel)
{
	gint64 deadline = g_get_monotonic_time() + (gint64)timeout_s * G_USEC_PER_SEC;
	int killed = 0;

	while (out->fd >= 0 || err->fd >= 0) {
		struct pollfd fds[2] = {{.fd = out->fd, .events = POLLIN},
					{.fd = err->fd, .events = POLLIN}};

		if (poll(fds, 2, POLL_MS) > 0) {
			if (fds[0].revents)
				read_output(out);
			if (fds[1].revents)
				read_output(err);
		}
		if (killed)
			continue;
		if (cancel && atomic_load(cancel) != 0)
			killed = VIRT_ERROR_CANCELLED;
		else if (g_get_monotonic_time() > deadline)
			killed = VIRT_ERROR_TIMEOUT;
		if (killed)
			(void)kill(pid, SIGKILL);
	}
	return killed;
}

static int wait_for_exit(GPid pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	return status;
}

static int check_status(const char *program, int status, int killed, const GString *errors,
			GError **error)
{
	g_autofree char *text = g_utf8_make_valid(errors->str, -1);

	g_strstrip(text);
	g_strdelimit(text, "\n", ' ');
	if (killed == VIRT_ERROR_CANCELLED)
		g_set_error(error, VIRT_ERROR, killed, "%s: cancelled", program);
	else if (killed == VIRT_ERROR_TIMEOUT)
		g_set_error(error, VIRT_ERROR, killed,
			    "%s did not end within its time limit and was killed", program);
	else if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	else if (WIFSIGNALED(status))
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS, "%s was ended by signal %d: %s",
			    program, WTERMSIG(status), text);
	else
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS, "%s failed (%d): %s", program,
			    WEXITSTATUS(status), *text ? text : "no reason reported");
	return -1;
}

int process_run(const char *const *argv, unsigned timeout_s, const atomic_int *cancel,
		char **ret_output, GError **error)
{
	g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);
	g_autoptr(GString) output = g_string_new(NULL);
	g_autoptr(GString) errors = g_string_new(NULL);
	g_autofree char *name = g_strjoin(" ", argv[0], argv[1], NULL);
	g_autoptr(GError) local = NULL;
	struct output out = {-1, output, MAX_OUTPUT_BYTES}, err = {-1, errors, MAX_ERRORS_BYTES};
	pid_t parent = getpid();
	int killed, status;
	GPid pid;

	if (!g_spawn_async_with_pipes(
		    NULL, (char **)argv, environment,
		    G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH | G_SPAWN_CLOEXEC_PIPES,
		    die_with_parent, &parent, &pid, NULL, &out.fd, &err.fd, &local)) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS, "cannot run %s: %s", argv[0],
			    local->message);
		return -1;
	}
	killed = read_until_closed(pid, &out, &err, timeout_s, cancel);
	status = wait_for_exit(pid);
	if (check_status(name, status, killed, errors, error) < 0)
		return -1;
	if (ret_output)
		*ret_output = g_strdup(output->str);
	return 0;
}
