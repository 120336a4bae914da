/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a task tells the conductor and the listeners while it runs. How it ends is reported by
 * report-end.h.
 */
#ifndef NOVASNAP_AGENT_REPORT_H
#define NOVASNAP_AGENT_REPORT_H

#include "agent/task/task.h"

/*
 * The calls of the conductor. Each returns 0, or -1 with the conductor's error. A call whose reply
 * was lost is made again, up to three times. Without a conductor ([novasnap]control = none) they
 * only change the instance here and notify.
 */

/* Starts the event of the instance's action. */
int report_event_start(struct task *task, GError **error);
/* Saves the instance with this task state (NULL: none) and its other changes. `expected`: the task
 * states that the conductor must find, separated by commas, "" for none; NULL: any. */
int report_task_state(struct task *task, const char *task_state, const char *expected,
		      GError **error);
/* Saves the instance with this vm_state. The task state stays. */
int report_vm_state(struct task *task, const char *vm_state, GError **error);
/* Saves the instance with this power state, and loads its flavor. The task state stays. */
int report_power_state(struct task *task, int power_state, GError **error);
/* Reads the flavor, which the notifications need, where the instance came without it. */
int report_load_flavor(struct task *task, GError **error);
/* Reads the block devices, which the notifications of a resume contain. */
int report_load_block_devices(struct task *task, GError **error);

/* Notifies instance.<action>.start or .end; `phase` is "start" or "end". */
void report_phase(struct task *task, const char *action, const char *phase);
/* Notifies instance.exists. */
void report_exists(struct task *task);
/* Notifies how far the task is: `done` of `total` bytes. Drops all but two reports a second, unless
 * `forced`. Logs the rate of an upload every ten seconds. Any thread. */
void report_progress(struct task *task, const char *phase, const char *detail, uint64_t done,
		     uint64_t total, bool forced);

/* Whether the conductor has events and faults: those of the time of plain instances (Grizzly) have
 * other calls for them. */
bool report_has_events(const struct task *task);
/* Whether a call that failed may be made again: not once the job must end. */
bool report_may_retry(const struct task *task);

#endif
