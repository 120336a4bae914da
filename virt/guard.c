/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guard of a stream. When the file system of a scratch file is full, QEMU pauses the *guest*
 * with an I/O error, and it stays so: so the job is ended before, and a guest that was caught is
 * resumed.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/statvfs.h>
#include <time.h>

#include "virt/stream.h"

#define LOOK_MS 250
/* Once libvirt told that the scratch file grew. */
#define CLOSE_LOOK_MS 20
#define MIB ((uint64_t)1024 * 1024)

struct guard {
	struct snapshot *snapshot;
	pthread_t thread;
	int callback;		/* libvirt's, -1: none */
	atomic_uint references; /* ours, and the callback's */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	bool stopping;
	bool fired;
	unsigned look_ms;
};

static void guard_unref(void *opaque)
{
	struct guard *guard = opaque;

	if (atomic_fetch_sub(&guard->references, 1) > 1)
		return;
	pthread_cond_destroy(&guard->changed);
	pthread_mutex_destroy(&guard->lock);
	g_free(guard);
}

static int64_t free_bytes(const struct virt_config *config)
{
	struct statvfs fs;

	if (statvfs(config->scratch_dir, &fs) < 0)
		return -1;
	return (int64_t)((uint64_t)fs.f_bavail * fs.f_frsize);
}

int guard_check_room(const struct virt_config *config, uint64_t size, GError **error)
{
	uint64_t wanted = size / 100 * config->scratch_percent + config->scratch_reserve_mib * MIB;
	int64_t room = free_bytes(config);

	if (room < 0) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "looking at [novasnap]scratch_dir "
			    "%s: %s",
			    config->scratch_dir, g_strerror(errno));
		return -1;
	}
	if ((uint64_t)room >= wanted)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS,
		    "[novasnap]scratch_dir %s has %" G_GINT64_FORMAT
		    " MiB free, and %" G_GUINT64_FORMAT
		    " MiB are wanted for what the guest overwrites meanwhile (scratch_percent, "
		    "scratch_reserve): make room, or give it another place",
		    config->scratch_dir, room / (int64_t)MIB, wanted / MIB);
	return -1;
}

static bool is_paused_by_an_error(virDomainPtr domain)
{
	int state, reason;

	return virDomainGetState(domain, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED &&
	       reason == VIR_DOMAIN_PAUSED_IOERROR;
}

/* Ends our job, and the pause that it brought. A connection of our own: that of the snapshot may
 * have gone while the job went on. -1: to be tried again. */
static int fire(struct guard *guard)
{
	struct snapshot *snapshot = guard->snapshot;
	g_autoptr(GError) error = NULL;
	virConnectPtr connection = host_connect(snapshot->host, &error);
	virDomainPtr domain =
		connection ? host_find_domain(connection, snapshot->uuid, &error) : NULL;
	int rc = -1;

	if (domain && jobs_end_backup(domain, snapshot->stream->socket, &error) == 0) {
		rc = 0;
		if (snapshot->first_state == VIR_DOMAIN_RUNNING && is_paused_by_an_error(domain) &&
		    virDomainResume(domain) < 0) {
			virt_set_error(&error, "resuming the guest, which an I/O error paused");
			rc = -1;
		}
	}
	if (rc < 0)
		g_warning("guest %s: ending its stream, for %s is nearly full: %s; tried again",
			  snapshot->uuid, host_config(snapshot->host)->scratch_dir,
			  error ? error->message : "unknown");
	if (domain)
		(void)virDomainFree(domain);
	if (connection)
		(void)virConnectClose(connection);
	return rc;
}

static bool is_full(struct guard *guard)
{
	const struct virt_config *config = host_config(guard->snapshot->host);
	int64_t room = free_bytes(config);

	return room >= 0 && (uint64_t)room < config->scratch_reserve_mib * MIB;
}

/* With the lock held. Anybody who reads sees why the export goes, before it goes. */
static bool look(struct guard *guard)
{
	bool done = false;

	pthread_mutex_unlock(&guard->lock);
	if (is_full(guard)) {
		pthread_mutex_lock(&guard->lock);
		if (!guard->fired)
			g_warning(
				"guest %s: the scratch file's folder %s is nearly full: the stream "
				"is given up, so that the guest is not stopped",
				guard->snapshot->uuid,
				host_config(guard->snapshot->host)->scratch_dir);
		guard->fired = true;
		pthread_mutex_unlock(&guard->lock);
		done = fire(guard) == 0;
	}
	pthread_mutex_lock(&guard->lock);
	return done;
}

static void *guard_main(void *opaque)
{
	struct guard *guard = opaque;

	pthread_mutex_lock(&guard->lock);
	while (!guard->stopping && !look(guard)) {
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += guard->look_ms * 1000000L;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000L;
		}
		if (!guard->stopping)
			(void)pthread_cond_clockwait(&guard->changed, &guard->lock, CLOCK_MONOTONIC,
						     &until);
	}
	pthread_mutex_unlock(&guard->lock);
	return NULL;
}

static void note_growth(virConnectPtr connection, virDomainPtr domain, const char *device,
			const char *path, unsigned long long threshold, unsigned long long excess,
			void *opaque)
{
	struct guard *guard = opaque;

	(void)connection;
	(void)domain;
	(void)device;
	(void)path;
	(void)threshold;
	(void)excess;
	pthread_mutex_lock(&guard->lock);
	guard->look_ms = CLOSE_LOOK_MS;
	pthread_cond_broadcast(&guard->changed);
	pthread_mutex_unlock(&guard->lock);
}

/* A guest may write faster than it is worth looking all the time: libvirt tells when the scratch
 * file has taken half of what it may. Where libvirt cannot, looking must do. */
static void set_threshold(struct guard *guard)
{
	struct snapshot *snapshot = guard->snapshot;
	g_autofree char *index = jobs_backup_scratch_index(snapshot->domain);
	g_autofree char *device =
		g_strdup_printf("%s[%s]", snapshot->disk->target, index ? index : "");
	int64_t room = free_bytes(host_config(snapshot->host));
	int64_t reserve = (int64_t)(host_config(snapshot->host)->scratch_reserve_mib * MIB);

	atomic_fetch_add(&guard->references, 1);
	guard->callback = virConnectDomainEventRegisterAny(
		snapshot->connection, snapshot->domain, VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD,
		VIR_DOMAIN_EVENT_CALLBACK(note_growth), guard, guard_unref);
	if (guard->callback < 0)
		guard_unref(guard);
	if (guard->callback < 0 || !index || room <= reserve ||
	    virDomainSetBlockThreshold(snapshot->domain, device,
				       (unsigned long long)(room - reserve) / 2, 0) < 0)
		g_info("guest %s: libvirt does not tell when the scratch file grows: %s",
		       snapshot->uuid, virGetLastErrorMessage());
}

struct guard *guard_start(struct snapshot *snapshot, GError **error)
{
	struct guard *guard = g_new0(struct guard, 1);
	int rc;

	guard->snapshot = snapshot;
	guard->look_ms = LOOK_MS;
	atomic_init(&guard->references, 1);
	pthread_mutex_init(&guard->lock, NULL);
	pthread_cond_init(&guard->changed, NULL);
	set_threshold(guard);
	rc = pthread_create(&guard->thread, NULL, guard_main, guard);
	if (rc == 0)
		return guard;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "cannot start the thread that guards the guest: %s", g_strerror(rc));
	if (guard->callback >= 0)
		(void)virConnectDomainEventDeregisterAny(snapshot->connection, guard->callback);
	guard_unref(guard);
	return NULL;
}

void guard_stop(struct guard *guard)
{
	if (!guard)
		return;
	pthread_mutex_lock(&guard->lock);
	guard->stopping = true;
	pthread_cond_broadcast(&guard->changed);
	pthread_mutex_unlock(&guard->lock);
	pthread_join(guard->thread, NULL);
	if (guard->callback >= 0)
		(void)virConnectDomainEventDeregisterAny(guard->snapshot->connection,
							 guard->callback);
	guard_unref(guard);
}

bool guard_fired(struct guard *guard)
{
	bool fired;

	if (!guard)
		return false;
	pthread_mutex_lock(&guard->lock);
	fired = guard->fired;
	pthread_mutex_unlock(&guard->lock);
	return fired;
}
