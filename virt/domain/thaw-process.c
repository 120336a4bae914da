/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnapd's side of the watchdog of a frozen guest. The watchdog sends "ready" when it is
 * connected to libvirt, and "thawed" when it has thawed the guest. novasnapd sends "done" when the
 * watchdog is no longer needed; the watchdog knows from the end of that pipe that novasnapd has
 * died.
 */
#include "virt/domain/thaw-process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_TIMEOUT_MS 15000
#define EXIT_TIMEOUT_US (5 * G_USEC_PER_SEC)
#define EXIT_POLL_US (G_USEC_PER_SEC / 100)
#define MESSAGE_DONE "done\n"

struct thaw_process {
	GPid pid;
	int to;		   /* the watchdog's standard input */
	int from;	   /* the watchdog's standard output */
	GString *received; /* what it has sent so far */
};

/* In the child: signals to novasnapd's process group must not reach the watchdog. */
static void leave_process_group(gpointer opaque)
{
	(void)opaque;
	(void)setsid();
}

/* Whether the watchdog has sent a message, or sends it within the time. */
static bool has_sent(struct thaw_process *process, const char *message, int timeout_ms)
{
	struct pollfd fd = {.fd = process->from, .events = POLLIN};
	char text[16];
	ssize_t got = 0;

	if (poll(&fd, 1, timeout_ms) > 0)
		got = read(process->from, text, sizeof(text));
	g_string_append_len(process->received, text, MAX(got, 0));
	return strstr(process->received->str, message) != NULL;
}

static void free_process(struct thaw_process *process)
{
	g_string_free(process->received, TRUE);
	g_free(process);
}

bool thaw_process_has_thawed(struct thaw_process *process)
{
	return has_sent(process, "thawed", 0);
}

struct thaw_process *thaw_process_start(const struct virt_config *config, const char *uuid,
					unsigned limit_s, GError **error)
{
	g_autofree char *limit = g_strdup_printf("%u", limit_s);
	g_autoptr(GError) local = NULL;
	struct thaw_process *process = g_new0(struct thaw_process, 1);
	char *argv[] = {(char *)config->thaw_program, (char *)config->connection_uri, (char *)uuid,
			limit, NULL};

	process->received = g_string_new(NULL);
	if (!g_spawn_async_with_pipes(NULL, argv, NULL,
				      G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CLOEXEC_PIPES,
				      leave_process_group, NULL, &process->pid, &process->to,
				      &process->from, NULL, &local)) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
			    "cannot start the watchdog process for the guest, so its filesystems "
			    "are not frozen: %s",
			    local->message);
		free_process(process);
		return NULL;
	}
	if (has_sent(process, "ready", READY_TIMEOUT_MS))
		return process;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
		    "the watchdog process for the guest (%s) was not ready within %d s, so the "
		    "guest's filesystems are not frozen",
		    config->thaw_program, READY_TIMEOUT_MS / 1000);
	thaw_process_dismiss(process);
	return NULL;
}

static void wait_for_watchdog_exit(const struct thaw_process *process)
{
	gint64 deadline = g_get_monotonic_time() + EXIT_TIMEOUT_US;
	pid_t got;

	while ((got = waitpid(process->pid, NULL, WNOHANG)) == 0 &&
	       g_get_monotonic_time() < deadline)
		g_usleep(EXIT_POLL_US);
	if (got != 0)
		return;
	(void)kill(process->pid, SIGKILL);
	while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void thaw_process_dismiss(struct thaw_process *process)
{
	if (write(process->to, MESSAGE_DONE, strlen(MESSAGE_DONE)) < 0)
		g_info("the watchdog process of a frozen guest has exited: %s", g_strerror(errno));
	(void)close(process->to);
	wait_for_watchdog_exit(process);
	(void)close(process->from);
	free_process(process);
}

GPid thaw_process_abandon(struct thaw_process *process)
{
	GPid pid = process->pid;

	(void)close(process->to);
	(void)close(process->from);
	free_process(process);
	return pid;
}
