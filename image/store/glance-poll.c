/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See glance-poll.h.
 */
#include "image/store/glance-poll.h"

#include "image/cancel.h"

#define PAUSE_MIN_S 1
#define PAUSE_MAX_S 10
#define PAUSE_PART 20

void glance_poll_begin(struct glance_poll *poll)
{
	*poll = (struct glance_poll){.began = g_get_monotonic_time()};
}

unsigned glance_poll_waited_s(const struct glance_poll *poll)
{
	gint64 elapsed_s = (g_get_monotonic_time() - poll->began) / G_USEC_PER_SEC;

	return (unsigned)MAX(elapsed_s, poll->slept_s);
}

unsigned glance_poll_pause_s(const struct glance_poll *poll)
{
	return CLAMP(glance_poll_waited_s(poll) / PAUSE_PART, PAUSE_MIN_S, PAUSE_MAX_S);
}

bool glance_poll_sleep(struct glance_poll *poll, const atomic_int *cancel)
{
	unsigned pause_s = glance_poll_pause_s(poll);

	poll->slept_s += pause_s;
	return image_cancel_sleep(cancel, pause_s);
}
