/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See process.h.
 */
#include "agent/daemon/process.h"

#include <sys/prctl.h>
#include <sys/resource.h>

/* Not dumpable: a limit has no effect on cores that are piped to a program, and does not keep other
 * processes of the same user from attaching. The limit is for child processes, which lose the
 * former at exec and hold data of guests' disks. */
void process_keep_secrets(void)
{
	const struct rlimit none = {0, 0};

	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
}
