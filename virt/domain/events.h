/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's events of one guest, noted from the moment they are asked for: how a block job went,
 * and whether the guest was started, stopped or undefined. After the connection broke, no event is
 * noted any more (domain_events_are_lost).
 */
#ifndef NOVASNAP_VIRT_DOMAIN_EVENTS_H
#define NOVASNAP_VIRT_DOMAIN_EVENTS_H

#include <stdatomic.h>

#include "virt/domain/guest.h"

struct domain_events;

/* Notes the events of the guest, on its present connection, and those of block jobs of the kind
 * `job_type` (VIR_DOMAIN_BLOCK_JOB_TYPE_*) on the disk `target`. NULL with an error of
 * virt_set_error. */
struct domain_events *domain_events_start(const struct guest *guest, const char *target,
					  int job_type, GError **error);
/* Takes NULL. */
void domain_events_stop(struct domain_events *events);

/* Whether that happened since the start. From any thread. */
bool domain_events_guest_started(struct domain_events *events);
bool domain_events_guest_stopped(struct domain_events *events);
bool domain_events_guest_undefined(struct domain_events *events);
/* Whether the connection broke: what happened since is unknown. */
bool domain_events_are_lost(struct domain_events *events);

enum block_job_outcome {
	BLOCK_JOB_READY, /* a copy has caught up with the disk */
	BLOCK_JOB_ENDED, /* it completed, or was ended as asked */
	BLOCK_JOB_FAILED,
	BLOCK_JOB_GUEST_STOPPED,
	BLOCK_JOB_DISCONNECTED, /* the connection broke: how the job goes is unknown */
	BLOCK_JOB_CANCELLED,	/* the cancel flag is set; the job still runs */
	BLOCK_JOB_TIMEOUT,	/* it made no progress in time; it still runs */
};

/* Forgets the events of earlier block jobs; to be called before a job is started. */
void domain_events_forget_block_job(struct domain_events *events);

/* Waits until the job is ready or over; with `ended`, until it is over. `progress` is called about
 * once a second and returns a number that grows while the job moves; each growth begins the time
 * limit of `timeout_s` seconds again. `cancel` and `progress` may be NULL. */
enum block_job_outcome domain_events_wait_block_job(struct domain_events *events, bool ended,
						    unsigned timeout_s, const atomic_int *cancel,
						    uint64_t (*progress)(void *opaque),
						    void *opaque);

#endif
