/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See delays.h.
 */
#include "rpc/amqp/delays.h"

#include <stdlib.h>
#include <string.h>

void delays_add(struct delays *delays, gint64 delay_us)
{
	delays->kept[delays->count++ % DELAYS_KEPT] = delay_us;
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

gint64 delays_median(const struct delays *delays)
{
	unsigned count = MIN(delays->count, DELAYS_KEPT);
	gint64 sorted[DELAYS_KEPT];

	if (count == 0)
		return -1;
	memcpy(sorted, delays->kept, count * sizeof(sorted[0]));
	qsort(sorted, count, sizeof(sorted[0]), compare_delays);
	return sorted[count / 2];
}
