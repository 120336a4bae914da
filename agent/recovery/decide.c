/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is to become of a job that a life before this one left open: what it noted of it, and what
 * the instance and the image have come to meanwhile.
 */
#include <string.h>

#include "agent/recovery/recovery.h"

#define RUNS_MAX 3
#define PAUSE_MS 2000
/* Who does not answer is asked for so long, while the guest is as it was: nothing is lost by it. */
#define ASK_S (24 * 3600LL)
/* Who answers that it cannot say, as a conductor whose database is away: for so long. */
#define ASK_UNWELL_S 600
/* A Glance whose client's host lost its power waits for data that does not come: for so many times
 * what it takes otherwise (its client_socket_timeout is a quarter of an hour). */
#define SAVING_TIMES 8

static int fail_state(GError **error, int code, const char *words, const char *state)
{
	g_set_error(error, RPC_ERROR, code, "novasnapd died while it served this, and %s%s%s",
		    words, state ? " " : "", state ? state : "");
	return -1;
}

static gint64 in_seconds(gint64 seconds)
{
	return g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
}

bool recovery_is_answer(const GError *error)
{
	return g_error_matches(error, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND) ||
	       g_error_matches(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE) ||
	       g_error_matches(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE);
}

static int refresh(struct task *task, bool firmly, GError **error)
{
	gint64 until = in_seconds(ASK_S), until_well = in_seconds(ASK_UNWELL_S);
	bool (*wait)(struct job * job, unsigned ms) = firmly ? job_wait_stop : job_wait;

	for (;;) {
		g_autoptr(GError) local = NULL;

		if (nova_conductor_instance_refresh(task->manager->rpc, task->context,
						    task->instance, &local) == 0)
			return 0;
		if (recovery_is_answer(local) ||
		    g_get_monotonic_time() >
			    (rpc_error_is_unanswered(local) ? until : until_well) ||
		    !wait(task->job, PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		g_info("instance %s: %s; asked again", task->left->instance, local->message);
	}
}

int recovery_judge_instance(struct task *task, bool firmly, GError **error)
{
	const struct config *config = task->manager->config;
	g_auto(GStrv) states = NULL;
	const char *host, *state;

	task->away = false;
	if (!config->control || nova_instance_is_plain(task->instance))
		return 1;
	if (refresh(task, firmly, error) < 0)
		return -1;
	host = nova_instance_string(task->instance, "host");
	state = nova_instance_string(task->instance, "task_state");
	if (g_strcmp0(host, config->rpc.host) != 0) {
		task->away = true;
		return fail_state(
			error, RPC_ERROR_UNEXPECTED_TASK_STATE,
			"the instance is on another host by now:", host ? host : "(none)");
	}
	if (!task->method->states)
		return 1;
	if (!state)
		return 0;
	states = g_strsplit(task->method->states, ",", -1);
	if (g_strv_contains((const char *const *)states, state))
		return 1;
	if (g_str_equal(state, "deleting") || g_str_equal(state, "soft-deleting"))
		return fail_state(error, RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE,
				  "the instance is being deleted", NULL);
	task->away = true;
	return fail_state(error, RPC_ERROR_UNEXPECTED_TASK_STATE,
			  "the instance is in another task state by now:", state);
}

/* 1: it waits for data, or it is whole; 0: that may come to be known; else an error. */
static int look_at_image(struct task *task, GError **error)
{
	struct manager *manager = task->manager;
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	if (image_store_get(manager->store, &task->identity, task->image_id, &record, &local) < 0) {
		if (manager->config->image.directory &&
		    g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
			return 1;
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (g_strcmp0(record->status, "active") == 0)
		task->whole = recovery_is_whole(task->left, record);
	if (task->whole || g_strcmp0(record->status, "queued") == 0)
		return 1;
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
		    "novasnapd died while it served this, and image %s is %s by now: nobody knows "
		    "whether it is whole",
		    task->image_id, record->status);
	return g_strcmp0(record->status, "saving") == 0 ? 0 : -1;
}

/* Glance may be away, or may not have seen yet that nobody sends any more. */
static int judge_image(struct task *task, GError **error)
{
	gint64 saving = task->manager->config->image.saving_timeout_s;
	gint64 until_saved = in_seconds(SAVING_TIMES * saving), until = in_seconds(ASK_S);

	for (;;) {
		g_autoptr(GError) local = NULL;
		int rc = look_at_image(task, &local);
		bool away = rc < 0 && g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);

		if (rc > 0)
			return rc;
		if ((rc < 0 && !away) || g_get_monotonic_time() > (away ? until : until_saved) ||
		    !job_wait(task->job, PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
	}
}

/* Whether it goes on although somebody cleared the task state: what changes the guest does not. */
static bool is_resumable(const struct task *task)
{
	unsigned flags = task->method->flags;

	return !(flags & TASK_IMAGE) || (flags & TASK_GONE_IS_NO_FAILURE);
}

/* It is not given up, whatever the instance has come to. */
static int decide_whole(struct task *task, int waits, const GError *why)
{
	const char *uuid = task->left->instance;

	task->keep_image = true;
	if (waits < 0 && !recovery_is_answer(why))
		return 1;
	if (waits < 0) {
		g_message("instance %s: image %s is whole; %s: it is left alone", uuid,
			  task->image_id, why->message);
		return 0;
	}
	/* What a shelve does to the guest is not done after its end, or against an operator's
	 * reset of the state. */
	if (waits == 0 && !is_resumable(task)) {
		g_message("instance %s: image %s is whole, and nothing is left to do", uuid,
			  task->image_id);
		return 0;
	}
	return 1;
}

static bool is_cancelled(struct task *task)
{
	return atomic_load(job_cancel_flag(task->job)) == JOB_CANCELLED;
}

/* Where nothing stands against it. */
static int decide_to_run(struct task *task, int waits, GError **error)
{
	if (waits == 0 && !(task->method->flags & TASK_IMAGE))
		return 0;
	if (waits == 0 && !is_resumable(task)) {
		task->away = true;
		return fail_state(error, RPC_ERROR_UNEXPECTED_TASK_STATE,
				  "the instance does not wait for it any more", NULL);
	}
	if (task->left->runs >= RUNS_MAX) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "novasnapd died %u times while it served this: it is not tried again",
			    task->left->runs);
		return -1;
	}
	return 1;
}

/* What is wrong with the instance counts before what was wrong with the job, and that before what
 * could not be taken back, or the image. */
static int decide(struct task *task, const GError *undone, GError **error)
{
	g_autoptr(GError) instance_error = NULL;
	g_autoptr(GError) image_error = NULL;
	bool failed = task->left->reason != NULL;
	int waits, image = 1;

	task->step = "looking at the instance again";
	waits = recovery_judge_instance(task, false, &instance_error);
	if ((task->method->flags & TASK_IMAGE) && !failed && !is_cancelled(task) &&
	    !job_is_stopping(task->job)) {
		task->step = "looking at the image again";
		image = judge_image(task, &image_error);
	}
	if (job_is_stopping(task->job) ||
	    (!failed && (task->whole ? !job_settle(task->job) : is_cancelled(task)))) {
		task->whole = false;
		return task_set_cancelled(task, error);
	}
	if (task->whole)
		return decide_whole(task, waits, instance_error);
	task->away = task->away || (failed && waits == 0 && !is_resumable(task));
	if (waits < 0 && !(failed && !recovery_is_answer(instance_error)))
		g_propagate_error(error, g_steal_pointer(&instance_error));
	else if (failed)
		return recovery_fail_again(task->left, error);
	else if (undone)
		g_propagate_error(error, g_error_copy(undone));
	else if (image < 0)
		g_propagate_error(error, g_steal_pointer(&image_error));
	else
		return decide_to_run(task, waits, error);
	return -1;
}

int recovery_decide(struct task *task, const GError *undone, GError **error)
{
	int rc = decide(task, undone, error);

	if (rc == 1 && !task->whole &&
	    journal_run(task->manager->journal, task->journal_job, error) < 0)
		rc = -1;
	if (rc < 0 && task->method->give_up && !job_is_stopping(task->job))
		task->method->give_up(task);
	return rc;
}
