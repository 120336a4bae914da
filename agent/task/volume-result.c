/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See volume-result.h.
 */
#include "agent/task/volume-result.h"

#include "agent/task/fault-point.h"
#include "agent/task/step.h"

#define DAY_S (24 * 3600)

/* The members of the step's data. */
#define KEY_SNAPSHOT "snapshot"
#define KEY_STATUS "status"
#define KEY_PROJECT "project_id"
#define KEY_USER "user_id"

static const char *member(const cJSON *object, const char *key)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static void add_string(cJSON *object, const char *key, const char *value)
{
	if (value)
		cJSON_AddStringToObject(object, key, value);
}

static char *result_text(const struct task *task, const char *snapshot, const char *status)
{
	cJSON *object = cJSON_CreateObject();
	char *text;

	add_string(object, KEY_SNAPSHOT, snapshot);
	add_string(object, KEY_STATUS, status);
	add_string(object, KEY_PROJECT, task->identity.project_id);
	add_string(object, KEY_USER, task->identity.user_id);
	text = cJSON_PrintUnformatted(object);
	cJSON_Delete(object);
	return text;
}

/* Whether Cinder may accept the result later: it did not answer, or rejects our user. */
static bool may_accept_later(const GError *error)
{
	return error->domain != IMAGE_ERROR || error->code == IMAGE_ERROR_UNAVAILABLE ||
	       error->code == IMAGE_ERROR_AUTH || error->code == IMAGE_ERROR_FORBIDDEN ||
	       error->code == IMAGE_ERROR_CONFIG;
}

/* The results that an earlier process could not report are superseded by this one. */
static void clear_earlier_results(struct task *task)
{
	const struct journal_job *left = task->recovered_job;

	for (guint i = 0; left && i < left->steps->len; i++) {
		struct journal_step *step = left->steps->pdata[i];

		if (step->cleared || !g_str_equal(step->name, VOLUME_RESULT_STEP))
			continue;
		step->cleared = journal_step_clear_id(task->agent->journal, step->id, NULL) == 0;
	}
}

static int send_status(struct agent *agent, const struct image_identity *identity,
		       const char *snapshot, const char *status, GError **error)
{
	if (fault_at(VOLUME_RESULT_STEP, "before")) {
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "injected fault");
		return -1;
	}
	if (cinder_snapshot_update(agent->volumes, identity, snapshot, status, error) < 0)
		return -1;
	(void)fault_at(VOLUME_RESULT_STEP, "after");
	return 0;
}

bool volume_result_report(struct task *task, const char *snapshot, const char *status)
{
	const char *uuid = nova_instance_uuid(task->instance);
	g_autoptr(GError) journal_error = NULL;
	g_autoptr(GError) error = NULL;
	bool is_retried;
	char *text;

	if (!task->agent->volumes) {
		g_warning("instance %s: Cinder is not configured: cannot report to it that "
			  "snapshot %s is %s",
			  uuid, snapshot, status);
		return false;
	}
	text = result_text(task, snapshot, status);
	if (task->journal_job > 0 && journal_step_add(task->agent->journal, task->journal_job,
						      VOLUME_RESULT_STEP, text, &journal_error) < 0)
		g_warning("instance %s: %s", uuid, journal_error->message);
	cJSON_free(text);
	clear_earlier_results(task);
	if (send_status(task->agent, &task->identity, snapshot, status, &error) == 0) {
		task_step_clear(task, VOLUME_RESULT_STEP);
		return true;
	}
	is_retried = task->journal_job > 0 && !journal_error && may_accept_later(error);
	if (!is_retried)
		task_step_clear(task, VOLUME_RESULT_STEP);
	g_warning("instance %s: cannot report to Cinder that snapshot %s is %s: %s%s", uuid,
		  snapshot, status, error->message,
		  is_retried ? "; it will be reported again" : "");
	return false;
}

static bool has_status(const struct journal_step *step, const char *status)
{
	cJSON *result = cJSON_Parse(step->undo);
	bool is_equal = g_strcmp0(member(result, KEY_STATUS), status) == 0;

	cJSON_Delete(result);
	return is_equal;
}

enum volume_result volume_result_journaled(const struct task *task, const char *status)
{
	const struct journal_job *left = task->recovered_job;

	for (guint i = left ? left->steps->len : 0; i > 0; i--) {
		const struct journal_step *step = left->steps->pdata[i - 1];

		if (!g_str_equal(step->name, VOLUME_RESULT_STEP))
			continue;
		if (status && !has_status(step, status))
			return VOLUME_RESULT_UNKNOWN;
		return step->cleared ? VOLUME_RESULT_ENDED : VOLUME_RESULT_OPEN;
	}
	return VOLUME_RESULT_UNKNOWN;
}

void volume_result_give_up(struct task *task, const char *snapshot, const char *status)
{
	/* An open result is reported again after the end of the job. */
	if (volume_result_journaled(task, NULL) == VOLUME_RESULT_UNKNOWN)
		(void)volume_result_report(task, snapshot, status);
}

/* Returns 0 if there is nothing left to report, or -1 with an error. */
static int resend_once(struct agent *agent, const struct journal_job *left,
		       const struct journal_step *step, GError **error)
{
	cJSON *result = cJSON_Parse(step->undo);
	const char *snapshot = member(result, KEY_SNAPSHOT), *status = member(result, KEY_STATUS);
	const struct image_identity identity = {.project_id = member(result, KEY_PROJECT),
						.user_id = member(result, KEY_USER)};
	int64_t age_s = g_get_real_time() / G_USEC_PER_SEC - step->at;
	g_autoptr(GError) local = NULL;
	int rc = 0;

	if (!agent->volumes || !snapshot || !status ||
	    age_s > (int64_t)agent->config->journal_days * DAY_S) {
		g_warning("instance %s: giving up reporting to Cinder that snapshot %s is %s",
			  left->instance, snapshot ? snapshot : "(unknown)",
			  status ? status : "(unknown)");
	} else if (send_status(agent, &identity, snapshot, status, &local) == 0) {
		g_message("instance %s: reported to Cinder that snapshot %s is %s", left->instance,
			  snapshot, status);
	} else if (may_accept_later(local)) {
		g_propagate_prefixed_error(error, g_steal_pointer(&local),
					   "reporting to Cinder that snapshot %s is %s: ", snapshot,
					   status);
		rc = -1;
	} else {
		g_warning("instance %s: Cinder refuses that snapshot %s is %s: %s", left->instance,
			  snapshot, status, local->message);
	}
	cJSON_Delete(result);
	return rc;
}

int volume_result_resend(struct agent *agent, const struct journal_job *left, GError **error)
{
	for (guint i = 0; i < left->steps->len; i++) {
		struct journal_step *step = left->steps->pdata[i];

		if (step->cleared || !g_str_equal(step->name, VOLUME_RESULT_STEP))
			continue;
		if (resend_once(agent, left, step, error) < 0 ||
		    journal_step_clear_id(agent->journal, step->id, error) < 0)
			return -1;
		step->cleared = true;
	}
	return 0;
}
