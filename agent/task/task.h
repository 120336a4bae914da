/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A task: one request of nova's under way, from the message that came to the last thing that is
 * told of it. It belongs to its worker's thread, but for the progress, which an upload's threads
 * report. What the methods share is here; each method's own steps are in a file of its name.
 */
#ifndef NOVASNAP_AGENT_TASK_H
#define NOVASNAP_AGENT_TASK_H

#include <stdatomic.h>
#include <stdint.h>

#include "agent/daemon/manager.h"

struct task;

/* What nova's decorators do around a method, as flags. */
enum task_flags {
	/* wrap_instance_event: an event of the instance's action. */
	TASK_EVENT = 1 << 0,
	/* wrap_instance_fault and reverts_task_state. */
	TASK_FAULT = 1 << 1,
	/* An argument image_id; the image is deleted when the method fails. */
	TASK_IMAGE = 1 << 2,
	/* As snapshot_instance: an instance or an image that is gone is no failure. */
	TASK_GONE_IS_NO_FAILURE = 1 << 3,
};

struct task_method {
	const char *name;  /* of the request, and of nova's function: "pause_instance" */
	const char *event; /* "compute_pause_instance"; NULL without TASK_EVENT */
	unsigned flags;
	/* The task states that an instance is in from its request to its end, with commas; NULL: it
	 * has none of its own. */
	const char *states;
	/* The method's steps, in a worker's thread. */
	int (*run)(struct task *task, GError **error);
	/* Looks at the arguments that are this method's own before the request is taken. May be
	 * NULL. */
	int (*check)(const cJSON *args, GError **error);
	/* What a life before this one began is not run again: tells who else waits for it. May be
	 * NULL. */
	void (*give_up)(struct task *task);
};

struct task {
	const struct task_method *method;
	struct manager *manager;
	struct job *job; /* NULL until it runs */
	struct rpc_request *request;
	struct rpc_context *context; /* the request's, no reference of its own */
	const cJSON *args;	     /* the request's, less an instance that is an object */
	struct nova_instance *instance;
	const char *image_id;	/* the request's; NULL: the method has none */
	const char *task_state; /* as last saved; NULL: none */
	/* What is being done, for the fault's details and for whoever asks. Any thread. */
	const char *_Atomic step;
	const char *how; /* the snapshot method, once it is known; may be NULL */
	bool keep_image; /* the image is whole: a failure after it does not delete it */
	bool sent;	 /* data of ours went into the image, or may have */

	/* What the journal has to do with it. */
	int64_t journal_job;	  /* 0: it is in no journal */
	struct journal_job *left; /* what a life before this one left of it; NULL: nothing */
	bool whole;		  /* the image is stored, and is what was sent */
	bool away;		  /* the instance is somebody else's by now */
	unsigned told_end;	  /* what of its end was told, TASK_TOLD_* */
	bool ending;		  /* it is told: a cancel has no more effect */
	bool untold;		  /* something of it could not be, and may be later */
	bool late;		  /* it is told later: others may have acted since */

	struct image_identity identity;
	const char **roles; /* what identity.roles points to */

	/* Any thread. */
	atomic_llong progress_at; /* monotonic us of the last progress notification */
	atomic_ullong told;	  /* bytes of this attempt that the store had when last asked */
	atomic_ullong total;	  /* bytes of the image; 0: not known yet */
	atomic_llong upload_at;	  /* monotonic us of this attempt's begin */
	atomic_llong logged_at;	  /* of the last line on it */
};

/* Makes a job of a request, which it takes. False when its arguments made no sense: then it was
 * rejected. Called in the consuming thread. */
bool task_submit(struct manager *manager, const struct task_method *method,
		 struct rpc_request *request);

/* Makes a job of what the journal has open, which it takes. */
void task_resume(struct manager *manager, struct journal_job *left);

/* A step with an effect outside of this process is about to be made, `undo` is what takes it back;
 * "": it is a fact that a later life is to know; NULL: neither. -1 when it is not to be made. */
int task_step_begin(struct task *task, const char *step, const char *undo, GError **error);
/* It was made. -1: it counts as failed, by a fault that was put in. */
int task_step_end(struct task *task, const char *step, GError **error);
/* Nothing is left of it. */
void task_step_over(struct task *task, const char *step);

/* A string, a number or a truth among the arguments; the fallback where it is absent or null. */
const char *task_arg_string(const struct task *task, const char *name);
int task_arg_int(const struct task *task, const char *name, int fallback);
/* How many backups stay: whether an argument is a whole number that is not negative. */
bool task_is_rotation(const cJSON *item);
bool task_arg_bool(const struct task *task, const char *name, bool fallback);

/* VIRT_ERROR_CANCELLED. Returns -1. */
int task_set_cancelled(const struct task *task, GError **error);

/* The power state that libvirt knows, as nova's _get_power_state: a guest that libvirt does not
 * know has none. -1 with an error. */
int task_power_state(struct task *task, GError **error);

/* --- the methods ------------------------------------------------------------------------------ */

extern const struct task_method method_snapshot_instance;      /* snapshot.c */
extern const struct task_method method_backup_instance;	       /* backup.c */
extern const struct task_method method_pause_instance;	       /* power.c */
extern const struct task_method method_unpause_instance;       /* power.c */
extern const struct task_method method_suspend_instance;       /* power.c */
extern const struct task_method method_resume_instance;	       /* power.c */
extern const struct task_method method_shelve_instance;	       /* shelve.c */
extern const struct task_method method_quiesce_instance;       /* quiesce.c */
extern const struct task_method method_unquiesce_instance;     /* quiesce.c */
extern const struct task_method method_volume_snapshot_create; /* volume.c */
extern const struct task_method method_volume_snapshot_delete; /* volume.c */

/* --- driver.c: the driver's part, which several methods have in them -------------------------
 */

/* The task states that a snapshot goes through. */
struct snapshot_states {
	const char *first; /* the one before */
	const char *pending_upload;
	const char *uploading;
};
/* nova.virt.libvirt.driver.snapshot: from the guest's disk into the store, within a place among
 * max_concurrent_snapshots. */
int snapshot_take_and_upload(struct task *task, const struct snapshot_states *states,
			     GError **error);
/* nova.compute.manager._snapshot_instance: the above, with the power state saved before, the
 * notifications around it, and the task state cleared after it. */
int snapshot_instance_steps(struct task *task, const char *first, GError **error);

/* --- backup.c --------------------------------------------------------------------------------- */

/* nova.compute.manager._rotate_backups: deletes the oldest images of this instance and type beyond
 * `rotation`, going on past single failures. */
int backup_rotate(struct task *task, const char *backup_type, int rotation, GError **error);

/* --- report.c: what is told to the conductor and to listeners --------------------------------- */

/* Each returns 0, or -1 with the conductor's error; with control = none they only note and notify.
 * `expected` is the task state that the conductor must find, "" for none; NULL: whatever it is. */
int report_event_start(struct task *task, GError **error);
/* Whatever else was set on the instance meanwhile is saved with it. */
int report_state(struct task *task, const char *task_state, const char *expected, GError **error);
/* Without a word on the task state. */
int report_vm_state(struct task *task, const char *vm_state, GError **error);
int report_power_state(struct task *task, int power_state, GError **error);
/* Reads the flavor from the conductor where the instance came without it, for the notifications. */
int report_load_flavor(struct task *task, GError **error);
/* And its block devices, of which nova tells when it resumes. */
int report_load_block_devices(struct task *task, GError **error);

/* instance.<action>.start and .end; `phase` is "start" or "end". */
void report_phase(struct task *task, const char *action, const char *phase);

/* compute.instance.exists, instance.exists. */
void report_exists(struct task *task);

/* At most two a second, unless `forced`; the log is told of an upload less often. Any thread. */
void report_progress(struct task *task, const char *phase, const char *detail, uint64_t done,
		     uint64_t total, bool forced);

/* For those who tell: whether the conductor is of a time that has events and faults; whether the
 * task's job is to end; and a fault in a call, which is an answer that was lost (-1). */
bool report_has_events(const struct task *task);
bool report_is_cancelled(const struct task *task);
int report_lose(const char *step, GError **error);

/* --- report-end.c ------------------------------------------------------------------------------
 */

/* The end of the task, in every case: what nova's decorators of the manager's methods do. `error`
 * is NULL on success. What is refused is logged. False when conductor or store could not be
 * reached: then it is to be called again, and does what is left. */
bool report_end(struct task *task, const GError *error);

#endif
