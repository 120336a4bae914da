/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See moved.h.
 */
#include "agent/recovery/moved.h"

#include "agent/recovery/instance.h"

#define LEAVING_PAUSE_MS 2000
/* How long the end of an evacuation or migration is awaited. */
#define LEAVING_S (24 * 3600LL)

/* Whether the step's rollback may start the guest. */
static bool starts_guest(const struct journal_step *step)
{
	return !step->cleared && g_str_equal(step->name, "save");
}

/* Whether the step's rollback may start the guest, or define it on this host. */
static bool brings_guest_back(const struct journal_step *step)
{
	return starts_guest(step) || (!step->cleared && g_str_equal(step->name, "undefine"));
}

static bool is_of_another_process(const struct journal_step *step)
{
	cJSON *undo = cJSON_Parse(step->undo);
	const char *noted =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(undo, VIRT_UNDO_PROCESS));
	bool is_other = g_strcmp0(noted, virt_process_id()) != 0;

	cJSON_Delete(undo);
	return is_other;
}

/* Whether the step may be rolled back only after the conductor was asked. */
static bool is_in_doubt(const struct journal_step *step)
{
	return brings_guest_back(step) && is_of_another_process(step);
}

static int clear_step(struct agent *agent, struct journal_step *step, GError **error)
{
	if (journal_step_clear_id(agent->journal, step->id, error) < 0)
		return -1;
	step->cleared = true;
	return 0;
}

static int journal_process(struct agent *agent, struct journal_step *step, GError **error)
{
	cJSON *undo = cJSON_Parse(step->undo);
	char *text;
	int rc;

	cJSON_DeleteItemFromObjectCaseSensitive(undo, VIRT_UNDO_PROCESS);
	cJSON_AddStringToObject(undo, VIRT_UNDO_PROCESS, virt_process_id());
	text = cJSON_PrintUnformatted(undo);
	if (!text) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "the step \"%s\" in the journal cannot be read", step->name);
		return -1;
	}
	rc = journal_step_amend(agent->journal, step->id, text, error);
	if (rc == 0) {
		g_free(step->undo);
		step->undo = g_strdup(text);
	}
	cJSON_free(text);
	cJSON_Delete(undo);
	return rc;
}

/* The instance is still here: records this process in the steps, so that the conductor need not be
 * asked again. */
static int confirm_steps(struct task *task, GError **error)
{
	for (guint i = 0; i < task->recovered_job->steps->len; i++) {
		struct journal_step *step = task->recovered_job->steps->pdata[i];

		if (is_in_doubt(step) && journal_process(task->agent, step, error) < 0)
			return -1;
	}
	return 0;
}

/* Clears the steps for which `is` holds. */
static int drop_steps(struct task *task, bool (*is)(const struct journal_step *step),
		      const char *why, GError **error)
{
	for (guint i = 0; i < task->recovered_job->steps->len; i++) {
		struct journal_step *step = task->recovered_job->steps->pdata[i];

		if (!is(step))
			continue;
		if (clear_step(task->agent, step, error) < 0)
			return -1;
		g_message("instance %s: %s: its step \"%s\" will not be rolled back on this host",
			  task->recovered_job->instance, why, step->name);
	}
	return 0;
}

/* Whether nova has the guest off. A snapshot saves only a guest that runs, so the user or nova
 * decided this later. A saved guest may then be one that the user has suspended. nova may have
 * given the volumes of a stopped one to another instance. */
static bool is_off_for_nova(const struct task *task)
{
	static const char *const off[] = {"suspended",	       "stopped",     "shelved",
					  "shelved_offloaded", "soft-delete", NULL};
	const char *vm_state = nova_instance_string(task->instance, "vm_state");

	return recovery_has_record(task) && vm_state && g_strv_contains(off, vm_state);
}

/* The guest of an instance on this host is not started if nova has it off. Its other steps are
 * rolled back. */
static int keep_steps(struct task *task, GError **error)
{
	if (is_off_for_nova(task)) {
		g_autofree char *why =
			g_strdup_printf("the instance is now %s, and its guest is not started",
					nova_instance_string(task->instance, "vm_state"));

		if (drop_steps(task, starts_guest, why, error) < 0)
			return -1;
	}
	return confirm_steps(task, error);
}

static bool has_step(const struct journal_job *left, bool (*is)(const struct journal_step *step))
{
	for (guint i = 0; i < left->steps->len; i++) {
		if (is(left->steps->pdata[i]))
			return true;
	}
	return false;
}

bool recovery_brings_guest_back(const struct journal_job *left)
{
	return has_step(left, brings_guest_back);
}

bool recovery_is_in_doubt(const struct journal_job *left)
{
	return has_step(left, is_in_doubt);
}

/* Whether the instance is in a task state in which it may leave this host, though it is still
 * recorded here. nova changes the host of an instance at the end of an evacuation or migration. */
static bool may_be_leaving(const struct task *task, enum instance_standing standing)
{
	static const char *const prefixes[] = {"rebuild", "migrating", "resize_"};
	const char *state = nova_instance_string(task->instance, "task_state");

	if (standing == INSTANCE_DELETING)
		return true;
	for (size_t i = 0; standing == INSTANCE_BUSY && i < G_N_ELEMENTS(prefixes); i++) {
		if (state && g_str_has_prefix(state, prefixes[i]))
			return true;
	}
	return false;
}

/* Asks until the instance is here to stay, or gone. */
static enum instance_standing ask_until_settled(struct task *task, GError **error)
{
	gint64 until = g_get_monotonic_time() + LEAVING_S * G_USEC_PER_SEC;
	bool is_logged = false;

	for (;;) {
		g_autoptr(GError) local = NULL;
		enum instance_standing standing = recovery_ask_instance(task, true, &local);

		if (!may_be_leaving(task, standing)) {
			if (local)
				g_propagate_error(error, g_steal_pointer(&local));
			return standing;
		}
		if (!is_logged)
			g_message("instance %s: %s: its guest is not restored until that has ended",
				  task->recovered_job->instance, local->message);
		is_logged = true;
		if (g_get_monotonic_time() > until ||
		    !job_wait_despite_cancel(task->job, LEAVING_PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return INSTANCE_UNKNOWN;
		}
	}
}

int recovery_drop_if_moved(struct task *task, bool has_ended, GError **error)
{
	const struct journal_job *left = task->recovered_job;
	g_autoptr(GError) local = NULL;

	if (!(has_ended ? recovery_brings_guest_back(left) : recovery_is_in_doubt(left)))
		return 0;
	task->step = "asking whether the guest is still on this host";
	g_message("instance %s: its guest was saved or undefined by %s: asking the conductor where "
		  "the instance is; the guest waits for the answer",
		  left->instance, left->method);
	switch (ask_until_settled(task, &local)) {
	case INSTANCE_MOVED:
	case INSTANCE_GONE:
		return drop_steps(task, brings_guest_back,
				  local ? local->message : "the instance is not on this host",
				  error);
	case INSTANCE_UNKNOWN:
		g_propagate_prefixed_error(
			error, g_steal_pointer(&local),
			"the guest waits until it is known whether it is still on this host: ");
		return -1;
	case INSTANCE_WAITS:
	case INSTANCE_IDLE:
	case INSTANCE_BUSY:
	case INSTANCE_DELETING:
	default:
		return keep_steps(task, error);
	}
}
