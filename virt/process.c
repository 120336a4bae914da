/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running qemu-img: bounded in time, killed when it is to be cancelled, reaped in every case.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virt/internal.h"

#define SLICE_MS 250
#define OUTPUT_MAX ((size_t)4 * 1024 * 1024)
#define WORDS_MAX ((size_t)4096)

struct stream {
	int fd;
	GString *text;
	size_t most;
};

/* In the child. It dies with the thread that waits for it, so also when we are killed. */
static void child_setup(gpointer opaque)
{
	const pid_t *parent = opaque;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != *parent)
		_exit(127);
}

static void drain(struct stream *stream)
{
	char buffer[4096];
	ssize_t got = read(stream->fd, buffer, sizeof(buffer));

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0) {
		(void)close(stream->fd);
		stream->fd = -1;
		return;
	}
	if (stream->text->len < stream->most)
		g_string_append_len(stream->text, buffer,
				    (gssize)MIN((size_t)got, stream->most - stream->text->len));
}

/* Reads until both ends are closed. 0, or the error code for which it was killed. */
static int attend(GPid pid, struct stream *out, struct stream *err, unsigned timeout_s,
		  const atomic_int *cancel)
{
	gint64 deadline = g_get_monotonic_time() + (gint64)timeout_s * G_USEC_PER_SEC;
	int killed = 0;

	while (out->fd >= 0 || err->fd >= 0) {
		struct pollfd fds[2] = {{.fd = out->fd, .events = POLLIN},
					{.fd = err->fd, .events = POLLIN}};

		if (poll(fds, 2, SLICE_MS) > 0) {
			if (fds[0].revents)
				drain(out);
			if (fds[1].revents)
				drain(err);
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

static int reap(GPid pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	return status;
}

static int judge(const char *program, int status, int killed, const GString *words, GError **error)
{
	g_autofree char *said = g_utf8_make_valid(words->str, -1);

	g_strstrip(said);
	g_strdelimit(said, "\n", ' ');
	if (killed == VIRT_ERROR_CANCELLED)
		g_set_error(error, VIRT_ERROR, killed, "%s was cancelled", program);
	else if (killed == VIRT_ERROR_TIMEOUT)
		g_set_error(error, VIRT_ERROR, killed, "%s took too long and was ended", program);
	else if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	else if (WIFSIGNALED(status))
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS, "%s died of signal %d: %s",
			    program, WTERMSIG(status), said);
	else
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS, "%s failed (%d): %s", program,
			    WEXITSTATUS(status), *said ? said : "it does not say why");
	return -1;
}

int process_run(const char *const *argv, unsigned timeout_s, const atomic_int *cancel,
		char **ret_output, GError **error)
{
	g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);
	g_autoptr(GString) output = g_string_new(NULL);
	g_autoptr(GString) words = g_string_new(NULL);
	g_autofree char *name = g_strjoin(" ", argv[0], argv[1], NULL);
	g_autoptr(GError) local = NULL;
	struct stream out = {-1, output, OUTPUT_MAX}, err = {-1, words, WORDS_MAX};
	pid_t parent = getpid();
	int killed, status;
	GPid pid;

	if (!g_spawn_async_with_pipes(NULL, (char **)argv, environment,
				      G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH |
					      G_SPAWN_CLOEXEC_PIPES,
				      child_setup, &parent, &pid, NULL, &out.fd, &err.fd, &local)) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS, "cannot run %s: %s", argv[0],
			    local->message);
		return -1;
	}
	killed = attend(pid, &out, &err, timeout_s, cancel);
	status = reap(pid);
	if (judge(name, status, killed, words, error) < 0)
		return -1;
	if (ret_output)
		*ret_output = g_strdup(output->str);
	return 0;
}
