/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scratch guard of a live stream.
 */
#include "virt/method/scratch-guard.h"

#include <errno.h>
#include <pthread.h>
#include <sys/statvfs.h>

#include "virt/domain/backup-job.h"
#include "virt/timed-wait.h"

#define POLL_MS 250
/* Once the scratch file has grown, or little space is left. */
#define CLOSE_POLL_MS 20
/* Less space than the reserve times this factor counts as little. */
#define CLOSE_FACTOR 4
#define MIB ((uint64_t)1024 * 1024)

struct scratch_guard {
	struct snapshot *snapshot;
	char *socket;
	virConnectPtr connection; /* a reference, for the event */
	pthread_t thread;
	int callback;		/* the event's id; -1: not registered */
	atomic_uint references; /* the owner's, and the callback's */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	bool stopping;
	bool tripped;
	unsigned poll_ms;
};

static void scratch_guard_unref(void *opaque)
{
	struct scratch_guard *guard = opaque;

	if (atomic_fetch_sub(&guard->references, 1) > 1)
		return;
	pthread_cond_destroy(&guard->changed);
	pthread_mutex_destroy(&guard->lock);
	g_free(guard->socket);
	g_free(guard);
}

/* -1 with errno. */
static int64_t free_bytes(const struct virt_config *config)
{
	struct statvfs fs;

	if (statvfs(config->scratch_dir, &fs) < 0)
		return -1;
	return (int64_t)((uint64_t)fs.f_bavail * fs.f_frsize);
}

int scratch_guard_check_room(const struct virt_config *config, uint64_t size, GError **error)
{
	uint64_t wanted = size / 100 * config->scratch_percent + config->scratch_reserve_mib * MIB;
	int64_t room = free_bytes(config);

	if (room < 0) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "cannot determine the free space of [novasnap]scratch_dir %s: %s",
			    config->scratch_dir, g_strerror(errno));
		return -1;
	}
	if ((uint64_t)room >= wanted)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS,
		    "[novasnap]scratch_dir %s has %" G_GINT64_FORMAT
		    " MiB free, but %" G_GUINT64_FORMAT
		    " MiB are needed for the data that the guest overwrites during the stream "
		    "(scratch_percent, scratch_reserve): make room, or set another folder",
		    config->scratch_dir, room / (int64_t)MIB, wanted / MIB);
	return -1;
}

/* Ends the job, and resumes the guest if the job caused a pause. Uses its own connection, since
 * libvirtd may have been restarted since the snapshot connected. */
static int end_job(struct scratch_guard *guard, GError **error)
{
	struct snapshot *snapshot = guard->snapshot;
	struct guest guest;
	int rc;

	guest_init(&guest, snapshot->guest.host, snapshot->guest.uuid);
	rc = backup_job_end(&guest, guard->socket, error);
	if (rc == 0 && snapshot->first_state == VIR_DOMAIN_RUNNING)
		rc = backup_job_resume_guest(&guest, error);
	guest_close(&guest);
	return rc;
}

static void poll_closely(struct scratch_guard *guard)
{
	pthread_mutex_lock(&guard->lock);
	guard->poll_ms = CLOSE_POLL_MS;
	pthread_cond_broadcast(&guard->changed);
	pthread_mutex_unlock(&guard->lock);
}

static bool is_nearly_full(struct scratch_guard *guard)
{
	const struct virt_config *config = guard->snapshot->config;
	uint64_t reserve = config->scratch_reserve_mib * MIB;
	int64_t room = free_bytes(config);

	/* Other files may use up the space as well. */
	if (room >= 0 && (uint64_t)room < reserve * CLOSE_FACTOR)
		poll_closely(guard);
	return room >= 0 && (uint64_t)room < reserve;
}

/* Must be called before the job is ended: the reading thread must know why the export is gone. */
static void record_tripped(struct scratch_guard *guard)
{
	bool before;

	pthread_mutex_lock(&guard->lock);
	before = guard->tripped;
	guard->tripped = true;
	pthread_mutex_unlock(&guard->lock);
	if (!before)
		g_warning("guest %s: the filesystem of its scratch file in %s is nearly full: "
			  "ending the stream, so that the guest is not paused",
			  guard->snapshot->guest.uuid, guard->snapshot->config->scratch_dir);
}

/* False when the guard must stop. */
static bool wait_for_poll(struct scratch_guard *guard)
{
	bool stopping;

	pthread_mutex_lock(&guard->lock);
	if (!guard->stopping)
		timed_wait(&guard->changed, &guard->lock, guard->poll_ms);
	stopping = guard->stopping;
	pthread_mutex_unlock(&guard->lock);
	return !stopping;
}

static void *scratch_guard_main(void *opaque)
{
	struct scratch_guard *guard = opaque;

	do {
		g_autoptr(GError) error = NULL;

		if (!is_nearly_full(guard))
			continue;
		record_tripped(guard);
		if (end_job(guard, &error) == 0)
			break;
		g_warning("guest %s: ending its stream, because %s is nearly full: %s; retrying",
			  guard->snapshot->guest.uuid, guard->snapshot->config->scratch_dir,
			  error->message);
	} while (wait_for_poll(guard));
	return NULL;
}

static void on_threshold(virConnectPtr connection, virDomainPtr domain, const char *device,
			 const char *path, unsigned long long threshold, unsigned long long excess,
			 void *opaque)
{
	(void)connection;
	(void)device;
	(void)path;
	(void)threshold;
	(void)excess;
	/* The guard may have been stopped, and its snapshot freed. */
	g_info("guest %s: the stream's scratch file has used half of its space",
	       virDomainGetName(domain));
	poll_closely(opaque);
}

/* A guest may fill the space between two polls, so libvirt reports when the scratch file has used
 * half of it. Without that event, the guard only polls. */
static void set_threshold(struct scratch_guard *guard)
{
	const struct guest *guest = &guard->snapshot->guest;
	const struct virt_config *config = guard->snapshot->config;
	g_autofree char *index = backup_job_scratch_index(guest->domain);
	g_autofree char *device =
		g_strdup_printf("%s[%s]", guard->snapshot->disk->target, index ? index : "");
	int64_t room = free_bytes(config);
	int64_t reserve = (int64_t)(config->scratch_reserve_mib * MIB);

	atomic_fetch_add(&guard->references, 1);
	guard->callback = virConnectDomainEventRegisterAny(
		guard->connection, guest->domain, VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD,
		VIR_DOMAIN_EVENT_CALLBACK(on_threshold), guard, scratch_guard_unref);
	if (guard->callback < 0)
		scratch_guard_unref(guard);
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the reference dropped is not the last. */
	if (guard->callback < 0 || !index || room <= reserve ||
	    virDomainSetBlockThreshold(guest->domain, device,
				       (unsigned long long)(room - reserve) / 2, 0) < 0)
		g_info("guest %s: libvirt cannot report the growth of the scratch file: %s",
		       guest->uuid, virGetLastErrorMessage());
}

/* Deregisters the event, and drops the owner's reference. */
static void release_guard(struct scratch_guard *guard)
{
	virConnectPtr connection = guard->connection;

	if (guard->callback >= 0)
		(void)virConnectDomainEventDeregisterAny(connection, guard->callback);
	scratch_guard_unref(guard);
	(void)virConnectClose(connection);
}

struct scratch_guard *scratch_guard_start(struct snapshot *snapshot, const char *socket,
					  GError **error)
{
	struct scratch_guard *guard = g_new0(struct scratch_guard, 1);
	int rc;

	guard->snapshot = snapshot;
	guard->socket = g_strdup(socket);
	guard->connection = snapshot->guest.connection;
	(void)virConnectRef(guard->connection);
	guard->poll_ms = POLL_MS;
	atomic_init(&guard->references, 1);
	pthread_mutex_init(&guard->lock, NULL);
	pthread_cond_init(&guard->changed, NULL);
	set_threshold(guard);
	rc = pthread_create(&guard->thread, NULL, scratch_guard_main, guard);
	if (rc == 0)
		return guard;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "cannot start the thread that guards the scratch file: %s", g_strerror(rc));
	release_guard(guard);
	return NULL;
}

void scratch_guard_stop(struct scratch_guard *guard)
{
	if (!guard)
		return;
	pthread_mutex_lock(&guard->lock);
	guard->stopping = true;
	pthread_cond_broadcast(&guard->changed);
	pthread_mutex_unlock(&guard->lock);
	pthread_join(guard->thread, NULL);
	release_guard(guard);
}

bool scratch_guard_tripped(struct scratch_guard *guard)
{
	bool tripped;

	if (!guard)
		return false;
	pthread_mutex_lock(&guard->lock);
	tripped = guard->tripped;
	pthread_mutex_unlock(&guard->lock);
	return tripped;
}
