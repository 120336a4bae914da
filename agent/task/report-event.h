/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reports the event of the instance's action (nova.compute.utils.EventReporter). Without a
 * conductor
 * ([novasnap]control = none), and for plain instances, the functions do nothing and succeed.
 */
#ifndef NOVASNAP_AGENT_REPORT_EVENT_H
#define NOVASNAP_AGENT_REPORT_EVENT_H

#include "agent/task/task.h"

/* Starts the event. Returns 0, or -1 with the conductor's error. Not repeated: each start inserts a
 * row. */
int report_event_start(struct task *task, GError **error);

/* Finishes the event: with success if `message` is NULL, else with the exception's text and
 * `details`. Tries again if the reply is lost, because finishing an event twice is harmless, and
 * starts the event if nova does not have it. Returns 0, or -1 with the last error. */
int report_event_finish(struct task *task, const char *message, const char *details,
			GError **error);

/* For methods that nova continues in another thread (struct task_method.rest_function), after the
 * first save: finishes the event with success if nova-compute of this release does so. From then on
 * the request counts as accepted, in this process and in later ones. If the conductor does not
 * answer, TASK_DUTY_EVENT stays due. */
void report_event_accept(struct task *task);

/* Whether the event is a success, whatever the method's end is. */
bool report_event_is_accepted(const struct task *task);

#endif
