/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The location and task state of a recovered job's instance, from the conductor.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_INSTANCE_H
#define NOVASNAP_AGENT_RECOVERY_INSTANCE_H

#include "agent/task/task.h"

enum instance_standing {
	INSTANCE_WAITS,	   /* on this host, in a task state of the method */
	INSTANCE_IDLE,	   /* on this host, without a task state: it does not wait for the task */
	INSTANCE_BUSY,	   /* on this host, in a task state of another operation */
	INSTANCE_MOVED,	   /* on another host, or on none */
	INSTANCE_DELETING, /* it is being deleted */
	INSTANCE_GONE,	   /* it is deleted */
	INSTANCE_UNKNOWN,  /* the conductor did not answer */
};

/* Whether a conductor has the instance's record. Else only what the cast said of it is known. */
bool recovery_has_record(const struct task *task);
/* Queries the conductor. Retries for up to a day while it does not answer, and for ten minutes
 * while it answers with an error. Sets an error for all results but INSTANCE_WAITS and
 * INSTANCE_IDLE. Returns INSTANCE_UNKNOWN when novasnapd stops or, unless `despite_cancel` is set,
 * when the job is cancelled. Without a conductor the result is always INSTANCE_WAITS. */
enum instance_standing recovery_ask_instance(struct task *task, bool despite_cancel,
					     GError **error);

#endif
