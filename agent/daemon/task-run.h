/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a task as a job in a thread, until its end is journaled.
 */
#ifndef NOVASNAP_AGENT_TASK_RUN_H
#define NOVASNAP_AGENT_TASK_RUN_H

#include "agent/task/task.h"

/* The jobs that run tasks; their opaque is a struct task. */
extern const struct job_ops task_job_ops;

/* A task for a job in the journal, which does not run; `method` as for task_resume. The caller
 * frees it with task_free. NULL with an error if the job cannot be read. */
struct task *task_from_journal(struct agent *agent, const struct task_method *method,
			       const struct journal_job *left, GError **error);

/* Submits a job for an open job in the journal; takes ownership of `left`. `method` is found by
 * its name; NULL: this novasnapd has no such method. A job that cannot be read is ended in the
 * journal. */
void task_resume(struct agent *agent, const struct task_method *method, struct journal_job *left);

#endif
