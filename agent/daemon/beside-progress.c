/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See beside-progress.h.
 */
#include "agent/daemon/beside-progress.h"

/* How often the broker is asked what waits while nothing arrives. */
#define IDLE_COUNT_US (30 * G_USEC_PER_SEC)

void beside_progress_init(struct beside_progress *progress)
{
	*progress = (struct beside_progress){.connection = UINT_MAX, .has_consumed = true};
}

/* Connections that are lost before the thread consumes are one attempt. */
static void note_connection(struct beside_progress *progress,
			    const struct rpc_forward_status *status, gint64 now)
{
	if (status->connected && status->connection != progress->connection) {
		if (progress->has_consumed)
			progress->reached_at = now;
		progress->has_consumed = false;
		progress->connection = status->connection;
	}
	if (status->consuming)
		progress->has_consumed = true;
}

/* Those that the broker has sent to a thread that does not read them cannot be counted, so they are
 * assumed to be there. */
bool beside_progress_is_stuck(struct beside_progress *progress, const struct config *config,
			      const struct rpc_forward_status *status)
{
	gint64 patience = (gint64)config->beside_patience_s * G_USEC_PER_SEC;
	gint64 now = g_get_monotonic_time();
	bool is_still = status->idle_us > patience;
	g_autoptr(GError) error = NULL;
	unsigned waiting = 0;

	note_connection(progress, status, now);
	/* Where nova-compute's queue is missing, it takes nothing the other way either. */
	if (status->stalled_us > patience && !status->refused)
		return true;
	if (!is_still && (status->unchanged_us <= patience || status->refused ||
			  now - progress->reached_at <= patience))
		return false;
	/* Also while it may not consume: a lost connection is a consumer until the broker notices
	 * its loss, and what that was sent does not count as waiting. */
	if (status->connected && (is_still || !status->consuming))
		return true;
	/* The broker sends messages into a connection that is dead, or sends them elsewhere. */
	if (!is_still && status->overdue_us > patience)
		return true;
	/* Nothing arrives, and usually nothing waits. */
	if (!is_still && status->consuming && now - progress->counted_at < IDLE_COUNT_US)
		return false;
	progress->counted_at = now;
	if (rpc_forward_count_waiting(&config->rpc, &waiting, &error) < 0)
		g_info("cannot count the messages that wait: %s", error->message);
	return waiting > 0;
}
