/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scratch guard of a live stream.
 */
#include "virt/method/scratch-guard.h"

#include <glib/gstdio.h>
#include <pthread.h>

#include "virt/domain/backup-job.h"
#include "virt/domain/io-error.h"
#include "virt/method/room.h"
#include "virt/timed-wait.h"

#define POLL_MS 250
/* Once the scratch file has grown, or little space is left. */
#define CLOSE_POLL_MS 20
/* Less space than the reserve times this factor counts as little. */
#define CLOSE_FACTOR 4
/* How often the guest's state is asked for without an event. */
#define STATE_POLL_US (2 * G_USEC_PER_SEC)

enum trip_reason {
	NOT_TRIPPED,
	TRIPPED_BY_ROOM,
	TRIPPED_BY_IO_ERROR,
};

struct scratch_guard {
	struct snapshot *snapshot;
	struct guarded_job job;
	char *disk_path;
	virConnectPtr connection; /* a reference, for the events */
	pthread_t thread;
	int threshold_callback; /* the events' ids; -1: not registered */
	int io_error_callback;
	atomic_uint references; /* the owner's, and the callbacks' */

	/* Used by the thread only. The guest has a connection of its own, since libvirtd may have
	 * been restarted since the snapshot connected. */
	struct guest guest;
	gint64 asked_at;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	bool stopping;
	enum trip_reason tripped;
	bool io_error; /* libvirt has reported one since the guest's state was asked for */
	bool guest_saw_io_error; /* of the disk, without a pause */
	unsigned poll_ms;
};

static void scratch_guard_unref(void *opaque)
{
	struct scratch_guard *guard = opaque;

	if (atomic_fetch_sub(&guard->references, 1) > 1)
		return;
	pthread_cond_destroy(&guard->changed);
	pthread_mutex_destroy(&guard->lock);
	g_free(guard->disk_path);
	g_free(guard);
}

/* Whether the guest may be resumed if an I/O error has paused it: the error came after the job
 * began, or after somebody resumed the guest. */
static bool may_resume(const struct scratch_guard *guard)
{
	return guard->job.may_resume || domain_events_guest_resumed(guard->snapshot->events);
}

/* Ends the job, and resumes the guest if the job caused a pause. The scratch file is removed first,
 * since the guest's own disk may need its room. */
static int end_job(struct scratch_guard *guard, GError **error)
{
	int rc = backup_job_end(&guard->guest, guard->job.socket, error);

	if (rc < 0 || !may_resume(guard))
		return rc;
	(void)g_unlink(guard->job.scratch);
	rc = io_error_resume(&guard->guest, guard->snapshot->disk->target, error);
	if (atomic_load(&guard->guest.io_error_resumed))
		atomic_store(&guard->snapshot->guest.io_error_resumed, true);
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
	uint64_t reserve = config->scratch_reserve_mib * ROOM_MIB;
	int64_t room = room_free(config->scratch_dir);

	/* Other files may use up the space as well. */
	if (room >= 0 && (uint64_t)room < reserve * CLOSE_FACTOR)
		poll_closely(guard);
	return room >= 0 && (uint64_t)room < reserve;
}

/* Whether libvirt has reported an I/O error since the last call. */
static bool take_io_error(struct scratch_guard *guard, bool *ret_guest_saw)
{
	bool io_error;

	pthread_mutex_lock(&guard->lock);
	io_error = guard->io_error;
	guard->io_error = false;
	*ret_guest_saw = guard->guest_saw_io_error;
	pthread_mutex_unlock(&guard->lock);
	return io_error;
}

/* Asks libvirt after an event, and now and then: events are lost when libvirtd restarts. */
static bool has_io_error(struct scratch_guard *guard)
{
	gint64 now = g_get_monotonic_time();
	bool guest_saw;
	bool is_new = take_io_error(guard, &guest_saw);

	if (guest_saw)
		return true;
	if ((!is_new && now - guard->asked_at < STATE_POLL_US) || !may_resume(guard))
		return false;
	guard->asked_at = now;
	return io_error_has_paused_at(&guard->guest, guard->snapshot->disk->target, NULL) ==
	       GUEST_YES;
}

static enum trip_reason find_reason(struct scratch_guard *guard)
{
	if (is_nearly_full(guard))
		return TRIPPED_BY_ROOM;
	return has_io_error(guard) ? TRIPPED_BY_IO_ERROR : NOT_TRIPPED;
}

static const char *describe_reason(enum trip_reason reason)
{
	return reason == TRIPPED_BY_ROOM
		       ? "is nearly full: the stream was ended, so that the guest is not paused"
		       : "may have no room that QEMU can use (a quota, a thin pool): the guest "
			 "had an I/O error, and the stream was ended";
}

/* Must be called before the job is ended: the reading thread must know why the export is gone. */
static void record_tripped(struct scratch_guard *guard, enum trip_reason reason)
{
	bool before;

	pthread_mutex_lock(&guard->lock);
	before = guard->tripped != NOT_TRIPPED;
	if (!before)
		guard->tripped = reason;
	pthread_mutex_unlock(&guard->lock);
	if (!before)
		g_warning("guest %s: the filesystem of its scratch file in %s %s",
			  guard->snapshot->guest.uuid, guard->snapshot->config->scratch_dir,
			  describe_reason(reason));
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

	guest_init(&guard->guest, guard->snapshot->guest.host, guard->snapshot->guest.uuid);
	do {
		g_autoptr(GError) error = NULL;
		enum trip_reason reason = find_reason(guard);

		if (reason == NOT_TRIPPED)
			continue;
		record_tripped(guard, reason);
		if (end_job(guard, &error) == 0)
			break;
		g_warning("guest %s: ending its stream, because of the room in %s: %s; retrying",
			  guard->snapshot->guest.uuid, guard->snapshot->config->scratch_dir,
			  error->message);
	} while (wait_for_poll(guard));
	guest_close(&guard->guest);
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

static void on_io_error(virConnectPtr connection, virDomainPtr domain, const char *path,
			const char *device, int action, const char *reason, void *opaque)
{
	struct scratch_guard *guard = opaque;

	(void)connection;
	/* As in on_threshold, the snapshot may be freed. */
	g_info("guest %s: I/O error of %s: %s", virDomainGetName(domain), device, reason);
	pthread_mutex_lock(&guard->lock);
	guard->io_error = true;
	/* A guest that goes on takes the error for one of its disk. QEMU pauses guests only for
	 * ENOSPC, and not for EDQUOT or EIO, unless their definition says otherwise. */
	if (action == VIR_DOMAIN_EVENT_IO_ERROR_REPORT && g_strcmp0(path, guard->disk_path) == 0)
		guard->guest_saw_io_error = true;
	pthread_cond_broadcast(&guard->changed);
	pthread_mutex_unlock(&guard->lock);
}

static int register_event(struct scratch_guard *guard, int kind,
			  virConnectDomainEventGenericCallback callback)
{
	int id;

	atomic_fetch_add(&guard->references, 1);
	id = virConnectDomainEventRegisterAny(guard->connection, guard->snapshot->guest.domain,
					      kind, callback, guard, scratch_guard_unref);
	if (id < 0)
		scratch_guard_unref(guard);
	return id;
}

/* A guest may fill the space between two polls, so libvirt reports when the scratch file has used
 * half of it, and I/O errors. Without these events, the guard only polls. */
static void register_events(struct scratch_guard *guard)
{
	const struct guest *guest = &guard->snapshot->guest;
	const struct virt_config *config = guard->snapshot->config;
	g_autofree char *index = backup_job_scratch_index(guest->domain);
	g_autofree char *device =
		g_strdup_printf("%s[%s]", guard->snapshot->disk->target, index ? index : "");
	int64_t room = room_free(config->scratch_dir);
	int64_t reserve = (int64_t)(config->scratch_reserve_mib * ROOM_MIB);

	/* NOLINTBEGIN(clang-analyzer-unix.Malloc): the references dropped are not the last. */
	guard->io_error_callback = register_event(guard, VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON,
						  VIR_DOMAIN_EVENT_CALLBACK(on_io_error));
	guard->threshold_callback = register_event(guard, VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD,
						   VIR_DOMAIN_EVENT_CALLBACK(on_threshold));
	if (guard->threshold_callback < 0 || !index || room <= reserve ||
	    virDomainSetBlockThreshold(guest->domain, device,
				       (unsigned long long)(room - reserve) / 2, 0) < 0)
		g_info("guest %s: libvirt cannot report the growth of the scratch file: %s",
		       guest->uuid, virGetLastErrorMessage());
	/* NOLINTEND(clang-analyzer-unix.Malloc) */
}

/* Deregisters the events, and drops the owner's reference. */
static void release_guard(struct scratch_guard *guard)
{
	virConnectPtr connection = guard->connection;

	if (guard->threshold_callback >= 0)
		(void)virConnectDomainEventDeregisterAny(connection, guard->threshold_callback);
	if (guard->io_error_callback >= 0)
		(void)virConnectDomainEventDeregisterAny(connection, guard->io_error_callback);
	scratch_guard_unref(guard);
	(void)virConnectClose(connection);
}

struct scratch_guard *scratch_guard_start(struct snapshot *snapshot, const struct guarded_job *job,
					  GError **error)
{
	struct scratch_guard *guard = g_new0(struct scratch_guard, 1);
	int rc;

	guard->snapshot = snapshot;
	guard->job = *job;
	guard->disk_path = g_strdup(disk_top(snapshot->disk)->path);
	guard->connection = snapshot->guest.connection;
	(void)virConnectRef(guard->connection);
	guard->poll_ms = POLL_MS;
	guard->asked_at = g_get_monotonic_time();
	atomic_init(&guard->references, 1);
	pthread_mutex_init(&guard->lock, NULL);
	pthread_cond_init(&guard->changed, NULL);
	register_events(guard);
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

int scratch_guard_check(struct scratch_guard *guard, GError **error)
{
	enum trip_reason tripped;

	if (!guard)
		return 0;
	pthread_mutex_lock(&guard->lock);
	tripped = guard->tripped;
	pthread_mutex_unlock(&guard->lock);
	if (tripped == NOT_TRIPPED)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS,
		    "[novasnap]scratch_dir %s %s; make room, or set another folder",
		    guard->snapshot->config->scratch_dir, describe_reason(tripped));
	return -1;
}
