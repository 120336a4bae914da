/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's events of one guest, recorded from registration on: the outcome of a block job, and
 * whether the guest was started, stopped, resumed or undefined. No events are recorded after the
 * connection broke (domain_events_are_lost).
 */
#ifndef NOVASNAP_VIRT_DOMAIN_EVENTS_H
#define NOVASNAP_VIRT_DOMAIN_EVENTS_H

#include <stdatomic.h>

#include "virt/domain/guest.h"

struct domain_events;

/* Records the guest's events on its current connection, and the events of block jobs of the type
 * `job_type` (VIR_DOMAIN_BLOCK_JOB_TYPE_*) on the disk `target`. NULL with an error of
 * virt_set_error. */
struct domain_events *domain_events_start(const struct guest *guest, const char *target,
					  int job_type, GError **error);
/* Accepts NULL. */
void domain_events_stop(struct domain_events *events);

/* Whether the event happened since the start. From any thread. */
bool domain_events_guest_started(struct domain_events *events);
bool domain_events_guest_stopped(struct domain_events *events);
bool domain_events_guest_resumed(struct domain_events *events);
bool domain_events_guest_undefined(struct domain_events *events);
/* Whether the connection broke. Later events are then unknown. */
bool domain_events_are_lost(struct domain_events *events);

/* Waits until an event is recorded or domain_events_wake is called, at most `ms` milliseconds.
 * `seen` is what the last call returned, or 0: what happened since then is not waited for. */
unsigned domain_events_wait(struct domain_events *events, unsigned seen, unsigned ms);
void domain_events_wake(struct domain_events *events);

enum block_job_outcome {
	BLOCK_JOB_READY, /* a copy has caught up with the disk */
	BLOCK_JOB_ENDED, /* it completed; or it is a copy, and was aborted */
	BLOCK_JOB_FAILED,
	BLOCK_JOB_ABORTED, /* it is no copy, and was aborted before it was complete */
	BLOCK_JOB_GUEST_STOPPED,
	BLOCK_JOB_DISCONNECTED, /* the connection broke: the job's state is unknown */
	BLOCK_JOB_CANCELLED,	/* the cancel flag is set; the job is still running */
	BLOCK_JOB_TIMEOUT,	/* no progress in time; the job is still running */
};

/* Discards the events of earlier block jobs. Call it before a job is started. */
void domain_events_forget_block_job(struct domain_events *events);

/* From now on, a copy that is aborted has ended only when QEMU has said that it is complete.
 * Newer releases of libvirt report a copy that fails after its abort like one that is complete
 * (qemuBlockJobEventProcessConcluded). Call it before the abort, once. `guest` is the one of the
 * start. Returns 0, or -1 with an error of virt_set_error. */
int domain_events_watch_copy_end(struct domain_events *events, const struct guest *guest,
				 GError **error);
/* QEMU's reason why the copy failed, which the caller frees; NULL if there is none. */
char *domain_events_copy_error(struct domain_events *events);

/* Waits until the job is ready or has ended; with `ended`, until it has ended. `progress` is called
 * about once a second and returns a number that increases as the job proceeds. Each increase
 * restarts the time limit of `timeout_s` seconds. `cancel` and `progress` may be NULL. */
enum block_job_outcome domain_events_wait_block_job(struct domain_events *events, bool ended,
						    unsigned timeout_s, const atomic_int *cancel,
						    uint64_t (*progress)(void *opaque),
						    void *opaque);

#endif
