/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watchdog of a freeze, in a process of its own. It holds a pipe to the agent: when the agent
 * dies, the pipe ends. It has a connection to libvirt before the guest is frozen.
 */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "virt/internal.h"

#define THAW_TRIES 20
#define PAUSE_US (3 * G_USEC_PER_SEC)
/* Over all that it does after the limit: then it ends in any case. */
#define LAST_RESORT_S 600
#define AGENT_TIMEOUT_S 10

static void say(const char *word)
{
	if (write(STDOUT_FILENO, word, strlen(word)) < 0)
		g_debug("nobody listens");
}

/* True when the freeze is over without us. */
static bool wait_for_word(unsigned limit_s)
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

static int thaw(virDomainPtr domain)
{
	for (int i = 0; i < THAW_TRIES; i++) {
		if (virDomainFSThaw(domain, NULL, 0, 0) >= 0)
			return EXIT_SUCCESS;
		/* A guest that stopped needs nothing. */
		if (virDomainIsActive(domain) == 0)
			return EXIT_SUCCESS;
		g_warning("thawing the guest %s: %s", virDomainGetName(domain),
			  virGetLastErrorMessage());
		g_usleep(PAUSE_US);
	}
	return EXIT_FAILURE;
}

int virt_thaw_watch(const char *uri, const char *uuid, unsigned limit_s)
{
	virConnectPtr connection;
	virDomainPtr domain = NULL;
	int status = EXIT_FAILURE;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)alarm(limit_s + LAST_RESORT_S);
	connection = virConnectOpen(uri);
	if (connection)
		domain = virDomainLookupByUUIDString(connection, uuid);
	if (domain) {
		(void)virDomainAgentSetResponseTimeout(domain, AGENT_TIMEOUT_S, 0);
		say("ready\n");
		if (wait_for_word(limit_s)) {
			status = EXIT_SUCCESS;
		} else {
			g_warning("thawing the guest %s in the agent's stead",
				  virDomainGetName(domain));
			status = thaw(domain);
			say("thawed\n");
		}
		(void)virDomainFree(domain);
	}
	if (connection)
		(void)virConnectClose(connection);
	return status;
}
