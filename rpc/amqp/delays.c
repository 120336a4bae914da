/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See delays.h.
 */
#include "rpc/amqp/delays.h"

#include <stdlib.h>

void delays_add(struct delays *delays, gint64 now, gint64 delay_us)
{
	unsigned slot = delays->count++ % DELAYS_KEPT;

	delays->kept[slot] = delay_us;
	delays->at[slot] = now;
	delays->max = MAX(delays->max, delay_us);
}

gint64 delays_last(const struct delays *delays)
{
	return delays->count > 0 ? delays->kept[(delays->count - 1) % DELAYS_KEPT] : -1;
}

static int compare_delays(const void *one, const void *other)
{
	gint64 a = *(const gint64 *)one, b = *(const gint64 *)other;

	return (a > b) - (a < b);
}

gint64 delays_median(const struct delays *delays, gint64 now)
{
	gint64 since = now - (gint64)DELAYS_RECENT_S * G_USEC_PER_SEC;
	gint64 sorted[DELAYS_KEPT] = {0};
	unsigned count = 0;

	for (unsigned i = 0; i < MIN(delays->count, DELAYS_KEPT); i++) {
		if (delays->at[i] >= since)
			sorted[count++] = delays->kept[i];
	}
	if (count == 0)
		return -1;
	qsort(sorted, count, sizeof(sorted[0]), compare_delays);
	return sorted[count / 2];
}
