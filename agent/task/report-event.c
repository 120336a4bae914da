/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See report-event.h.
 */
#include "agent/task/report-event.h"

#include "agent/task/facts.h"
#include "agent/task/fault-point.h"
#include "agent/task/report.h"
#include "agent/task/step.h"

/* How often the event is finished again if the reply is lost; each try waits for
 * rpc_response_timeout. */
#define FINISH_TRIES 3

int report_event_start(struct task *task, GError **error)
{
	if (!report_has_events(task))
		return 0;
	if (task_step_begin(task, "event", NULL, error) < 0 ||
	    nova_conductor_event_start(task->agent->rpc, task->context, task->release,
				       nova_instance_uuid(task->instance), task->method->event,
				       task->agent->config->rpc.host, error) < 0)
		return -1;
	return task_step_end(task, "event", error);
}

static int finish_once(struct task *task, const char *message, const char *details, GError **error)
{
	if (fault_at("event-finish", "before"))
		return fault_lost_reply("event-finish", error);
	if (nova_conductor_event_finish(task->agent->rpc, task->context, task->release,
					nova_instance_uuid(task->instance), task->method->event,
					message, details, error) < 0)
		return -1;
	return fault_at("event-finish", "after") ? fault_lost_reply("event-finish", error) : 0;
}

static bool is_event_missing(const GError *error)
{
	const char *class_name, *module;

	return rpc_failure_from_error(error, &class_name, &module) &&
	       g_str_equal(class_name, "InstanceActionEventNotFound");
}

int report_event_finish(struct task *task, const char *message, const char *details, GError **error)
{
	if (!report_has_events(task))
		return 0;
	for (unsigned attempt = 1;; attempt++) {
		g_autoptr(GError) local = NULL;

		if (finish_once(task, message, details, &local) == 0)
			return 0;
		/* The event could not be started, or an earlier process died before that. */
		if (attempt < FINISH_TRIES && is_event_missing(local) &&
		    report_event_start(task, NULL) == 0)
			continue;
		if (rpc_error_is_unanswered(local) && attempt < FINISH_TRIES &&
		    report_may_retry(task))
			continue;
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
}

static bool was_noted(const struct task *task, const char *fact)
{
	return task->recovered_job && fact_is_known(task->recovered_job, fact);
}

bool report_event_is_accepted(const struct task *task)
{
	return task->is_accepted || was_noted(task, FACT_ACCEPTED);
}

void report_event_accept(struct task *task)
{
	g_autoptr(GError) error = NULL;

	if (!report_has_events(task) || was_noted(task, FACT_EVENT_FINISHED))
		return;
	if (!report_event_is_accepted(task)) {
		if (!nova_release_has(task->release, NOVA_HABIT_EARLY_EVENT))
			return;
		task->is_accepted = true;
		fact_note(task, FACT_ACCEPTED);
	}
	if (report_event_finish(task, NULL, NULL, &error) == 0) {
		task_state_set_done(task->state, TASK_DUTY_EVENT);
		fact_note(task, FACT_EVENT_FINISHED);
		return;
	}
	g_warning("instance %s: the action's event could not be finished: %s%s",
		  nova_instance_uuid(task->instance), error->message,
		  rpc_error_is_unanswered(error) ? "; it will be finished at the end" : "");
	if (!rpc_error_is_unanswered(error))
		task_state_set_done(task->state, TASK_DUTY_EVENT);
}
