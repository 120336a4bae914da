/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Steps whose rollback starts or defines a guest. After a reboot of the host the guest may be
 * running elsewhere, and two running copies of it would destroy its disk.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_MOVED_H
#define NOVASNAP_AGENT_RECOVERY_MOVED_H

#include "agent/task/task.h"

/* Whether one of the open steps was made before a reboot of the host, and the conductor has not
 * confirmed since that the guest is still here: then the job must not be rolled back yet. */
bool recovery_is_in_doubt(const struct journal_job *left);
/* After a host reboot: clears the steps that would restore a guest that was moved or deleted, and
 * confirms those of a guest that is still here. Does nothing if the host was not rebooted. Returns
 * 0, or -1 with an error if the conductor did not answer or the journal cannot be written. */
int recovery_drop_if_moved(struct task *task, GError **error);
/* The same for a job that has ended, without a query to the conductor: always clears such steps
 * after a reboot. */
void recovery_drop_after_reboot(struct agent *agent, const struct journal_job *left);

#endif
