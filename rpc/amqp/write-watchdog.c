/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Aborts a write that is stuck.
 */
#include "rpc/amqp/write-watchdog.h"

#include <sys/socket.h>

void write_watchdog_init(struct write_watchdog *watchdog)
{
	pthread_mutex_init(&watchdog->lock, NULL);
	watchdog->fd = -1;
	watchdog->since = 0;
}

void write_watchdog_destroy(struct write_watchdog *watchdog)
{
	pthread_mutex_destroy(&watchdog->lock);
}

void write_watchdog_begin(struct write_watchdog *watchdog, int fd)
{
	pthread_mutex_lock(&watchdog->lock);
	watchdog->fd = fd;
	watchdog->since = g_get_monotonic_time();
	pthread_mutex_unlock(&watchdog->lock);
}

void write_watchdog_end(struct write_watchdog *watchdog)
{
	pthread_mutex_lock(&watchdog->lock);
	watchdog->fd = -1;
	pthread_mutex_unlock(&watchdog->lock);
}

void write_watchdog_check(struct write_watchdog *watchdog, gint64 limit_us)
{
	pthread_mutex_lock(&watchdog->lock);
	if (watchdog->fd >= 0 && g_get_monotonic_time() - watchdog->since > limit_us)
		(void)shutdown(watchdog->fd, SHUT_RDWR);
	pthread_mutex_unlock(&watchdog->lock);
}
