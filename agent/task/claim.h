/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Beside a nova-compute, both may get the same cast: nova-compute takes what waits too long for
 * novasnapd, and everything while it runs with its old configuration. So the first effect of a
 * snapshot or backup is to claim it: the conductor saves its first task state only if it finds the
 * one that nova-api has set. Of two that try, only one succeeds.
 *
 * Before anything else follows from the answer, the events of the request's action are asked for:
 * nova-compute starts its event before it saves, novasnapd after the claim is in the journal. So a
 * live event shows that nova-compute has the request, also where the reply to the save was lost.
 * Then novasnapd leaves it alone, without an event, fault, notification or deletion. Without an
 * event, nobody else would end a request whose save was refused: it fails as in nova-compute.
 */
#ifndef NOVASNAP_AGENT_CLAIM_H
#define NOVASNAP_AGENT_CLAIM_H

#include "agent/task/task.h"

enum claim_result {
	CLAIM_OURS,   /* it is claimed, and the journal says so */
	CLAIM_TAKEN,  /* nova-compute has the request, or may have it; an error is set */
	CLAIM_FAILED, /* the error with which the task ends, unless novasnapd is stopping */
};

/* Claims a task that is to be claimed (claim-due.h). While the conductor does not answer, it is
 * asked for a day, also if the job is cancelled, but not once novasnapd is stopping. */
enum claim_result claim_take(struct task *task, GError **error);
/* For a task whose instance has moved or is gone, so that there is nothing to save: only asks, as
 * long, whether nova-compute has begun it. CLAIM_OURS: it has not. */
enum claim_result claim_ask(struct task *task, GError **error);

#endif
