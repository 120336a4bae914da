/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one place that decides when a request is safe.
 *
 * The rule: a cast is journaled, then acked, at its arrival, before it waits for its turn. Until it
 * is journaled the broker keeps it; from then on the journal does. The broker never waits for a
 * job.
 *
 * - The consuming thread only queues a request. The intake's thread takes all that are queued,
 *   writes them to the journal in one transaction, acks them, and makes a job of each.
 * - While the journal cannot be written, no cast is acked. Consuming is paused and the write is
 *   tried again until it succeeds or novasnapd stops.
 * - A call is not journaled: its caller waits, and asks again itself. It is acked and becomes a job
 *   without waiting for the journal.
 * - A cast whose _unique_id the journal has already is acked and dropped.
 * - At the stop the broker keeps what is not journaled. What is journaled and did not run yet stays
 *   open in the journal: the next start runs it.
 */
#ifndef NOVASNAP_AGENT_INTAKE_H
#define NOVASNAP_AGENT_INTAKE_H

#include "agent/task/task.h"

struct intake;

struct intake_ops {
	/* The jobs that are made of tasks. */
	const struct job_ops *job;
	/* The journal cannot be written; `why` says why. Called in the intake's thread. */
	void (*pause_consuming)(const GError *why, void *opaque);
	/* It can be written again. Called in the intake's thread, once for each pause. */
	void (*resume_consuming)(void *opaque);
	void *opaque;
};

/* `agent` and `ops` must live longer. Without intake_start there is no journal: each request
 * becomes a job at once. */
struct intake *intake_new(struct agent *agent, const struct intake_ops *ops);
/* Starts the thread; agent->journal must be open. Returns 0, or -1 with an error. */
int intake_start(struct intake *intake, GError **error);
/* Ends the thread, and frees what is not journaled without an ack. Nothing may be taken any more.
 * Takes NULL; may be called again. */
void intake_stop(struct intake *intake);
/* Takes NULL. */
void intake_free(struct intake *intake);

/* Takes a request of a method, in the consuming thread; returns at once. False, with an error,
 * where it is known already that its arguments make no sense; with `error` NULL the request is then
 * rejected. */
bool intake_take(struct intake *intake, const struct task_method *method,
		 struct rpc_request *request, GError **error);

/* How many requests wait to be journaled. Any thread. */
unsigned intake_count_waiting(struct intake *intake);

#endif
