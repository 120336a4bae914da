/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shows the progress of snapshots on standard output: a bar for each upload, which are updated
 * in place on a terminal, and a line for each change of state.
 */
#ifndef NOVASNAP_AGENT_COMMAND_PROGRESS_BAR_H
#define NOVASNAP_AGENT_COMMAND_PROGRESS_BAR_H

#include "rpc/nova.h"
#include "rpc/rpc.h"

struct progress_view;

/* With `rpc`, listens to the agents' notifications from now on; NULL: progress comes only from
 * progress_view_push. `image` and `instance` restrict the output to that image or instance; may be
 * NULL. `json`: the payloads of the notifications are printed, one on each line. NULL with an
 * error. */
struct progress_view *progress_view_new(struct rpc *rpc, const char *image, const char *instance,
					bool json, GError **error);

/* Shows progress until the snapshot of `image` or `instance` has succeeded (returns 0), failed or
 * been left to nova-compute (1), until `timeout_s` seconds are over (1; 0: no limit), or until
 * SIGINT or SIGTERM (130). Without image and instance, the end of a snapshot does not end it. */
int progress_view_run(struct progress_view *view, unsigned timeout_s);

/* Adds progress from another source than the broker. `opaque` is the view. Any thread. */
void progress_view_push(const struct nova_progress *progress, void *opaque);

/* Close the rpc first, because its thread calls the view. Accepts NULL. */
void progress_view_free(struct progress_view *view);

#endif
