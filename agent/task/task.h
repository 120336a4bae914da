/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A task: one of nova's requests, from the message to the last report about it. It belongs to its
 * job's thread. Other threads may access only the fields marked "any thread".
 */
#ifndef NOVASNAP_AGENT_TASK_H
#define NOVASNAP_AGENT_TASK_H

#include <stdatomic.h>
#include <stdint.h>

#include "agent/task/agent.h"
#include "agent/task/state.h"

struct task;

/* What nova's decorators of a method do, as flags. */
enum method_flags {
	/* wrap_instance_event: an event of the instance's action. */
	METHOD_HAS_EVENT = 1 << 0,
	/* wrap_instance_fault and reverts_task_state. */
	METHOD_HAS_FAULT = 1 << 1,
	/* Has an argument image_id; the image is deleted if the method fails. */
	METHOD_HAS_IMAGE = 1 << 2,
	/* As snapshot_instance: a missing instance or image is no failure. */
	METHOD_TOLERATES_GONE = 1 << 3,
	/* A call with a step that outlives it. It is journaled as casts are, and its job stays open
	 * until another request ends it. Recovery only rolls the step back, because the caller does
	 * not wait any more. */
	METHOD_LEAVES_STEP = 1 << 4,
};

struct task_method {
	const char *name;  /* of the request, and of nova's function: "pause_instance" */
	const char *event; /* "compute_pause_instance"; NULL without METHOD_HAS_EVENT */
	unsigned flags;	   /* of enum method_flags */
	/* The instance's task states from the request to its end, separated by commas. NULL: the
	 * method has no task state of its own. */
	const char *task_states;
	/* The first task state that the method saves beside a nova-compute, and the one that
	 * nova-api has set (claim.h). NULL: the method is not claimed. */
	const char *claim_state;
	const char *claim_expected;
	/* nova's function in which the method goes on after its first save, in another thread, and
	 * its argument expected_task_state: of releases with NOVA_HABIT_EARLY_EVENT. NULL: none. */
	const char *rest_function;
	const char *rest_expected_state;
	/* Executes the method, in the job's thread. Returns 0, or -1 with an error. */
	int (*run)(struct task *task, GError **error);
	/* Checks the arguments that only this method has, before the request is accepted. Returns
	 * 0, or -1 with RPC_ERROR_DECODE. May be NULL. */
	int (*check_args)(const cJSON *args, GError **error);
	/* Called if the task ends without running in this process: reports the failure to other
	 * services that wait for it. May be NULL. */
	void (*give_up)(struct task *task);
};

/* The snapshot method of an image that is a copy inside Ceph; the others: virt_method_name. */
#define TASK_METHOD_DIRECT "direct"

struct task {
	const struct task_method *method;
	struct agent *agent;
	struct job *job; /* NULL before it runs */
	struct task_state *state;
	struct rpc_request *request;
	struct rpc_context *context; /* the request's, not a separate reference */
	const cJSON *args; /* the request's; an instance that is an object is replaced by null */
	struct nova_instance *instance;
	const struct nova_release *release; /* of nova, on this host (release.h) */
	bool has_release;	/* it does not change any more; before, it is that of the request */
	bool is_claimed;	/* this process has saved claim_state */
	bool is_accepted;	/* this process has begun to report the event's success early */
	const char *image_id;	/* the request's; NULL: the method has no image */
	const char *task_state; /* nova's, as last saved; NULL: none */
	/* What the task is doing, for the fault's details and for `novasnap jobs`. Any thread. */
	const char *_Atomic step;
	/* A literal; NULL: not chosen yet, or not used. Any thread. */
	const char *_Atomic snapshot_method;
	const char *used_method; /* the last one that was chosen; NULL: none */

	gint64 created_at;   /* monotonic us */
	int64_t journal_job; /* its number in the journal; 0: not journaled */
	bool is_resumed;     /* an earlier process has taken the request; any thread */
	struct journal_job *recovered_job; /* from an earlier process; NULL: none */
	/* When this process sent the fault to the conductor without getting a reply, in seconds
	 * since the epoch; 0: it did not. */
	int64_t fault_sent_at;

	/* When it was first waited for the store's verdict on the last upload, in seconds since the
	 * epoch; 0: not yet. */
	int64_t image_asked_at;

	/* When the location of the data was given to the store, which has not confirmed it yet, in
	 * seconds since the epoch; 0: it was not (location-step.h). */
	int64_t location_sent_at;

	/* FACT_CHECKSUM with the values of the data sent (facts.h); NULL: not all was sent. Set by
	 * the thread that reads the data, before the upload ends. */
	char *checksum;

	struct image_identity identity;
	const char **roles; /* what identity.roles points to */

	/* Any thread. */
	atomic_bool has_progress; /* this process has journaled FACT_PROGRESS (record-progress.h) */
	atomic_llong progress_at; /* monotonic us of the last progress notification */
	atomic_ullong stored;	  /* bytes of the current attempt that the store has received */
	atomic_ullong total;	  /* bytes of the image; 0: not known yet */
	atomic_llong upload_at;	  /* monotonic us of the start of the current attempt */
	atomic_llong logged_at;	  /* monotonic us of the last log line about it */
};

/* Creates a task from a request. Takes ownership of the request, and moves the instance out of its
 * arguments. NULL with RPC_ERROR_DECODE if the arguments are invalid: then the caller keeps the
 * request. */
struct task *task_new(struct agent *agent, const struct task_method *method,
		      struct rpc_request *request, GError **error);
/* Accepts NULL. Also frees the request; if it was not acked, the broker delivers it again. */
void task_free(struct task *task);

/* Whether an earlier process began to run it. A task that only waited there runs like a new one. */
bool task_was_begun(const struct task *task);

/* Adds the data for `novasnap jobs` and `novasnap top`, as in agent/daemon/status.h. Any thread. */
void task_describe(const struct task *task, cJSON *into);

/* Sets VIRT_ERROR_CANCELLED with the reason for the cancellation. Returns -1. */
int task_fail_cancelled(const struct task *task, GError **error);

/* The guest's power state, as from nova's _get_power_state: GUEST_NOSTATE for a guest that libvirt
 * does not know. -1 with an error. */
int task_power_state(struct task *task, GError **error);

#endif
