/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Steps whose rollback starts or defines a guest. While novasnapd did not run, or after the job has
 * ended, the guest may have been evacuated or migrated, and two running copies of it would destroy
 * its disk. The guest's user may also have suspended or stopped it. So the conductor is always
 * asked first where the instance is, and in which state.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_MOVED_H
#define NOVASNAP_AGENT_RECOVERY_MOVED_H

#include "agent/task/task.h"

/* Whether a rollback of the open steps may start or define the guest on this host. */
bool recovery_brings_guest_back(const struct journal_job *left);
/* Whether one of these steps was made by an earlier process, and the conductor has not confirmed to
 * this process that the instance is still here: then the job must not be rolled back yet. */
bool recovery_is_in_doubt(const struct journal_job *left);
/* Asks the conductor where the instance of task->recovered_job is, if a step is in doubt or, with
 * `has_ended`, if a step brings the guest back. Waits while the conductor does not answer, or while
 * the instance may be leaving this host. Then clears the steps that would bring back a guest that
 * was moved or deleted, or start one that nova has suspended, stopped or shelved, and confirms
 * those of a guest that is still here. Returns 0, or -1 with an
 * error if the conductor did not answer in time or the journal cannot be written. */
int recovery_drop_if_moved(struct task *task, bool has_ended, GError **error);

#endif
