/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disk watch of the cold methods.
 */
#include "virt/method/disk-watch.h"

#include <pthread.h>

#include "virt/domain/disk-stamp.h"

#define POLL_MS 100

struct disk_watch {
	struct snapshot *snapshot;
	struct image_source *disk; /* NULL: none */
	bool is_device;		   /* whose stamp is compared */
	pthread_t thread;
	atomic_bool stopping;
	atomic_bool written;
	atomic_int flag;
};

static bool is_cancelled(const struct disk_watch *watch)
{
	return watch->snapshot->cancel && atomic_load(watch->snapshot->cancel) != 0;
}

/* Whether the disk must no longer be read. */
static bool must_let_go(struct disk_watch *watch)
{
	struct domain_events *events = watch->snapshot->events;

	if (watch->is_device &&
	    disk_stamp_check(watch->snapshot->disk, watch->snapshot->disk_stamp, NULL) < 0)
		atomic_store(&watch->written, true);
	return atomic_load(&watch->written) || is_cancelled(watch) ||
	       domain_events_guest_undefined(events) || domain_events_guest_started(events);
}

static void *disk_watch_main(void *opaque)
{
	struct disk_watch *watch = opaque;
	unsigned seen = 0;

	while (!atomic_load(&watch->stopping)) {
		if (must_let_go(watch)) {
			atomic_store(&watch->flag, 1);
			if (watch->disk)
				image_source_kill_server(watch->disk);
			break;
		}
		seen = domain_events_wait(watch->snapshot->events, seen, POLL_MS);
	}
	return NULL;
}

struct disk_watch *disk_watch_start(struct snapshot *snapshot, struct image_source *disk,
				    GError **error)
{
	struct disk_watch *watch = g_new0(struct disk_watch, 1);
	int rc;

	watch->snapshot = snapshot;
	watch->disk = disk;
	watch->is_device = snapshot->disk_stamp && disk_is_device(snapshot->disk);
	rc = pthread_create(&watch->thread, NULL, disk_watch_main, watch);
	if (rc == 0)
		return watch;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "cannot start the thread that watches the disk: %s", g_strerror(rc));
	g_free(watch);
	return NULL;
}

void disk_watch_stop(struct disk_watch *watch)
{
	if (!watch)
		return;
	atomic_store(&watch->stopping, true);
	domain_events_wake(watch->snapshot->events);
	pthread_join(watch->thread, NULL);
	g_free(watch);
}

const atomic_int *disk_watch_flag(const struct disk_watch *watch)
{
	return &watch->flag;
}

int disk_watch_check(struct disk_watch *watch, GError **error)
{
	if (!watch || !atomic_load(&watch->written))
		return 0;
	return disk_stamp_check(watch->snapshot->disk, watch->snapshot->disk_stamp, error);
}
