/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for libvirt's events: a block job's end, the guest's end, the connection's end.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "virt/internal.h"

#define SLICE_MS 250
#define PROGRESS_SLICES 4

struct watch {
	virConnectPtr connection;
	virDomainPtr domain;
	char *disk;
	int job_type;
	int job_callback;
	int lifecycle_callback;
	atomic_uint references; /* the snapshot's, and one of each registered callback */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	bool ready;
	bool ended;
	bool failed;
	bool guest_started;
	bool guest_stopped;
	bool guest_undefined;
	bool disconnected;
};

static void watch_unref(void *opaque)
{
	struct watch *watch = opaque;

	if (atomic_fetch_sub(&watch->references, 1) > 1)
		return;
	pthread_cond_destroy(&watch->changed);
	pthread_mutex_destroy(&watch->lock);
	g_free(watch->disk);
	g_free(watch);
}

static void note(struct watch *watch, bool *what)
{
	pthread_mutex_lock(&watch->lock);
	*what = true;
	pthread_cond_broadcast(&watch->changed);
	pthread_mutex_unlock(&watch->lock);
}

static void job_event(virConnectPtr connection, virDomainPtr domain, const char *disk, int type,
		      int status, void *opaque)
{
	struct watch *watch = opaque;

	(void)connection;
	(void)domain;
	if (type != watch->job_type || g_strcmp0(disk, watch->disk) != 0)
		return;
	switch (status) {
	case VIR_DOMAIN_BLOCK_JOB_READY:
		note(watch, &watch->ready);
		break;
	case VIR_DOMAIN_BLOCK_JOB_COMPLETED:
	case VIR_DOMAIN_BLOCK_JOB_CANCELED:
		note(watch, &watch->ended);
		break;
	default:
		note(watch, &watch->failed);
		break;
	}
}

static int lifecycle_event(virConnectPtr connection, virDomainPtr domain, int event, int detail,
			   void *opaque)
{
	struct watch *watch = opaque;

	(void)connection;
	(void)domain;
	(void)detail;
	if (event == VIR_DOMAIN_EVENT_STOPPED || event == VIR_DOMAIN_EVENT_CRASHED)
		note(watch, &watch->guest_stopped);
	if (event == VIR_DOMAIN_EVENT_UNDEFINED)
		note(watch, &watch->guest_undefined);
	if (event == VIR_DOMAIN_EVENT_STARTED)
		note(watch, &watch->guest_started);
	return 0;
}

static void close_event(virConnectPtr connection, int reason, void *opaque)
{
	struct watch *watch = opaque;

	(void)connection;
	if (reason != VIR_CONNECT_CLOSE_REASON_CLIENT)
		note(watch, &watch->disconnected);
}

/* NOLINTBEGIN(clang-analyzer-unix.Malloc): it does not count references, and sees the first one
 * dropped as the last. */
struct watch *watch_start(virConnectPtr connection, virDomainPtr domain, const char *disk,
			  int job_type, GError **error)
{
	struct watch *watch = g_new0(struct watch, 1);

	watch->connection = connection;
	watch->domain = domain;
	watch->disk = g_strdup(disk);
	watch->job_type = job_type;
	atomic_init(&watch->references, 1);
	pthread_mutex_init(&watch->lock, NULL);
	pthread_cond_init(&watch->changed, NULL);
	atomic_fetch_add(&watch->references, 1);
	if (virConnectRegisterCloseCallback(connection, close_event, watch, watch_unref) < 0)
		watch_unref(watch);
	atomic_fetch_add(&watch->references, 1);
	watch->job_callback = virConnectDomainEventRegisterAny(
		connection, domain, VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
		VIR_DOMAIN_EVENT_CALLBACK(job_event), watch, watch_unref);
	if (watch->job_callback < 0)
		watch_unref(watch);
	atomic_fetch_add(&watch->references, 1);
	watch->lifecycle_callback = virConnectDomainEventRegisterAny(
		connection, domain, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
		VIR_DOMAIN_EVENT_CALLBACK(lifecycle_event), watch, watch_unref);
	if (watch->lifecycle_callback < 0)
		watch_unref(watch);
	if (watch->job_callback >= 0 && watch->lifecycle_callback >= 0)
		return watch;
	virt_set_error(error, "asking libvirt for the guest's events");
	watch_stop(watch);
	return NULL;
}
/* NOLINTEND(clang-analyzer-unix.Malloc) */

void watch_stop(struct watch *watch)
{
	if (!watch)
		return;
	(void)virConnectUnregisterCloseCallback(watch->connection, close_event);
	if (watch->job_callback >= 0)
		(void)virConnectDomainEventDeregisterAny(watch->connection, watch->job_callback);
	if (watch->lifecycle_callback >= 0)
		(void)virConnectDomainEventDeregisterAny(watch->connection,
							 watch->lifecycle_callback);
	watch_unref(watch);
}

void watch_reset(struct watch *watch)
{
	pthread_mutex_lock(&watch->lock);
	watch->ready = watch->ended = watch->failed = false;
	pthread_mutex_unlock(&watch->lock);
}

static bool look(struct watch *watch, const bool *what)
{
	bool seen;

	pthread_mutex_lock(&watch->lock);
	seen = *what;
	pthread_mutex_unlock(&watch->lock);
	return seen;
}

bool watch_guest_started(struct watch *watch)
{
	return look(watch, &watch->guest_started);
}

bool watch_guest_stopped(struct watch *watch)
{
	return look(watch, &watch->guest_stopped);
}

bool watch_guest_undefined(struct watch *watch)
{
	return look(watch, &watch->guest_undefined);
}

void watch_pause(pthread_cond_t *changed, pthread_mutex_t *lock, unsigned ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ms * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	(void)pthread_cond_clockwait(changed, lock, CLOCK_MONOTONIC, &until);
}

/* What was noted, or -1 while there is nothing. With the lock held. */
static int noted(const struct watch *watch, bool ended)
{
	if (watch->failed)
		return WATCH_FAILED;
	if (watch->ended)
		return WATCH_ENDED;
	if (watch->guest_stopped)
		return WATCH_GUEST_STOPPED;
	if (watch->disconnected)
		return WATCH_DISCONNECTED;
	if (watch->ready && !ended)
		return WATCH_READY;
	return -1;
}

enum watch_end watch_wait(struct watch *watch, bool ended, unsigned timeout_s,
			  const atomic_int *cancel, uint64_t (*progress)(void *opaque),
			  void *opaque)
{
	gint64 began = g_get_monotonic_time();
	uint64_t last = 0;
	unsigned slices = 0;
	int end;

	pthread_mutex_lock(&watch->lock);
	while ((end = noted(watch, ended)) < 0) {
		if (cancel && atomic_load(cancel) != 0) {
			end = WATCH_CANCELLED;
			break;
		}
		if (g_get_monotonic_time() - began > (gint64)timeout_s * G_USEC_PER_SEC) {
			end = WATCH_TIMEOUT;
			break;
		}
		watch_pause(&watch->changed, &watch->lock, SLICE_MS);
		if (progress && ++slices % PROGRESS_SLICES == 0 && noted(watch, ended) < 0) {
			uint64_t now;

			pthread_mutex_unlock(&watch->lock);
			now = progress(opaque);
			pthread_mutex_lock(&watch->lock);
			if (now > last) {
				last = now;
				began = g_get_monotonic_time();
			}
		}
	}
	pthread_mutex_unlock(&watch->lock);
	return (enum watch_end)end;
}
