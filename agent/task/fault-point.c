/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See fault-point.h.
 */
#include "agent/task/fault-point.h"

#include "rpc/rpc.h"

int fault_lost_reply(const char *step, GError **error)
{
	g_set_error(error, RPC_ERROR, RPC_ERROR_TIMEOUT, "injected fault at %s", step);
	return -1;
}

#ifdef NOVASNAP_FAULTS
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define DELAY_S 5
#define FAULTS_MAX 32

#ifdef NOVASNAP_COVERAGE
/* Writes the coverage counters, as a normal exit does. */
void __gcov_dump(void);
#else
#define __gcov_dump()
#endif

/* One write() for each line, so that lines of several threads do not mix. */
static void append_to_trace(const char *point)
{
	const char *path = g_getenv("NOVASNAP_FAULT_TRACE");
	g_autofree char *line = g_strconcat(point, "\n", NULL);
	int fd;

	if (!path)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		g_warning("cannot append the point %s to %s", point, path);
	if (fd >= 0)
		(void)close(fd);
}

/* The fault for this point, the first time that it is reached. NULL: none. */
static const char *find_fault(char **faults, const char *point)
{
	static atomic_uint fired;

	for (unsigned i = 0; i < FAULTS_MAX && faults[i]; i++) {
		if (g_str_has_prefix(faults[i], point) && faults[i][strlen(point)] == ':' &&
		    !(atomic_fetch_or(&fired, 1U << i) & (1U << i)))
			return faults[i] + strlen(point) + 1;
	}
	return NULL;
}

bool fault_at(const char *step, const char *when)
{
	const char *text = g_getenv("NOVASNAP_FAULT");
	g_auto(GStrv) faults = g_strsplit(text ? text : "", ",", -1);
	g_autofree char *point = g_strdup_printf("%s.%s", step, when);
	const char *fault;

	append_to_trace(point);
	fault = find_fault(faults, point);
	if (!fault)
		return false;
	g_warning("injecting a fault at %s: %s", point, fault);
	if (g_str_equal(fault, "kill")) {
		__gcov_dump();
		(void)kill(getpid(), SIGKILL);
	}
	if (g_str_equal(fault, "delay"))
		g_usleep(DELAY_S * G_USEC_PER_SEC);
	return g_str_equal(fault, "error");
}
#endif
