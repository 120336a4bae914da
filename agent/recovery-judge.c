/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is to become of a job that a life before this one left open: what it noted of it, and what
 * the instance and the image have come to meanwhile.
 */
#include <string.h>

#include "agent/recovery.h"

#define RUNS_MAX 3
#define ASK_TRIES 5
#define PAUSE_MS 2000

/* The newest fact whose first word that is, NULL: a life before this one noted none. */
static const char *find_fact(const struct journal_job *left, const char *word)
{
	size_t length = strlen(word);

	for (guint i = left->steps->len; i > 0; i--) {
		const struct journal_step *step = left->steps->pdata[i - 1];

		if (!step->cleared && *step->undo == '\0' && g_str_has_prefix(step->name, word) &&
		    (step->name[length] == '\0' || step->name[length] == ' '))
			return step->name;
	}
	return NULL;
}

char *recovery_seal_text(const struct image_seal *seal)
{
	return g_strdup_printf(RECOVERY_SEAL " %s %s %" G_GUINT64_FORMAT, seal->hash_name,
			       seal->hash, seal->size);
}

/* Whether an active image is what the life before this one sent. */
static bool is_whole(const struct journal_job *left, const struct image_record *record)
{
	const char *fact = find_fact(left, RECOVERY_SEAL);
	g_auto(GStrv) words = fact ? g_strsplit(fact, " ", 4) : NULL;
	struct image_seal seal;
	g_autoptr(GError) error = NULL;

	if (!words || g_strv_length(words) != 4)
		return false;
	seal = (struct image_seal){words[1], words[2], g_ascii_strtoull(words[3], NULL, 10)};
	if (image_record_verify(record, &seal, &error) == 0)
		return true;
	g_warning("instance %s: %s", left->instance, error->message);
	return false;
}

bool recovery_knows(const struct journal_job *left, const char *fact)
{
	return find_fact(left, fact) != NULL;
}

static int fail_state(GError **error, int code, const char *words, const char *state)
{
	g_set_error(error, RPC_ERROR, code, "novasnapd died while it served this, and %s%s%s",
		    words, state ? " " : "", state ? state : "");
	return -1;
}

/* After a host's start the conductor may come later than we. */
static int refresh(struct task *task, GError **error)
{
	for (unsigned attempt = 1;; attempt++) {
		g_autoptr(GError) local = NULL;

		if (nova_conductor_instance_refresh(task->manager->rpc, task->context,
						    task->instance, &local) == 0)
			return 0;
		if (!rpc_error_is_lost(local) || attempt == ASK_TRIES ||
		    !job_wait(task->job, PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
	}
}

/* What the instance has come to meanwhile. 1: it waits for us; 0: it does not any more. */
static int judge_instance(struct task *task, GError **error)
{
	const struct config *config = task->manager->config;
	g_auto(GStrv) states = NULL;
	const char *host, *state;

	if (!config->control || nova_instance_is_plain(task->instance))
		return 1;
	if (refresh(task, error) < 0)
		return -1;
	host = nova_instance_string(task->instance, "host");
	state = nova_instance_string(task->instance, "task_state");
	if (g_strcmp0(host, config->rpc.host) != 0) {
		task->away = true;
		return fail_state(
			error, RPC_ERROR_UNEXPECTED_TASK_STATE,
			"the instance is on another host by now:", host ? host : "(none)");
	}
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
		task->whole = is_whole(task->left, record);
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
	gint64 until = g_get_monotonic_time() +
		       (gint64)task->manager->config->image.saving_timeout_s * G_USEC_PER_SEC;

	for (;;) {
		g_autoptr(GError) local = NULL;
		int rc = look_at_image(task, &local);

		if (rc > 0)
			return rc;
		if ((rc < 0 && !g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE)) ||
		    g_get_monotonic_time() > until || !job_wait(task->job, PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
	}
}

int recovery_decide(struct task *task, GError **error)
{
	struct manager *manager = task->manager;
	int rc;

	if (task->left->reason) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "%s", task->left->reason);
		return -1;
	}
	task->step = "looking at the instance again";
	rc = judge_instance(task, error);
	if (rc < 0)
		return -1;
	if (task->method->flags & TASK_IMAGE) {
		task->step = "looking at the image again";
		rc = judge_image(task, error);
	}
	if (rc == 1 && !task->whole && task->left->runs >= RUNS_MAX) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "novasnapd died %u times while it served this: it is not tried again",
			    task->left->runs);
		return -1;
	}
	if (rc == 1 && journal_run(manager->journal, task->journal_job, error) < 0)
		return -1;
	return rc;
}
