/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The last measured delays: the median of those of the last minutes, and the longest one since the
 * start.
 */
#ifndef NOVASNAP_RPC_AMQP_DELAYS_H
#define NOVASNAP_RPC_AMQP_DELAYS_H

#include <glib.h>

#define DELAYS_KEPT 127
/* An older delay is not in the median: it says nothing of how the broker is now. */
#define DELAYS_RECENT_S 180

/* Initialize it with zeros. */
struct delays {
	gint64 kept[DELAYS_KEPT]; /* us, a ring */
	gint64 at[DELAYS_KEPT];	  /* monotonic us: when each was measured */
	unsigned count;		  /* of all delays so far */
	gint64 max;		  /* us, of all delays so far */
};

/* `now`: monotonic us. */
void delays_add(struct delays *delays, gint64 now, gint64 delay_us);
/* The last delay in us; -1: there is none. */
gint64 delays_last(const struct delays *delays);
/* The median of the last DELAYS_RECENT_S, of at most DELAYS_KEPT delays, in us; -1: there is none.
 */
gint64 delays_median(const struct delays *delays, gint64 now);

#endif
