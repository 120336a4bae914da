/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking back the steps that the journal has open, of guests that are still here.
 */
#include <cjson/cJSON.h>

#include "agent/recovery/recovery.h"
#include "agent/task/fault-point.h"

#define UNDO_PAUSE_MS 2000
/* A libvirt that starts beside us may take its time. */
#define AWAY_TIMES 3

static bool is_named(const struct journal_step *step, const char *name)
{
	return g_str_equal(step->name, name);
}

static int undo_step(struct manager *manager, const struct journal_job *left,
		     struct journal_step *step, GError **error)
{
	if (fault_at("undo", "before") ||
	    virt_guest_rollback_step(manager->host, left->instance, step->name, step->undo, error) < 0) {
		if (error && !*error)
			g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED,
					    "a fault was put in before undo");
		return -1;
	}
	(void)fault_at("undo", "after");
	if (journal_clear_step(manager->journal, step->id, error) < 0)
		return -1;
	step->cleared = true;
	return 0;
}

/* The last step first: what one needs is there while those after it are taken back. One that cannot
 * be is no reason to leave a guest saved; but what a copy writes to stays while it may run. */
static int undo_steps(struct manager *manager, const struct journal_job *left, bool last,
		      GError **error)
{
	bool copies = false, holds = false;
	int rc = 0;

	for (guint i = left->steps->len; i > 0; i--) {
		struct journal_step *step = left->steps->pdata[i - 1];
		g_autoptr(GError) local = NULL;

		if (step->cleared || *step->undo == '\0' || (copies && is_named(step, "folder")) ||
		    (holds && is_named(step, "save")) ||
		    undo_step(manager, left, step, &local) == 0)
			continue;
		copies = copies || is_named(step, "copy");
		/* What is inside a disk can be deleted only while its guest is off. */
		holds = holds || (!last && is_named(step, "internal"));
		if (rc == 0)
			g_propagate_error(error, g_steal_pointer(&local));
		else
			g_info("instance %s: %s", left->instance, local->message);
		rc = -1;
	}
	return rc;
}

int recovery_undo(struct manager *manager, struct job *job, const struct journal_job *left,
		  unsigned tries, GError **error)
{
	for (unsigned attempt = 1, most = tries;; attempt++) {
		g_autoptr(GError) local = NULL;

		if (undo_steps(manager, left, attempt >= most, &local) == 0)
			return 0;
		if (g_error_matches(local, VIRT_ERROR, VIRT_ERROR_DISCONNECTED))
			most = tries * AWAY_TIMES;
		if (attempt >= most || !job_wait_stop(job, UNDO_PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		g_info("instance %s: %s; tried again", left->instance, local->message);
	}
}

/* --- guests that may be elsewhere by now ------------------------------------------------------
 */

/* Whether taking it back may set a guest going, or make it known here again. */
static bool brings_guest_back(const struct journal_step *step)
{
	return !step->cleared && (is_named(step, "save") || is_named(step, "undefine"));
}

/* A host that was not started anew meanwhile has not lost its guests to another. */
static bool is_of_another_boot(const struct journal_step *step)
{
	g_autofree char *boot = virt_host_boot();
	cJSON *undo = cJSON_Parse(step->undo);
	const char *then =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(undo, VIRT_UNDO_BOOT));
	/* A novasnapd that noted none is not of long ago. */
	bool other = boot && then && !g_str_equal(boot, then);

	cJSON_Delete(undo);
	return other;
}

/* Whether nobody knows without asking if it may be taken back. */
static bool is_in_doubt(const struct journal_step *step)
{
	return brings_guest_back(step) && is_of_another_boot(step);
}

static bool is_gone(const struct task *task, const GError *error)
{
	return g_error_matches(error, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND) ||
	       (task->away && g_strcmp0(nova_instance_string(task->instance, "host"),
					task->manager->config->rpc.host) != 0);
}

/* The guest is here, also in this boot: from now on the steps are of it, however often they are
 * tried. */
static int confirm(struct task *task, GError **error)
{
	g_autofree char *boot = virt_host_boot();

	for (guint i = 0; boot && i < task->left->steps->len; i++) {
		struct journal_step *step = task->left->steps->pdata[i];
		cJSON *undo;
		char *text;
		int rc;

		if (!is_in_doubt(step))
			continue;
		undo = cJSON_Parse(step->undo);
		cJSON_ReplaceItemInObjectCaseSensitive(undo, VIRT_UNDO_BOOT,
						       cJSON_CreateString(boot));
		text = cJSON_PrintUnformatted(undo);
		rc = journal_amend_step(task->manager->journal, step->id, text, error);
		if (rc == 0) {
			g_free(step->undo);
			step->undo = g_strdup(text);
		}
		cJSON_free(text);
		cJSON_Delete(undo);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* Such steps of a guest that is elsewhere, or deleted, are over. -1: nobody says where it is. */
int recovery_leave_to_others(struct task *task, GError **error)
{
	g_autoptr(GError) local = NULL;
	bool asked = false;

	for (guint i = 0; i < task->left->steps->len && !asked; i++)
		asked = is_in_doubt(task->left->steps->pdata[i]);
	if (!asked)
		return 0;
	task->step = "asking whether the guest is still here";
	if (recovery_judge_instance(task, true, &local) >= 0 || !local)
		return confirm(task, error);
	if (!recovery_is_answer(local)) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (!is_gone(task, local))
		return confirm(task, error);
	for (guint i = 0; i < task->left->steps->len; i++) {
		struct journal_step *step = task->left->steps->pdata[i];

		if (!brings_guest_back(step))
			continue;
		if (journal_clear_step(task->manager->journal, step->id, error) < 0)
			return -1;
		step->cleared = true;
		g_message("instance %s: %s: what was done to it here is left as it is",
			  task->left->instance, local->message);
	}
	return 0;
}

/* Of a job that has ended nobody can be asked: what brings the guest back ends with the boot. */
void recovery_leave_after_boot(struct manager *manager, const struct journal_job *left)
{
	for (guint i = 0; i < left->steps->len; i++) {
		struct journal_step *step = left->steps->pdata[i];
		g_autoptr(GError) error = NULL;

		if (!is_in_doubt(step))
			continue;
		/* Not to be done in any case. */
		step->cleared = true;
		if (journal_clear_step(manager->journal, step->id, &error) < 0)
			g_warning("instance %s: %s", left->instance, error->message);
		g_warning("instance %s: the host was started anew meanwhile, and what a snapshot "
			  "had left of \"%s\" is left as it is",
			  left->instance, step->name);
	}
}
