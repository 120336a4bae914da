/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Judges whether the forwarding thread of the mode beside makes progress.
 */
#ifndef NOVASNAP_AGENT_DAEMON_BESIDE_PROGRESS_H
#define NOVASNAP_AGENT_DAEMON_BESIDE_PROGRESS_H

#include "agent/config/config.h"
#include "rpc/forward.h"

struct beside_progress {
	gint64 counted_at;   /* monotonic us: when the broker was asked what waits */
	gint64 reached_at;   /* monotonic us: the first connection since the thread consumed */
	unsigned connection; /* the last one that was seen */
	bool has_consumed;   /* since reached_at */
};

void beside_progress_init(struct beside_progress *progress);

/*
 * Whether messages wait, or may wait, and the thread has done nothing for
 * [novasnap]beside_patience. To be called about every second. While the broker could not be
 * reached, nothing could be given back either: the patience begins when it can be reached again.
 * May ask the broker what waits, which takes as long as rpc_forward_count_waiting().
 */
bool beside_progress_is_stuck(struct beside_progress *progress, const struct config *config,
			      const struct rpc_forward_status *status);

#endif
