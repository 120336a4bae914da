/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * quiesce_instance and unquiesce_instance: the guest's filesystems are frozen while Cinder takes
 * snapshots of its volumes (nova.compute.manager's methods of these names). They are thawed after
 * [novasnap]quiesce_timeout at the latest.
 */
#include "agent/method/methods.h"
#include "agent/task/step.h"

/* A step of virt/rollback.c. */
#define STEP_FREEZE "freeze"
#define POLL_US (G_USEC_PER_SEC / 2)

static int check_agent(const struct task *task, GError **error)
{
	if (nova_instance_image_flag(task->instance, "hw_qemu_guest_agent"))
		return 0;
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_NO_AGENT,
			    "QEMU guest agent is not enabled: the instance's image lacks the "
			    "property hw_qemu_guest_agent");
	return -1;
}

/* A call whose caller has given up is not executed: nobody would send unquiesce_instance. */
static int check_caller(const struct task *task, GError **error)
{
	gint64 waited_s = (g_get_monotonic_time() - task->created_at) / G_USEC_PER_SEC;

	if (waited_s < task->agent->config->rpc.response_timeout_s)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
		    "the call had to wait %" G_GINT64_FORMAT " s for another job of the instance, "
		    "and its caller has given up after [DEFAULT]rpc_response_timeout (%u s)",
		    waited_s, task->agent->config->rpc.response_timeout_s);
	return -1;
}

/* The step stays open until unquiesce_instance or recovery has thawed the guest. novasnap-thaw
 * thaws it when novasnapd dies or the time limit is over. */
static int run_quiesce(struct task *task, GError **error)
{
	g_autofree char *id = virt_freeze_id();
	g_autofree char *undo = virt_freeze_undo(id);

	task->step = "freezing the guest's filesystems";
	if (check_caller(task, error) < 0 || check_agent(task, error) < 0 ||
	    task_step_begin(task, STEP_FREEZE, undo, error) < 0)
		return -1;
	if (virt_guest_freeze(task->agent->host, nova_instance_uuid(task->instance), id,
			      task->agent->config->quiesce_timeout_s, error) < 0) {
		task_step_clear(task, STEP_FREEZE);
		return -1;
	}
	return task_step_end(task, STEP_FREEZE, error);
}

/* False if Cinder does not answer: the guest must not stay frozen because of that. */
static bool is_being_created(struct task *task, const char *snapshot)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *status = NULL;

	if (!task->agent->volumes) {
		g_warning("instance %s: Cinder is not configured: thawing the guest without "
			  "waiting for the volume snapshots",
			  nova_instance_uuid(task->instance));
		return false;
	}
	status = cinder_snapshot_status(task->agent->volumes, &task->identity, snapshot, &error);
	if (!status)
		g_warning("instance %s: volume snapshot %s: %s", nova_instance_uuid(task->instance),
			  snapshot, error->message);
	return g_strcmp0(status, "creating") == 0;
}

static void wait_for_snapshots(struct task *task)
{
	const atomic_int *cancel = job_abort_flag(task->job);
	gint64 deadline = g_get_monotonic_time() +
			  (gint64)task->agent->config->quiesce_timeout_s * G_USEC_PER_SEC;
	const cJSON *entry;

	cJSON_ArrayForEach (entry, cJSON_GetObjectItemCaseSensitive(task->args, "mapping")) {
		const char *type = cJSON_GetStringValue(
			cJSON_GetObjectItemCaseSensitive(entry, "source_type"));
		const char *snapshot = cJSON_GetStringValue(
			cJSON_GetObjectItemCaseSensitive(entry, "snapshot_id"));

		if (!snapshot || g_strcmp0(type, "snapshot") != 0)
			continue;
		while (is_being_created(task, snapshot)) {
			if (g_get_monotonic_time() > deadline || atomic_load(cancel) != 0) {
				g_warning("instance %s: volume snapshot %s is still being created; "
					  "thawing the guest nevertheless",
					  nova_instance_uuid(task->instance), snapshot);
				return;
			}
			g_usleep(POLL_US);
		}
	}
}

static void end_quiesce_job(struct journal *journal, const struct journal_job *quiesce,
			    bool is_thawed)
{
	g_autoptr(GError) error = NULL;

	/* A step that is still open is rolled back after the end of the job. */
	if ((is_thawed && journal_step_clear(journal, quiesce->id, STEP_FREEZE, &error) < 0) ||
	    journal_job_end(journal, quiesce->id, NULL, &error) < 0)
		g_warning("instance %s: %s", quiesce->instance, error->message);
}

/* Ends the jobs of quiesce_instance that are open in the journal. */
static void end_quiesce_jobs(const struct task *task, bool is_thawed)
{
	struct journal *journal = task->agent->journal;
	const char *uuid = nova_instance_uuid(task->instance);
	g_autoptr(GError) error = NULL;
	g_autoptr(GPtrArray) open = journal ? journal_list(journal, JOURNAL_OPEN, 0, &error) : NULL;

	if (error)
		g_warning("instance %s: %s", uuid, error->message);
	for (guint i = 0; open && i < open->len; i++) {
		const struct journal_job *job = open->pdata[i];

		/* A job that was not begun waits for its turn. */
		if (job->runs > 0 && g_str_equal(job->instance, uuid) &&
		    g_str_equal(job->method, method_quiesce_instance.name))
			end_quiesce_job(journal, job, is_thawed);
	}
}

static int run_unquiesce(struct task *task, GError **error)
{
	bool is_thawed = false;
	int rc;

	task->step = "waiting for the volume snapshots";
	wait_for_snapshots(task);
	task->step = "thawing the guest's filesystems";
	if (task_step_begin(task, "unquiesce", NULL, error) < 0)
		return -1;
	rc = virt_guest_thaw(task->agent->host, nova_instance_uuid(task->instance), &is_thawed,
			     error);
	end_quiesce_jobs(task, is_thawed);
	return rc < 0 ? -1 : task_step_end(task, "unquiesce", error);
}

const struct task_method method_quiesce_instance = {
	.name = "quiesce_instance",
	.flags = METHOD_LEAVES_STEP,
	.run = run_quiesce,
};

const struct task_method method_unquiesce_instance = {
	.name = "unquiesce_instance",
	.run = run_unquiesce,
};
