/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnapd's side of the watchdog of a frozen guest.
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

/* Reads what the watchdog sends within the time. Returns false if nothing more came. */
static bool read_messages(struct thaw_process *process, gint64 until)
{
	struct pollfd fd = {.fd = process->from, .events = POLLIN};
	char text[64];
	ssize_t got;
	int ready;

	do {
		gint64 left_ms = (until - g_get_monotonic_time()) / 1000;

		ready = poll(&fd, 1, (int)MAX(left_ms, 0));
	} while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return false;
	got = read(process->from, text, sizeof(text));
	g_string_append_len(process->received, text, MAX(got, 0));
	return got > 0;
}

static bool has_sent(const struct thaw_process *process, const char *message)
{
	return strstr(process->received->str, message) != NULL;
}

static void free_process(struct thaw_process *process)
{
	g_string_free(process->received, TRUE);
	g_free(process);
}

bool thaw_process_has_thawed(struct thaw_process *process)
{
	while (read_messages(process, 0))
		;
	return has_sent(process, THAW_MESSAGE_THAWED);
}

static void send_message(struct thaw_process *process, const char *message)
{
	if (write(process->to, message, strlen(message)) < 0)
		g_info("the watchdog process of a frozen guest has exited: %s", g_strerror(errno));
}

void thaw_process_note_frozen(struct thaw_process *process)
{
	send_message(process, THAW_MESSAGE_FROZEN);
}

static bool wait_until_ready(struct thaw_process *process)
{
	gint64 until = g_get_monotonic_time() + READY_TIMEOUT_MS * (gint64)1000;

	while (!has_sent(process, THAW_MESSAGE_READY) && read_messages(process, until))
		;
	return has_sent(process, THAW_MESSAGE_READY);
}

struct thaw_process *thaw_process_start(const struct virt_config *config, const char *uuid,
					unsigned limit_s, GError **error)
{
	g_autofree char *limit = g_strdup_printf("%u", limit_s);
	g_autofree char *agent_timeout = g_strdup_printf("%u", config->agent_timeout_s);
	g_autoptr(GError) local = NULL;
	struct thaw_process *process = g_new0(struct thaw_process, 1);
	char *argv[] = {(char *)config->thaw_program,
			(char *)config->connection_uri,
			(char *)uuid,
			limit,
			agent_timeout,
			NULL};

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
	if (wait_until_ready(process))
		return process;
	if (has_sent(process, THAW_MESSAGE_BUSY))
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_BUSY,
				    "the guest\'s filesystems are not frozen, because an earlier "
				    "freeze of them has not been ended yet: novasnap-thaw is still "
				    "trying to thaw them");
	else
		g_set_error(
			error, VIRT_ERROR, VIRT_ERROR_FREEZE,
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
	send_message(process, THAW_MESSAGE_DONE);
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
