/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See moved.h.
 */
#include "agent/recovery/moved.h"

#include "agent/recovery/instance.h"

/* Whether the step's rollback may start the guest, or define it on this host. */
static bool brings_guest_back(const struct journal_step *step)
{
	return !step->cleared &&
	       (g_str_equal(step->name, "save") || g_str_equal(step->name, "undefine"));
}

/* If the host was not rebooted, its guests have not been evacuated to another one. */
static bool is_of_another_boot(const struct journal_step *step)
{
	g_autofree char *boot = virt_host_boot();
	cJSON *undo = cJSON_Parse(step->undo);
	const char *noted =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(undo, VIRT_UNDO_BOOT));
	/* Early versions did not record the boot: treat their steps as from this boot. */
	bool is_other = boot && noted && !g_str_equal(boot, noted);

	cJSON_Delete(undo);
	return is_other;
}

/* Whether the step may be rolled back only after the conductor was queried. */
static bool is_in_doubt(const struct journal_step *step)
{
	return brings_guest_back(step) && is_of_another_boot(step);
}

static int clear_step(struct agent *agent, struct journal_step *step, GError **error)
{
	if (journal_step_clear_id(agent->journal, step->id, error) < 0)
		return -1;
	step->cleared = true;
	return 0;
}

static int journal_boot(struct agent *agent, struct journal_step *step, const char *boot,
			GError **error)
{
	cJSON *undo = cJSON_Parse(step->undo);
	char *text;
	int rc;

	cJSON_ReplaceItemInObjectCaseSensitive(undo, VIRT_UNDO_BOOT, cJSON_CreateString(boot));
	text = cJSON_PrintUnformatted(undo);
	rc = journal_step_amend(agent->journal, step->id, text, error);
	if (rc == 0) {
		g_free(step->undo);
		step->undo = g_strdup(text);
	}
	cJSON_free(text);
	cJSON_Delete(undo);
	return rc;
}

/* The guest is still here after the reboot: records this boot in its steps, so that the conductor
 * need not be queried again. */
static int confirm_steps(struct task *task, GError **error)
{
	g_autofree char *boot = virt_host_boot();

	for (guint i = 0; boot && i < task->recovered_job->steps->len; i++) {
		struct journal_step *step = task->recovered_job->steps->pdata[i];

		if (is_in_doubt(step) && journal_boot(task->agent, step, boot, error) < 0)
			return -1;
	}
	return 0;
}

static int drop_steps(struct task *task, const GError *why, GError **error)
{
	for (guint i = 0; i < task->recovered_job->steps->len; i++) {
		struct journal_step *step = task->recovered_job->steps->pdata[i];

		if (!brings_guest_back(step))
			continue;
		if (clear_step(task->agent, step, error) < 0)
			return -1;
		g_message("instance %s: %s: its step \"%s\" will not be rolled back on this host",
			  task->recovered_job->instance, why->message, step->name);
	}
	return 0;
}

bool recovery_is_in_doubt(const struct journal_job *left)
{
	bool in_doubt = false;

	for (guint i = 0; i < left->steps->len && !in_doubt; i++)
		in_doubt = is_in_doubt(left->steps->pdata[i]);
	return in_doubt;
}

int recovery_drop_if_moved(struct task *task, GError **error)
{
	g_autoptr(GError) local = NULL;

	if (!recovery_is_in_doubt(task->recovered_job))
		return 0;
	task->step = "querying whether the guest is still on this host";
	switch (recovery_ask_instance(task, true, &local)) {
	case INSTANCE_MOVED:
	case INSTANCE_GONE:
		return drop_steps(task, local, error);
	case INSTANCE_UNKNOWN:
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	case INSTANCE_WAITS:
	case INSTANCE_IDLE:
	case INSTANCE_BUSY:
	case INSTANCE_DELETING:
	default:
		return confirm_steps(task, error);
	}
}

void recovery_drop_after_reboot(struct agent *agent, const struct journal_job *left)
{
	for (guint i = 0; i < left->steps->len; i++) {
		struct journal_step *step = left->steps->pdata[i];
		g_autoptr(GError) error = NULL;

		if (!is_in_doubt(step))
			continue;
		if (clear_step(agent, step, &error) < 0)
			g_warning("instance %s: %s", left->instance, error->message);
		/* Even if the journal could not be written: the step must not be rolled back. */
		step->cleared = true;
		g_warning("instance %s: the host was rebooted since; not rolling back the step "
			  "\"%s\" of an ended job",
			  left->instance, step->name);
	}
}
