/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watchdog of a frozen guest: the main function of the process novasnap-thaw, which novasnapd
 * starts before it freezes a guest (thaw-process.h). It connects to libvirt before the guest is
 * frozen. Its standard input is a pipe from novasnapd, which ends when novasnapd dies.
 */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "virt/domain/guest-query.h"

#define THAW_TRIES 20
#define THAW_PAUSE_US (3 * G_USEC_PER_SEC)
/* The process ends at the latest this many seconds after the limit. */
#define LAST_RESORT_S 600
#define AGENT_TIMEOUT_S 10
#define CONNECT_TIMEOUT_S 10
/* Longer than libvirt waits for another job of the guest and then for its agent. */
#define CALL_TIMEOUT_S 60

static void send_message(const char *message)
{
	if (write(STDOUT_FILENO, message, strlen(message)) < 0)
		g_debug("novasnapd no longer reads the pipe: cannot send \"%s\"", message);
}

/* True when novasnapd has thawed the guest; false when the time is over or novasnapd has died. */
static bool wait_until_thawed(unsigned limit_s)
{
	gint64 deadline = g_get_monotonic_time() + (gint64)limit_s * G_USEC_PER_SEC;
	struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
	char byte;

	for (;;) {
		gint64 left = deadline - g_get_monotonic_time();
		int ready = left > 0 ? poll(&fd, 1, (int)(left / 1000) + 1) : 0;

		if (ready < 0)
			continue;
		if (ready == 0)
			return false;
		return read(STDIN_FILENO, &byte, 1) == 1 && byte == 'd';
	}
}

static int thaw_once(struct guest *guest, GError **error)
{
	if (guest_connect(guest, error) < 0)
		return -1;
	(void)virDomainAgentSetResponseTimeout(guest->domain, AGENT_TIMEOUT_S, 0);
	if (virDomainFSThaw(guest->domain, NULL, 0, 0) >= 0)
		return 0;
	virt_set_error(error, "thawing the guest's filesystems");
	return -1;
}

/* Tries until the guest is thawed or no longer running. libvirtd may have been restarted since the
 * guest was frozen, and an unanswered query proves nothing. */
static int thaw_guest(struct guest *guest)
{
	for (int i = 0; i < THAW_TRIES; i++) {
		g_autoptr(GError) error = NULL;

		if (thaw_once(guest, &error) == 0 || guest_is_active(guest, NULL) == GUEST_NO)
			return EXIT_SUCCESS;
		g_warning("guest %s: %s; retrying", guest->uuid, error->message);
		g_usleep(THAW_PAUSE_US);
	}
	return EXIT_FAILURE;
}

static int run_watchdog(struct guest *guest, unsigned limit_s)
{
	g_autoptr(GError) error = NULL;
	int status;

	if (guest_connect(guest, &error) < 0) {
		g_warning("guest %s: %s", guest->uuid, error->message);
		return EXIT_FAILURE;
	}
	send_message("ready\n");
	if (wait_until_thawed(limit_s))
		return EXIT_SUCCESS;
	g_warning("guest %s: novasnapd did not thaw the guest in time: the watchdog thaws it",
		  guest->uuid);
	status = thaw_guest(guest);
	if (status == EXIT_SUCCESS)
		send_message("thawed\n");
	return status;
}

int virt_thaw_watch(const char *uri, const char *uuid, unsigned limit_s)
{
	const struct virt_config config = {
		.connection_uri = uri,
		.connect_timeout_s = CONNECT_TIMEOUT_S,
		.call_timeout_s = CALL_TIMEOUT_S,
		.save_timeout_s = CALL_TIMEOUT_S,
	};
	struct virt_host host = {.config = &config};
	g_autoptr(GError) error = NULL;
	struct guest guest;
	int status;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)alarm(limit_s + LAST_RESORT_S);
	/* Without the limits the watchdog still works, but a call may hang until the alarm. */
	if (call_timeouts_start(&config, &error) < 0)
		g_warning("%s", error->message);
	guest_init(&guest, &host, uuid);
	status = run_watchdog(&guest, limit_s);
	guest_close(&guest);
	call_timeouts_stop();
	return status;
}
