/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The thread that runs libvirt's event loop: it delivers events and sends keepalive messages for
 * all connections of this process.
 */
#ifndef NOVASNAP_VIRT_LIBVIRT_EVENT_LOOP_H
#define NOVASNAP_VIRT_LIBVIRT_EVENT_LOOP_H

#include <glib.h>

struct event_loop;

/* Starts the thread. Call it before the first connection is opened. NULL with VIRT_ERROR_FAILED. */
struct event_loop *event_loop_start(GError **error);
/* Stops the thread, waits for it and frees the loop. Accepts NULL. */
void event_loop_stop(struct event_loop *loop);

#endif
