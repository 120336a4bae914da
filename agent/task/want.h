/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the snapshot of a task is still wanted. The image tells, where the task state does not:
 * nova-compute clears the task states of busy instances when it starts.
 */
#ifndef NOVASNAP_AGENT_WANT_H
#define NOVASNAP_AGENT_WANT_H

#include "agent/task/task.h"

enum want {
	WANT_UNKNOWN, /* the image store or libvirt did not answer */
	WANT_YES,
	WANT_NO,
};

/* Asks image store and libvirt once. The snapshot is wanted if its image waits for data and the
 * guest is on this host. `is_begun`: this task may have begun to send data, so that the image may
 * also be receiving it. */
enum want snapshot_want(struct task *task, bool is_begun);

/* If the error is that libvirt does not know the guest (VIRT_ERROR_NO_DOMAIN), asks the conductor
 * once for the instance. If it is deleted or being deleted, that becomes the error, as of a save:
 * RPC_ERROR_INSTANCE_NOT_FOUND or RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE. */
void snapshot_explain_missing_guest(struct task *task, GError **error);

/* Whether there is a conductor that knows whether the instance is being deleted. */
bool snapshot_can_ask_deleting(const struct task *task);
/* Asks it once. `instance` is refreshed: the task's, or a copy, from any thread. `why` begins the
 * message. Returns 0 if the instance is not being deleted, or -1 with an error. */
int snapshot_ask_deleting(struct task *task, struct nova_instance *instance, const char *why,
			  GError **error);
/* Whether an error says that the instance is deleted or being deleted. */
bool snapshot_is_deleting(const GError *error);

/* Before a block device of a guest that is shut off is read again: nova overwrites it before it
 * deletes the guest. Returns 0 if the instance is not being deleted; or -1 with one of these
 * errors, that of the conductor if it does not answer, or VIRT_ERROR_BUSY if there is no conductor
 * to ask. */
int snapshot_refuse_deleting(struct task *task, GError **error);

#endif
