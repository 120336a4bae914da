/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See notifier.h.
 */
#include "agent/daemon/notifier.h"

#include <systemd/sd-daemon.h>

/* How often the text is written, if it has changed. */
#define STATUS_MS 2000
/* The keep-alive is sent this often within the watchdog's limit. */
#define KEEP_ALIVES 3

struct notifier {
	struct notifier_ops ops;
	GSource *timer; /* NULL: systemd did not start this process */
	bool has_watchdog;
	bool is_ready;
	bool is_stuck;
	char *status; /* as last sent */
};

static void send_status(struct notifier *notifier)
{
	char *status = notifier->ops.describe(notifier->ops.opaque);

	if (!status || g_strcmp0(status, notifier->status) == 0) {
		g_free(status);
		return;
	}
	(void)sd_notifyf(0, "STATUS=%s", status);
	g_free(notifier->status);
	notifier->status = status;
}

static void send_keep_alive(struct notifier *notifier)
{
	g_autofree char *reason = NULL;
	bool is_alive = notifier->ops.is_alive(notifier->ops.opaque, &reason);

	if (is_alive)
		(void)sd_notify(0, "WATCHDOG=1");
	else if (!notifier->is_stuck)
		g_warning("%s: not telling systemd's watchdog that novasnapd is alive", reason);
	notifier->is_stuck = !is_alive;
}

static gboolean notify(gpointer opaque)
{
	struct notifier *notifier = opaque;

	send_status(notifier);
	if (notifier->has_watchdog)
		send_keep_alive(notifier);
	return G_SOURCE_CONTINUE;
}

struct notifier *notifier_start(GMainContext *context, const struct notifier_ops *ops)
{
	struct notifier *notifier = g_new0(struct notifier, 1);
	guint interval_ms = STATUS_MS;
	uint64_t limit_us;

	notifier->ops = *ops;
	notifier->has_watchdog = sd_watchdog_enabled(0, &limit_us) > 0;
	if (notifier->has_watchdog)
		interval_ms = MIN(interval_ms, (guint)MAX(limit_us / 1000 / KEEP_ALIVES, 1));
	if (!g_getenv("NOTIFY_SOCKET"))
		return notifier;
	notifier->timer = g_timeout_source_new(interval_ms);
	g_source_set_callback(notifier->timer, notify, notifier, NULL);
	(void)g_source_attach(notifier->timer, context);
	return notifier;
}

void notifier_stop(struct notifier *notifier)
{
	if (!notifier)
		return;
	if (notifier->timer) {
		g_source_destroy(notifier->timer);
		g_source_unref(notifier->timer);
	}
	g_free(notifier->status);
	g_free(notifier);
}

void notifier_ready(struct notifier *notifier)
{
	notifier->is_ready = true;
	(void)sd_notify(0, "READY=1");
	notifier_update(notifier);
}

void notifier_update(struct notifier *notifier)
{
	if (notifier->timer)
		send_status(notifier);
}

/* Before it is ready, READY=1 would be wrong. */
void notifier_begin_reload(struct notifier *notifier)
{
	if (notifier->is_ready)
		(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" G_GINT64_FORMAT,
				 g_get_monotonic_time());
}

void notifier_end_reload(struct notifier *notifier)
{
	if (notifier->is_ready)
		(void)sd_notify(0, "READY=1");
}

void notifier_stopping(struct notifier *notifier)
{
	(void)notifier;
	(void)sd_notify(0, "STOPPING=1\nSTATUS=Stopping: running jobs end or are rolled back");
}
