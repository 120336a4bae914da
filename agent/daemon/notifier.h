/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What systemd is told of this process, as sd_notify(3) describes it: the state READY, RELOADING
 * or STOPPING, a line of text for `systemctl status`, and the watchdog's keep-alive. Does nothing
 * where systemd did not start it. Used by the thread of its main context.
 */
#ifndef NOVASNAP_AGENT_NOTIFIER_H
#define NOVASNAP_AGENT_NOTIFIER_H

#include <glib.h>
#include <stdbool.h>

struct notifier;

struct notifier_ops {
	/* What runs, in one line. The caller frees it; NULL: no text. */
	char *(*describe)(void *opaque);
	/* False with a reason: a main part is stuck, and systemd is to start the process again. The
	 * caller frees the reason. */
	bool (*is_alive)(void *opaque, char **ret_reason);
	void *opaque;
};

/* Asks and notifies every few seconds, and more often than the watchdog's limit (WatchdogSec). */
struct notifier *notifier_start(GMainContext *context, const struct notifier_ops *ops);
/* Accepts NULL. */
void notifier_stop(struct notifier *notifier);

/* novasnapd has started. It may still be without a broker, as the text says. */
void notifier_ready(struct notifier *notifier);
/* Sends the text now if it has changed. */
void notifier_update(struct notifier *notifier);
/* Around reading the configuration again. */
void notifier_begin_reload(struct notifier *notifier);
void notifier_end_reload(struct notifier *notifier);
void notifier_stopping(struct notifier *notifier);

#endif
