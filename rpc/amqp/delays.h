/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The last measured delays: their median, and the longest one since the start.
 */
#ifndef NOVASNAP_RPC_AMQP_DELAYS_H
#define NOVASNAP_RPC_AMQP_DELAYS_H

#include <glib.h>

#define DELAYS_KEPT 127

/* Initialize it with zeros. */
struct delays {
	gint64 kept[DELAYS_KEPT]; /* us, a ring */
	unsigned count;		  /* of all delays so far */
	gint64 max;		  /* us, of all delays so far */
};

void delays_add(struct delays *delays, gint64 delay_us);
/* The last delay in us; -1: there is none. */
gint64 delays_last(const struct delays *delays);
/* The median of those that are kept, in us; -1: there is none. */
gint64 delays_median(const struct delays *delays);

#endif
