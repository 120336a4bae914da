/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keeping what is in memory there.
 */
#include "agent/daemon/process.h"

#include <sys/prctl.h>
#include <sys/resource.h>

/* Not dumpable, because a limit does not hold for cores that are piped to a program, and because
 * it keeps others of the same user from attaching too. The limit is for our children, who forget
 * the former when they begin and hold what is on guests' disks. */
void process_keep_secrets(void)
{
	const struct rlimit none = {0, 0};

	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
}
