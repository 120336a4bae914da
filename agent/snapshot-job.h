/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One snapshot under way, as the files snapshot*.c and report.c share it. It belongs to its
 * worker's thread, but for the progress, which the upload's threads report.
 */
#ifndef NOVASNAP_AGENT_SNAPSHOT_JOB_H
#define NOVASNAP_AGENT_SNAPSHOT_JOB_H

#include <stdatomic.h>
#include <stdint.h>

#include "agent/manager.h"

struct snapshot_job {
	struct manager *manager;
	struct job *job; /* NULL until it runs */
	struct rpc_request *request;
	struct rpc_context *context; /* the request's, no reference of its own */
	struct nova_instance *instance;
	const char *image_id;	/* the request's */
	const char *function;	/* the method of the cast: "snapshot_instance" */
	const char *event;	/* of the instance's action: "compute_snapshot_instance" */
	const char *first;	/* the task state in which it is accepted, */
	const char *pending;	/* and the one in which the cast was sent */
	const char *task_state; /* as last saved; NULL: none */
	const char *step;	/* what is being done, for the fault's details */
	const char *how;	/* the snapshot method, once it is known; may be NULL */
	struct image_identity identity;
	const char **roles; /* what identity.roles points to */

	/* Any thread. */
	atomic_llong progress_at; /* monotonic us of the last progress notification */
	atomic_ullong told;	  /* bytes of this attempt that the store had when last asked */
};

/* --- report.c: what is told to the conductor and to listeners -------------------------------- */

/* Each returns 0, or -1 with the conductor's error; with control = none they only note and notify.
 */
int report_event_start(struct snapshot_job *snapshot, GError **error);
int report_state(struct snapshot_job *snapshot, const char *task_state, const char *expected,
		 GError **error);
int report_power_state(struct snapshot_job *snapshot, int power_state, GError **error);

/* instance.snapshot.start and .end; `phase` is "start" or "end". */
void report_phase(struct snapshot_job *snapshot, const char *phase);

/* At most two a second, unless `forced`. Any thread. */
void report_progress(struct snapshot_job *snapshot, const char *phase, const char *detail,
		     uint64_t done, uint64_t total, bool forced);

/* The end of the job, in every case: what nova's decorators of the manager's methods do. `error` is
 * NULL on success. What cannot be told is logged. */
void report_end(struct snapshot_job *snapshot, const GError *error);

#endif
