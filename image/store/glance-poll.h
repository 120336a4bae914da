/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking Glance for an image until its state is clear. The pause between two questions grows with
 * the time that was waited.
 */
#ifndef NOVASNAP_IMAGE_GLANCE_POLL_H
#define NOVASNAP_IMAGE_GLANCE_POLL_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>

/* The members are private. */
struct glance_poll {
	gint64 began; /* monotonic us */
	unsigned slept_s;
};

void glance_poll_begin(struct glance_poll *poll);
/* For how many seconds it was waited, the questions included. */
unsigned glance_poll_waited_s(const struct glance_poll *poll);
/* The length of the next pause, in seconds. */
unsigned glance_poll_pause_s(const struct glance_poll *poll);
/* Makes the pause. Returns false if `cancel` (may be NULL) ended it. */
bool glance_poll_sleep(struct glance_poll *poll, const atomic_int *cancel);

#endif
