/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which release of nova this host belongs to. A thread asks the conductor for the version in the
 * record of this host's nova-compute, which nova-compute writes at each start: at once, and then
 * from time to time, because nova may be upgraded meanwhile. As long as that is not known, the
 * release is taken from each request.
 */
#ifndef NOVASNAP_AGENT_RELEASE_H
#define NOVASNAP_AGENT_RELEASE_H

#include "agent/task/task.h"

struct release_watch;

/* Starts the thread. `config` and `rpc` must outlive it. `on_known` is called in the thread when
 * the release becomes known, and when it changes. NULL with an error. */
struct release_watch *release_watch_start(const struct config *config, struct rpc *rpc,
					  void (*on_known)(const struct nova_release *release,
							   void *opaque),
					  void *opaque, GError **error);
/* Ends the thread; waits for its call to the conductor, which rpc_end_calls ends. Accepts NULL. */
void release_watch_stop(struct release_watch *watch);
/* The version in the record. 0: not known. Accepts NULL. Any thread. */
int release_watch_record(struct release_watch *watch);

/* Waits for the conductor's first answer, including `on_known`, for at most `ms` milliseconds.
 * Returns whether it has come, or cannot be had at present. */
bool release_watch_wait(struct release_watch *watch, unsigned ms);

/* Sets task->release, once. Waits for the conductor's first answer, as long as the task may run: so
 * not before the guest's steps of an earlier process are rolled back. In the job's thread. */
void release_find(struct task *task);

#endif
