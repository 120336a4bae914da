/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watchdog of a frozen guest: the main function of the process novasnap-thaw, which novasnapd
 * starts before it freezes a guest (thaw-process.h). It connects to libvirt before the guest is
 * frozen. Its standard input is a pipe from novasnapd, which ends when novasnapd dies.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "virt/domain/guest-agent.h"
#include "virt/domain/thaw-process.h"

/* How often a thaw that the agent refuses is repeated. */
#define REFUSED_MAX 20
/* Pauses between two thaws: the first is the shortest, and each further one is twice as long. */
#define PAUSE_MIN_S 3
#define PAUSE_MAX_S 12
/* How long a guest is thawed that is paused, or whose agent or libvirt does not answer. */
#define THAWING_S (24 * 3600)
/* A call that has no limit ends with the process, so long after that. */
#define LAST_RESORT_S 600
#define CONNECT_TIMEOUT_S 10
/* Longer than libvirt waits for another job of the guest. */
#define CALL_TIMEOUT_S 60

static void send_message(const char *message)
{
	if (write(STDOUT_FILENO, message, strlen(message)) < 0)
		g_debug("novasnapd no longer reads the pipe: cannot send \"%s\"", message);
}

static gint64 deadline_in(gint64 seconds)
{
	return g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
}

/* Only one watchdog of a guest may exist: an older one that is still thawing would also thaw a new
 * freeze. The name of the socket exists as long as the process. Returns the socket, or -1: if
 * there is another watchdog, novasnapd is told. */
static int claim_guest(const char *uuid)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int length = g_snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
				"novasnap-thaw/%s", uuid);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 &&
	    bind(fd, (const struct sockaddr *)&address,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) == 0)
		return fd;
	if (errno == EADDRINUSE)
		send_message(THAW_MESSAGE_BUSY);
	else
		g_warning("guest %s: cannot bind the socket that excludes a second watchdog: %s",
			  uuid, g_strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

/* Reads what novasnapd has sent. Returns false when the pipe has ended. */
static bool read_messages(GString *received)
{
	char text[64];
	ssize_t got = read(STDIN_FILENO, text, sizeof(text));

	if (got < 0)
		return errno == EINTR;
	g_string_append_len(received, text, got);
	return got > 0;
}

/* True when novasnapd has thawed the guest; false when the time is over or novasnapd has died. The
 * time counts from when the guest is frozen, which may take as long as the agent is waited for. */
static bool wait_until_thawed(unsigned limit_s, unsigned agent_timeout_s)
{
	gint64 until = deadline_in((gint64)limit_s + agent_timeout_s + CALL_TIMEOUT_S);
	struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
	g_autoptr(GString) received = g_string_new(NULL);
	bool is_frozen = false;

	for (;;) {
		gint64 left_ms = (until - g_get_monotonic_time()) / 1000;
		int ready = left_ms > 0 ? poll(&fd, 1, (int)MIN(left_ms + 1, G_MAXINT)) : 0;

		if (ready < 0)
			continue;
		if (ready == 0)
			return false;
		if (!read_messages(received))
			return strstr(received->str, THAW_MESSAGE_DONE) != NULL;
		if (strstr(received->str, THAW_MESSAGE_DONE))
			return true;
		if (!is_frozen && strstr(received->str, THAW_MESSAGE_FROZEN)) {
			is_frozen = true;
			until = deadline_in(limit_s);
		}
	}
}

/* Logs a failure if it is not the previous one. */
static void log_failure(const char *uuid, const GError *error, char **last)
{
	if (g_strcmp0(error->message, *last) == 0)
		return;
	g_warning("guest %s: %s; retrying", uuid, error->message);
	g_free(*last);
	*last = g_strdup(error->message);
}

/* Tries until the guest is thawed or off. libvirtd may be restarting, the guest may be paused, and
 * its agent may be slow: that does not use up the tries. */
static enum agent_thaw thaw_guest(struct guest *guest)
{
	gint64 until = deadline_in(THAWING_S);
	gulong pause_s = PAUSE_MIN_S;
	unsigned refused = 0;
	g_autofree char *last = NULL;

	for (;;) {
		g_autoptr(GError) error = NULL;
		enum agent_thaw result = guest_agent_thaw(guest, &error);

		if (result == AGENT_THAWED || result == AGENT_THAW_OFF)
			return result;
		if (result == AGENT_THAW_REFUSED)
			refused++;
		if (refused == REFUSED_MAX || g_get_monotonic_time() > until) {
			g_warning("guest %s: %s; giving up. Its filesystems may be frozen: try "
				  "virsh domfsthaw %s",
				  guest->uuid, error->message, guest->uuid);
			return result;
		}
		log_failure(guest->uuid, error, &last);
		g_usleep(pause_s * G_USEC_PER_SEC);
		pause_s = MIN(2 * pause_s, PAUSE_MAX_S);
	}
}

static int run_watchdog(struct guest *guest, unsigned limit_s)
{
	g_autoptr(GError) error = NULL;

	if (guest_connect(guest, &error) < 0) {
		g_warning("guest %s: %s", guest->uuid, error->message);
		return EXIT_FAILURE;
	}
	send_message(THAW_MESSAGE_READY);
	if (wait_until_thawed(limit_s, guest->host->config->agent_timeout_s))
		return EXIT_SUCCESS;
	g_warning("guest %s: novasnapd did not thaw the guest in time: the watchdog thaws it",
		  guest->uuid);
	switch (thaw_guest(guest)) {
	case AGENT_THAWED:
		send_message(THAW_MESSAGE_THAWED);
		return EXIT_SUCCESS;
	case AGENT_THAW_OFF:
		return EXIT_SUCCESS;
	case AGENT_THAW_PAUSED:
	case AGENT_THAW_REFUSED:
	case AGENT_THAW_UNANSWERED:
	default:
		return EXIT_FAILURE;
	}
}

int virt_thaw_watch(const char *uri, const char *uuid, unsigned limit_s, unsigned agent_timeout_s)
{
	const struct virt_config config = {
		.connection_uri = uri,
		.connect_timeout_s = CONNECT_TIMEOUT_S,
		.call_timeout_s = CALL_TIMEOUT_S,
		.save_timeout_s = CALL_TIMEOUT_S,
		.agent_timeout_s = agent_timeout_s,
	};
	struct virt_host host = {.config = &config};
	g_autoptr(GError) error = NULL;
	struct guest guest;
	int claim, status;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	claim = claim_guest(uuid);
	if (claim < 0)
		return EXIT_FAILURE;
	(void)alarm(limit_s + agent_timeout_s + THAWING_S + LAST_RESORT_S);
	/* Without the limits the watchdog still works, but a call may hang until the alarm. */
	if (call_timeouts_start(&config, &error) < 0)
		g_warning("%s", error->message);
	guest_init(&guest, &host, uuid);
	status = run_watchdog(&guest, limit_s);
	guest_close(&guest);
	call_timeouts_stop();
	(void)close(claim);
	return status;
}
