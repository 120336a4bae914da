/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See fault.h: nothing of it is in a build that is not for tests.
 */
#ifdef NOVASNAP_FAULTS
#include "agent/task/fault-point.h"

#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define DELAY_S 5

#ifdef NOVASNAP_COVERAGE
/* Writes what was counted, as the end of the process would. */
void __gcov_dump(void);
#else
#define __gcov_dump()
#endif

/* In one write, so that lines of two threads do not mix. */
static void trace(const char *point)
{
	const char *path = g_getenv("NOVASNAP_FAULT_TRACE");
	g_autofree char *line = g_strconcat(point, "\n", NULL);
	int fd;

	if (!path)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		g_warning("the point %s cannot be written to %s", point, path);
	if (fd >= 0)
		(void)close(fd);
}

/* What is to happen at a point, the first time that it is passed; NULL: nothing. */
static const char *find(char **wanted, const char *point)
{
	static atomic_uint fired;

	for (unsigned i = 0; i < 32 && wanted[i]; i++) {
		if (g_str_has_prefix(wanted[i], point) && wanted[i][strlen(point)] == ':' &&
		    !(atomic_fetch_or(&fired, 1U << i) & (1U << i)))
			return wanted[i] + strlen(point) + 1;
	}
	return NULL;
}

bool fault_at(const char *step, const char *when)
{
	const char *told = g_getenv("NOVASNAP_FAULT");
	g_auto(GStrv) wanted = g_strsplit(told ? told : "", ",", -1);
	g_autofree char *point = g_strdup_printf("%s.%s", step, when);
	const char *what;

	trace(point);
	what = find(wanted, point);
	if (!what)
		return false;
	g_warning("a fault is put in at %s: %s", point, what);
	if (g_str_equal(what, "kill")) {
		__gcov_dump();
		(void)kill(getpid(), SIGKILL);
	}
	if (g_str_equal(what, "delay"))
		g_usleep(DELAY_S * G_USEC_PER_SEC);
	return g_str_equal(what, "error");
}
#else
typedef int fault_is_not_built;
#endif
