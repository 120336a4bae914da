/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reports to the conductor and the listeners while a task is running. report-end.h reports its end.
 */
#ifndef NOVASNAP_AGENT_REPORT_H
#define NOVASNAP_AGENT_REPORT_H

#include "agent/task/task.h"

/*
 * Calls to the conductor. Each returns 0, or -1 with the conductor's error. A call whose reply was
 * lost is repeated, up to three times. Without a conductor ([novasnap]control = none) they only
 * change the local instance and send notifications.
 */

/* Saves the instance with this task state (NULL: none) and its other changes. `expected`: the task
 * states that the conductor must find, separated by commas, "" for none; NULL: any. */
int report_task_state(struct task *task, const char *task_state, const char *expected,
		      GError **error);
/* One try to save the instance, whose task state was set to `wanted` before. Nothing is repeated or
 * sent to listeners. */
int report_save_once(struct task *task, const char *wanted, const char *expected, GError **error);
/* Saves the instance with this vm_state. The task state does not change. */
int report_vm_state(struct task *task, const char *vm_state, GError **error);
/* Saves the instance with this power state, and loads its flavor. The task state does not
 * change. */
int report_power_state(struct task *task, int power_state, GError **error);
/* Reads the flavor, which the notifications need, if the instance was sent without it. */
int report_load_flavor(struct task *task, GError **error);
/* Reads the block devices, which the notifications of a resume contain. */
int report_load_block_devices(struct task *task, GError **error);
/* Reads the instance's shares where nova-compute of this release does, and fails with
 * VIRT_ERROR_UNSUPPORTED if there are any. nova-api refuses the requests of such an instance. */
int report_refuse_shares(struct task *task, GError **error);

/* Sends the notification instance.<action>.start or .end; `phase` is "start" or "end". */
void report_phase(struct task *task, const char *action, const char *phase);
/* Sends the notification instance.exists. */
void report_exists(struct task *task);
/* Sends a progress notification: `done` of `total` bytes. Drops more than two reports a second,
 * unless `forced`. Logs the rate of an upload every ten seconds. Any thread. */
void report_progress(struct task *task, const char *phase, const char *detail, uint64_t done,
		     uint64_t total, bool forced);

/* Whether the conductor supports events and faults. Releases with plain instances (Grizzly) have
 * other calls for them. */
bool report_has_events(const struct task *task);
/* Whether a failed call may be repeated: not once the job must end. */
bool report_may_retry(const struct task *task);

#endif
