/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See rollback.h. virt/rollback.c implements the rollback of each step.
 */
#include "agent/recovery/rollback.h"

#include "agent/recovery/location.h"
#include "agent/task/fault-point.h"
#include "agent/task/location-step.h"
#include "agent/task/volume-result.h"

#define RETRY_PAUSE_MS 2000
/* A libvirtd that is starting together with novasnapd may need longer. */
#define DISCONNECTED_TIMES 3

static int rollback_journaled_step(struct agent *agent, const struct journal_job *left,
				   struct journal_step *step, GError **error)
{
	if (fault_at("undo", "before")) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED,
				    "a fault was put in before undo");
		return -1;
	}
	if (g_str_equal(step->name, LOCATION_STEP)
		    ? recovery_location_rollback(agent, left, step, error) < 0
		    : virt_guest_rollback_step(agent->host, left->instance, step->name, step->undo,
					       error) < 0)
		return -1;
	(void)fault_at("undo", "after");
	if (journal_step_clear_id(agent->journal, step->id, error) < 0)
		return -1;
	step->cleared = true;
	return 0;
}

/* Whether the step depends on a step whose rollback has failed. `failed`: struct journal_step. */
static bool must_wait(const struct journal_step *step, const GPtrArray *failed, bool is_last_try)
{
	for (guint i = 0; i < failed->len; i++) {
		const struct journal_step *other = failed->pdata[i];

		if (virt_step_waits_for(step->name, other->name, is_last_try))
			return true;
	}
	return false;
}

/* If a step cannot be rolled back, the older ones are still rolled back, except those that depend
 * on it: a guest must not stay saved because a folder cannot be removed. */
static int rollback_open_steps(struct agent *agent, const struct journal_job *left,
			       bool is_last_try, GError **error)
{
	g_autoptr(GPtrArray) failed = g_ptr_array_new();
	int rc = 0;

	for (guint i = left->steps->len; i > 0; i--) {
		struct journal_step *step = left->steps->pdata[i - 1];
		g_autoptr(GError) local = NULL;

		if (!journal_step_is_open(step) || g_str_equal(step->name, VOLUME_RESULT_STEP) ||
		    recovery_location_needs_store(left, step) ||
		    must_wait(step, failed, is_last_try) ||
		    rollback_journaled_step(agent, left, step, &local) == 0)
			continue;
		if (rc == 0)
			g_propagate_error(error, g_steal_pointer(&local));
		else
			g_info("instance %s: %s", left->instance, local->message);
		g_ptr_array_add(failed, step);
		rc = -1;
	}
	return rc;
}

int recovery_rollback(struct agent *agent, struct job *job, const struct journal_job *left,
		      unsigned tries, GError **error)
{
	for (unsigned attempt = 1, most = tries;; attempt++) {
		g_autoptr(GError) local = NULL;

		if (rollback_open_steps(agent, left, attempt >= most, &local) == 0)
			return 0;
		if (g_error_matches(local, VIRT_ERROR, VIRT_ERROR_DISCONNECTED))
			most = tries * DISCONNECTED_TIMES;
		if (attempt >= most || !job_wait_despite_cancel(job, RETRY_PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		g_info("instance %s: %s; trying again", left->instance, local->message);
	}
}
