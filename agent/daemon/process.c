/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See process.h.
 */
#include "agent/daemon/process.h"

#include <sys/prctl.h>
#include <sys/resource.h>

/* Makes the process not dumpable. A core size limit is not enough: it has no effect on cores piped
 * to a program, and does not prevent other processes of the same user from attaching. The limit is
 * for child processes, which become dumpable at exec and contain data of guests' disks. */
void process_keep_secrets(void)
{
	const struct rlimit none = {0, 0};

	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
}
