/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where an instance is and what it is doing, asked of the conductor for a recovered job.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_INSTANCE_H
#define NOVASNAP_AGENT_RECOVERY_INSTANCE_H

#include "agent/task/task.h"

enum instance_standing {
	INSTANCE_WAITS,	   /* it is here, in a task state of the method */
	INSTANCE_IDLE,	   /* it is here, without a task state: it does not wait for the task */
	INSTANCE_BUSY,	   /* it is here, in a task state of something else */
	INSTANCE_MOVED,	   /* it is on another host, or on none */
	INSTANCE_DELETING, /* it is being deleted */
	INSTANCE_GONE,	   /* it is deleted */
	INSTANCE_UNKNOWN,  /* the conductor did not say */
};

/* Asks the conductor, again for up to a day while it does not answer, and for ten minutes while it
 * answers with an error. Sets an error for all but INSTANCE_WAITS and INSTANCE_IDLE.
 * INSTANCE_UNKNOWN once novasnapd stops, or the job is cancelled, unless `despite_cancel`. Without
 * a conductor every instance waits. */
enum instance_standing recovery_ask_instance(struct task *task, bool despite_cancel,
					     GError **error);

#endif
