/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The copy of a direct snapshot that an earlier process or an ended job has left
 * (agent/task/location-step.h). A copy whose location was never given to the store is rolled back
 * like the snapshot's steps. Any other copy is removed only if the store says that it does not use
 * it, and kept if it does. While that is unknown, the step stays open.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_LOCATION_H
#define NOVASNAP_AGENT_RECOVERY_LOCATION_H

#include "agent/recovery/image.h"
#include "agent/task/task.h"

/* Whether the store must be asked before this step of the job is rolled back. False for other
 * steps. */
bool recovery_location_needs_store(const struct journal_job *left, const struct journal_step *step);

/* Rolls a LOCATION_STEP back for which the store need not be asked: removes the copy, unless the
 * store has confirmed the image. Returns 0, or -1 with an error. */
int recovery_location_rollback(struct agent *agent, const struct journal_job *left,
			       const struct journal_step *step, GError **error);

/* Call it when the standing of the image of task->recovered_job is known: keeps the copy of a
 * complete image, and removes the copy if the image waits for data. Otherwise the step stays open.
 * Returns 0, or -1 with an error if the copy cannot be removed, so that the image must not be
 * uploaded. */
int recovery_location_close(struct task *task, enum image_standing image, GError **error);

/* For a job that has ended or ends: asks the store once, and keeps or removes the copy. Does
 * nothing if no copy is left for which the store must be asked. Returns 0, or -1 with an error that
 * says where the copy is: then it must be called again. */
int recovery_location_settle(struct task *task, const struct journal_job *left, GError **error);

#endif
