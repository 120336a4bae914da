/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A limit on the bytes per second of all uploads to a store together
 * ([novasnap]upload_bytes_per_second). Several threads may use one limit.
 */
#ifndef NOVASNAP_IMAGE_RATE_LIMIT_H
#define NOVASNAP_IMAGE_RATE_LIMIT_H

#include <glib.h>

struct rate_limit;

/* Returns NULL if there is no limit (`bytes_per_second` is 0). */
struct rate_limit *rate_limit_new(unsigned bytes_per_second);
/* Accepts NULL. */
void rate_limit_free(struct rate_limit *limit);

/* Reserves time for `bytes`, in the order of the calls. Returns when they may be sent, in
 * microseconds of g_get_monotonic_time(); 0 if `limit` is NULL. It may lie up to half a second
 * back, if the caller was late: what was not sent in time is made up for. */
gint64 rate_limit_reserve(struct rate_limit *limit, size_t bytes);

#endif
