/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shows the progress of snapshots on standard output: a bar for each upload, which is drawn over on
 * a terminal, and a line for each change of state.
 */
#ifndef NOVASNAP_AGENT_COMMAND_PROGRESS_BAR_H
#define NOVASNAP_AGENT_COMMAND_PROGRESS_BAR_H

#include "rpc/nova.h"
#include "rpc/rpc.h"

struct progress_view;

/* With `rpc` it listens to the agents' notifications from now on; NULL: progress comes by
 * progress_view_push only. `image` and `instance`: their IDs, where only one of them is to be
 * shown; may be NULL. NULL with an error. */
struct progress_view *progress_view_new(struct rpc *rpc, const char *image, const char *instance,
					GError **error);

/* Shows progress until the snapshot of `image` or `instance` has succeeded (returns 0) or failed
 * (1), until `timeout_s` seconds are over (1; 0: no limit), or until SIGINT or SIGTERM (130).
 * Without image and instance it does not end with a snapshot. */
int progress_view_run(struct progress_view *view, unsigned timeout_s);

/* Adds progress that does not come from the broker. `opaque` is the view. Any thread. */
void progress_view_push(const struct nova_progress *progress, void *opaque);

/* The rpc must have been closed: its thread calls the view. NULL is allowed. */
void progress_view_free(struct progress_view *view);

#endif
