/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A task: one request of nova's, from the message to the last report about it. It belongs to the
 * thread of its job. Other threads touch only the fields that say so.
 */
#ifndef NOVASNAP_AGENT_TASK_H
#define NOVASNAP_AGENT_TASK_H

#include <stdatomic.h>
#include <stdint.h>

#include "agent/task/agent.h"
#include "agent/task/state.h"

struct task;

/* What nova's decorators do around a method, as flags. */
enum method_flags {
	/* wrap_instance_event: an event of the instance's action. */
	METHOD_HAS_EVENT = 1 << 0,
	/* wrap_instance_fault and reverts_task_state. */
	METHOD_HAS_FAULT = 1 << 1,
	/* It has an argument image_id; the image is deleted when the method fails. */
	METHOD_HAS_IMAGE = 1 << 2,
	/* As snapshot_instance: an instance or an image that is gone is no failure. */
	METHOD_TOLERATES_GONE = 1 << 3,
};

struct task_method {
	const char *name;  /* of the request, and of nova's function: "pause_instance" */
	const char *event; /* "compute_pause_instance"; NULL without METHOD_HAS_EVENT */
	unsigned flags;	   /* of enum method_flags */
	/* The instance's task states from the request to its end, separated by commas. NULL: the
	 * method has no task state of its own. */
	const char *task_states;
	/* The method's steps, in the thread of the job. Returns 0, or -1 with an error. */
	int (*run)(struct task *task, GError **error);
	/* Checks the arguments that only this method has, before the request is accepted. Returns
	 * 0, or -1 with RPC_ERROR_DECODE. May be NULL. */
	int (*check_args)(const cJSON *args, GError **error);
	/* The task ends without a run of the method in this process: tells whoever else waits for
	 * the outcome. May be NULL. */
	void (*give_up)(struct task *task);
};

struct task {
	const struct task_method *method;
	struct agent *agent;
	struct job *job; /* NULL until it runs */
	struct task_state *state;
	struct rpc_request *request;
	struct rpc_context *context; /* the request's; no reference of its own */
	const cJSON *args; /* the request's; null stands for an instance that is an object */
	struct nova_instance *instance;
	const char *image_id;	/* the request's; NULL: the method has no image */
	const char *task_state; /* nova's, as last saved; NULL: none */
	/* What the task is doing, for the fault's details and for `novasnap jobs`. Any thread. */
	const char *_Atomic step;
	const char *snapshot_method; /* NULL: not chosen yet, or not in use */

	int64_t journal_job;		   /* its number in the journal; 0: it is not there */
	struct journal_job *recovered_job; /* what an earlier process left of it; NULL: nothing */

	struct image_identity identity;
	const char **roles; /* what identity.roles points to */

	/* Any thread. */
	atomic_llong progress_at; /* monotonic us of the last progress notification */
	atomic_ullong stored;	  /* bytes of this attempt that the store has taken */
	atomic_ullong total;	  /* bytes of the image; 0: not known yet */
	atomic_llong upload_at;	  /* monotonic us at which this attempt began */
	atomic_llong logged_at;	  /* monotonic us of the last line in the log about it */
};

/* A task of that request. Takes the request, and the instance out of its arguments. NULL with
 * RPC_ERROR_DECODE where the arguments make no sense: the request is then the caller's again. */
struct task *task_new(struct agent *agent, const struct task_method *method,
		      struct rpc_request *request, GError **error);
/* Takes NULL. Frees the request too: one that was not acked comes again. */
void task_free(struct task *task);

/* Whether an earlier process began to run it. A task that only waited there runs as if it had just
 * come. */
bool task_was_begun(const struct task *task);

/* Adds what `novasnap jobs` shows of it: method, step, and of an upload the bytes done and in
 * total. Any thread. */
void task_describe(const struct task *task, cJSON *into);

/* Sets VIRT_ERROR_CANCELLED and says who ended the task. Returns -1. */
int task_fail_cancelled(const struct task *task, GError **error);

/* The power state of the guest, as nova's _get_power_state: GUEST_NOSTATE for a guest that libvirt
 * does not know. -1 with an error. */
int task_power_state(struct task *task, GError **error);

#endif
