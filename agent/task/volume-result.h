/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The result of a volume snapshot, which Cinder waits for. It is journaled as a step before it is
 * reported, and the step stays open until Cinder has acknowledged it: if Cinder does not answer,
 * the job ends, and leftovers.h reports it again.
 */
#ifndef NOVASNAP_AGENT_VOLUME_RESULT_H
#define NOVASNAP_AGENT_VOLUME_RESULT_H

#include "agent/task/task.h"

#define VOLUME_RESULT_STEP "volume-tell"

/* Reports that the volume snapshot has this status ("creating", "error"...). A failure is logged.
 * Returns whether Cinder has acknowledged it. */
bool volume_result_report(struct task *task, const char *snapshot, const char *status);

enum volume_result {
	VOLUME_RESULT_UNKNOWN, /* an earlier process has journaled no result */
	VOLUME_RESULT_OPEN,    /* Cinder must still acknowledge it */
	VOLUME_RESULT_ENDED,   /* Cinder has acknowledged or refused it */
};
/* What an earlier process has journaled last about the task: the result with this status, or with
 * any status if it is NULL. */
enum volume_result volume_result_journaled(const struct task *task, const char *status);

/* Reports that the task has ended without running: with this status, unless an earlier process has
 * journaled a result. The guest is as that result says, so it is reported instead. */
void volume_result_give_up(struct task *task, const char *snapshot, const char *status);

/* Reports the results again that are open steps of an ended job. Those that Cinder has acknowledged
 * or refused, and those older than [novasnap]journal_days, are cleared. Returns 0, or -1 with an
 * error if Cinder did not answer. */
int volume_result_resend(struct agent *agent, const struct journal_job *left, GError **error);

#endif
