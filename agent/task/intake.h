/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The only place that decides when a request is safe.
 *
 * The rule: a cast is journaled, then acked, when it arrives, before it waits for its turn. Before
 * it is journaled, the broker keeps it; afterwards the journal does. The broker never waits for a
 * job.
 * - The consuming thread only queues a request. The intake's thread takes all queued requests,
 *   writes them to the journal in one transaction, acks them, and makes a job of each.
 * - While the journal cannot be written, no cast is acked. Consuming is paused first; then each
 * cast that was delivered is requeued, once. It would otherwise stay unacked, and the broker closes
 * the connection of a consumer that does not ack in time. Consuming is resumed when the journal has
 *   room for what could not be written. Journals that fail again soon are tried less often.
 * - A call is not journaled, because its caller waits and can repeat it. It is acked and becomes a
 *   job without waiting for the journal. A call of a method with METHOD_LEAVES_STEP is journaled if
 *   the journal can be written, and does not wait for it either.
 * - A cast whose _unique_id is already in the journal is acked and dropped.
 * - When novasnapd stops, the broker keeps the casts that are not journaled. Journaled casts that
 *   did not run yet stay open in the journal: the next process runs them.
 */
#ifndef NOVASNAP_AGENT_INTAKE_H
#define NOVASNAP_AGENT_INTAKE_H

#include "agent/task/task.h"

struct intake;

struct intake_ops {
	/* The jobs that run the tasks. */
	const struct job_ops *job;
	/* The journal cannot be written because of `why`. Called in the intake's thread. */
	void (*pause_consuming)(const GError *why, void *opaque);
	/* The journal can be written again. Called in the intake's thread, once for each pause. */
	void (*resume_consuming)(void *opaque);
	void *opaque;
};

/* `agent` and `ops` must outlive the intake. Without intake_start there is no journal: each request
 * becomes a job immediately. */
struct intake *intake_new(struct agent *agent, const struct intake_ops *ops);
/* Starts the thread; agent->journal must be open. Returns 0, or -1 with an error. */
int intake_start(struct intake *intake, GError **error);
/* Ends the thread, and frees the requests that are not journaled without an ack. Call no
 * intake_take afterwards. Returns false if the thread did not end within `limit_s` seconds, because
 * writing the journal hangs: then the intake must not be freed. Accepts NULL; may be called
 * again. */
bool intake_stop(struct intake *intake, unsigned limit_s);
/* Call it after intake_stop has returned true. Accepts NULL. */
void intake_free(struct intake *intake);

/* Accepts a request for a method, in the consuming thread, without waiting. Returns false if its
 * arguments are known to be invalid: with an error, or if `error` is NULL, after rejecting the
 * request. */
bool intake_take(struct intake *intake, const struct task_method *method,
		 struct rpc_request *request, GError **error);

/* The number of requests that wait to be journaled. Any thread. */
unsigned intake_count_waiting(struct intake *intake);

#endif
