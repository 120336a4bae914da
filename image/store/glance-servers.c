/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chooses among the servers in [glance]api_servers.
 */
#include "image/store/glance-servers.h"

#include <pthread.h>

#define DEAD_US (60 * G_USEC_PER_SEC)

struct glance_servers {
	unsigned count;
	pthread_mutex_t lock;
	/* Guarded by the lock. */
	unsigned current;
	gint64 *failed_at; /* of each server, monotonic us; 0: it answered, or was not tried */
};

struct glance_servers *glance_servers_new(unsigned count)
{
	struct glance_servers *servers = g_new0(struct glance_servers, 1);

	servers->count = count;
	servers->current = (unsigned)g_random_int_range(0, (gint32)count);
	servers->failed_at = g_new0(gint64, count);
	pthread_mutex_init(&servers->lock, NULL);
	return servers;
}

void glance_servers_free(struct glance_servers *servers)
{
	if (!servers)
		return;
	pthread_mutex_destroy(&servers->lock);
	g_free(servers->failed_at);
	g_free(servers);
}

/* The caller holds the lock. */
static unsigned find_server(const struct glance_servers *servers)
{
	gint64 now = g_get_monotonic_time();
	unsigned oldest = servers->current;

	for (unsigned i = 0; i < servers->count; i++) {
		unsigned server = (servers->current + i) % servers->count;
		gint64 failed_at = servers->failed_at[server];

		if (failed_at == 0 || now - failed_at >= DEAD_US)
			return server;
		if (failed_at < servers->failed_at[oldest])
			oldest = server;
	}
	return oldest;
}

unsigned glance_servers_choose(struct glance_servers *servers)
{
	unsigned server;

	pthread_mutex_lock(&servers->lock);
	server = find_server(servers);
	servers->current = server;
	pthread_mutex_unlock(&servers->lock);
	return server;
}

void glance_servers_report(struct glance_servers *servers, unsigned server, bool answered)
{
	pthread_mutex_lock(&servers->lock);
	servers->failed_at[server] = answered ? 0 : g_get_monotonic_time();
	pthread_mutex_unlock(&servers->lock);
}
