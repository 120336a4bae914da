/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lets novasnapd wait longer.
 */
#include "image/rbd/server/patience.h"

#include "image/rbd/server/reply.h"

#define PATIENCE_S 60
#define INTERVAL_US (G_USEC_PER_SEC / 2)

struct patience {
	struct server *server;
	GThread *thread;
	GMutex lock;
	GCond changed;
	bool ended; /* guarded by lock */
};

static gpointer report(gpointer opaque)
{
	struct patience *patience = opaque;
	gint64 until_us = g_get_monotonic_time() + (gint64)PATIENCE_S * G_USEC_PER_SEC;

	g_mutex_lock(&patience->lock);
	while (!patience->ended && g_get_monotonic_time() < until_us) {
		(void)g_cond_wait_until(&patience->changed, &patience->lock,
					g_get_monotonic_time() + INTERVAL_US);
		if (!patience->ended)
			reply_progress(patience->server, 0, 0);
	}
	g_mutex_unlock(&patience->lock);
	return NULL;
}

struct patience *patience_begin(struct server *server)
{
	struct patience *patience = g_new0(struct patience, 1);

	patience->server = server;
	g_mutex_init(&patience->lock);
	g_cond_init(&patience->changed);
	patience->thread = g_thread_new("patience", report, patience);
	return patience;
}

void patience_end(struct patience *patience)
{
	g_mutex_lock(&patience->lock);
	patience->ended = true;
	g_cond_signal(&patience->changed);
	g_mutex_unlock(&patience->lock);
	(void)g_thread_join(patience->thread);
	g_mutex_clear(&patience->lock);
	g_cond_clear(&patience->changed);
	g_free(patience);
}
