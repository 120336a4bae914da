/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guard of a stream. When the file system of a scratch file is full, QEMU pauses the *guest*
 * with an I/O error, and it stays so: so the job is ended before, and a guest that was caught is
 * resumed.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/statvfs.h>

#include "virt/method/stream.h"

#define LOOK_MS 250
/* Once libvirt told that the scratch file grew. */
#define CLOSE_LOOK_MS 20
/* So many times the reserve are little. */
#define CLOSE_FACTOR 4
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

/* Ends our job, and the pause that it brought. A connection of our own: that of the snapshot may
 * have gone while the job went on. -1: to be tried again. */
static int fire(struct guard *guard)
{
	struct snapshot *snapshot = guard->snapshot;
	g_autoptr(GError) error = NULL;
	struct guest guest;
	int rc = guest_open(snapshot->host, snapshot->uuid, &guest, &error);

	if (rc == 0)
		rc = jobs_end_backup(guest.domain, snapshot->stream->socket, &error);
	if (rc == 0 && snapshot->first_state == VIR_DOMAIN_RUNNING)
		rc = jobs_resume_caught(guest.domain, &error);
	if (rc < 0)
		g_warning("guest %s: ending its stream, for %s is nearly full: %s; tried again",
			  snapshot->uuid, host_config(snapshot->host)->scratch_dir, error->message);
	guest_close(&guest);
	return rc;
}

static void look_closely(struct guard *guard)
{
	pthread_mutex_lock(&guard->lock);
	guard->look_ms = CLOSE_LOOK_MS;
	pthread_cond_broadcast(&guard->changed);
	pthread_mutex_unlock(&guard->lock);
}

/* Others write there too: it is looked at closely when there is little left, whoever took it. */
static bool is_full(struct guard *guard)
{
	const struct virt_config *config = host_config(guard->snapshot->host);
	uint64_t reserve = config->scratch_reserve_mib * MIB;
	int64_t room = free_bytes(config);

	if (room >= 0 && (uint64_t)room < reserve * CLOSE_FACTOR)
		look_closely(guard);
	return room >= 0 && (uint64_t)room < reserve;
}

/* Whoever reads sees why the export goes, before it goes. */
static void note_fired(struct guard *guard)
{
	bool before;

	pthread_mutex_lock(&guard->lock);
	before = guard->fired;
	guard->fired = true;
	pthread_mutex_unlock(&guard->lock);
	if (!before)
		g_warning("guest %s: the scratch file's folder %s is nearly full: the stream is "
			  "given up, so that the guest is not stopped",
			  guard->snapshot->uuid, host_config(guard->snapshot->host)->scratch_dir);
}

/* Until it is time to look again. False when there is no more to look after. */
static bool wait_for_look(struct guard *guard)
{
	bool stopping;

	pthread_mutex_lock(&guard->lock);
	if (!guard->stopping)
		watch_pause(&guard->changed, &guard->lock, guard->look_ms);
	stopping = guard->stopping;
	pthread_mutex_unlock(&guard->lock);
	return !stopping;
}

static void *guard_main(void *opaque)
{
	struct guard *guard = opaque;

	do {
		if (!is_full(guard))
			continue;
		note_fired(guard);
		if (fire(guard) == 0)
			break;
	} while (wait_for_look(guard));
	return NULL;
}

static void note_growth(virConnectPtr connection, virDomainPtr domain, const char *device,
			const char *path, unsigned long long threshold, unsigned long long excess,
			void *opaque)
{
	struct guard *guard = opaque;

	(void)connection;
	(void)device;
	(void)path;
	(void)threshold;
	(void)excess;
	/* The guard may have stopped by now, and its snapshot be gone. */
	g_info("guest %s: the scratch file of its stream has taken half of its room",
	       virDomainGetName(domain));
	look_closely(guard);
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
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the reference dropped is not the last. */
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
