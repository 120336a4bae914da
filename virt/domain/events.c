/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's events of one guest.
 */
#include "virt/domain/events.h"

#include <cjson/cJSON.h>
#include <pthread.h>

#include "virt/timed-wait.h"

#define WAIT_MS 250
/* Progress is queried once in this many waits. */
#define WAITS_PER_PROGRESS 4

struct domain_events {
	virConnectPtr connection; /* a reference: the guest may get another connection */
	char *target;
	int job_type;
	int job_callback; /* -1: not registered */
	int lifecycle_callback;
	int copy_callback;
	atomic_uint references; /* the owner's, and one for each registered callback */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	unsigned count; /* of events and wakes */
	bool job_ready;
	bool job_ended;
	bool job_failed;
	bool job_aborted;
	bool needs_copy_end; /* the end of a copy counts only with that of QEMU's mirror job */
	bool copy_complete;  /* QEMU has ended the mirror job without an error */
	char *copy_error;    /* with which QEMU has ended it */
	bool guest_started;
	bool guest_stopped;
	bool guest_resumed;
	bool guest_undefined;
	bool disconnected;
};

static void domain_events_unref(void *opaque)
{
	struct domain_events *events = opaque;

	if (atomic_fetch_sub(&events->references, 1) > 1)
		return;
	pthread_cond_destroy(&events->changed);
	pthread_mutex_destroy(&events->lock);
	g_free(events->target);
	g_free(events->copy_error);
	g_free(events);
}

static void record_event(struct domain_events *events, bool *flag)
{
	pthread_mutex_lock(&events->lock);
	*flag = true;
	events->count++;
	pthread_cond_broadcast(&events->changed);
	pthread_mutex_unlock(&events->lock);
}

static void on_block_job(virConnectPtr connection, virDomainPtr domain, const char *target,
			 int type, int status, void *opaque)
{
	struct domain_events *events = opaque;

	(void)connection;
	(void)domain;
	if (type != events->job_type || g_strcmp0(target, events->target) != 0)
		return;
	switch (status) {
	case VIR_DOMAIN_BLOCK_JOB_READY:
		record_event(events, &events->job_ready);
		break;
	case VIR_DOMAIN_BLOCK_JOB_COMPLETED:
		record_event(events, &events->job_ended);
		break;
	case VIR_DOMAIN_BLOCK_JOB_CANCELED:
		/* A copy is ended by an abort. A merge that is aborted has merged only a part. */
		record_event(events, type == VIR_DOMAIN_BLOCK_JOB_TYPE_COPY ? &events->job_ended
									    : &events->job_aborted);
		break;
	default:
		record_event(events, &events->job_failed);
		break;
	}
}

/* libvirt's names of QEMU's jobs are its own: a mirror job of another disk counts, too. If it
 * fails, the snapshot fails needlessly. If it succeeds, an error of this disk's job still counts.
 */
static void on_copy_end(virConnectPtr connection, virDomainPtr domain, const char *event,
			long long seconds, unsigned micros, const char *details, void *opaque)
{
	struct domain_events *events = opaque;
	cJSON *job = cJSON_Parse(details ? details : "");

	(void)connection;
	(void)domain;
	(void)event;
	(void)seconds;
	(void)micros;
	if (g_strcmp0(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(job, "type")),
		      "mirror") == 0) {
		const cJSON *failed = cJSON_GetObjectItemCaseSensitive(job, "error");
		const char *why = cJSON_GetStringValue(failed);

		pthread_mutex_lock(&events->lock);
		if (failed && !events->copy_error)
			events->copy_error = g_strdup(why ? why : "unknown error");
		pthread_mutex_unlock(&events->lock);
		record_event(events, failed ? &events->job_failed : &events->copy_complete);
	}
	cJSON_Delete(job);
}

static int on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail,
			void *opaque)
{
	struct domain_events *events = opaque;

	(void)connection;
	(void)domain;
	(void)detail;
	if (event == VIR_DOMAIN_EVENT_STOPPED || event == VIR_DOMAIN_EVENT_CRASHED)
		record_event(events, &events->guest_stopped);
	if (event == VIR_DOMAIN_EVENT_UNDEFINED)
		record_event(events, &events->guest_undefined);
	if (event == VIR_DOMAIN_EVENT_RESUMED)
		record_event(events, &events->guest_resumed);
	if (event == VIR_DOMAIN_EVENT_STARTED)
		record_event(events, &events->guest_started);
	return 0;
}

static void on_close(virConnectPtr connection, int reason, void *opaque)
{
	struct domain_events *events = opaque;

	(void)connection;
	if (reason != VIR_CONNECT_CLOSE_REASON_CLIENT)
		record_event(events, &events->disconnected);
}

static int register_event(struct domain_events *events, virDomainPtr domain, int kind,
			  virConnectDomainEventGenericCallback callback)
{
	int id;

	atomic_fetch_add(&events->references, 1);
	id = virConnectDomainEventRegisterAny(events->connection, domain, kind, callback, events,
					      domain_events_unref);
	if (id < 0)
		domain_events_unref(events);
	return id;
}

/* NOLINTBEGIN(clang-analyzer-unix.Malloc): the analyzer does not count references, and treats the
 * first unref as the last one. */
struct domain_events *domain_events_start(const struct guest *guest, const char *target,
					  int job_type, GError **error)
{
	struct domain_events *events = g_new0(struct domain_events, 1);

	events->connection = guest->connection;
	(void)virConnectRef(events->connection);
	events->target = g_strdup(target);
	events->job_type = job_type;
	events->lifecycle_callback = -1;
	events->copy_callback = -1;
	atomic_init(&events->references, 1);
	pthread_mutex_init(&events->lock, NULL);
	pthread_cond_init(&events->changed, NULL);
	atomic_fetch_add(&events->references, 1);
	if (virConnectRegisterCloseCallback(events->connection, on_close, events,
					    domain_events_unref) < 0)
		domain_events_unref(events);
	events->job_callback =
		register_event(events, guest->domain, VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
			       VIR_DOMAIN_EVENT_CALLBACK(on_block_job));
	if (events->job_callback >= 0)
		events->lifecycle_callback =
			register_event(events, guest->domain, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
				       VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle));
	if (events->lifecycle_callback >= 0)
		return events;
	virt_set_error(error, "registering for the guest's events");
	domain_events_stop(events);
	return NULL;
}
/* NOLINTEND(clang-analyzer-unix.Malloc) */

void domain_events_stop(struct domain_events *events)
{
	virConnectPtr connection;

	if (!events)
		return;
	connection = events->connection;
	(void)virConnectUnregisterCloseCallback(connection, on_close);
	if (events->job_callback >= 0)
		(void)virConnectDomainEventDeregisterAny(connection, events->job_callback);
	if (events->lifecycle_callback >= 0)
		(void)virConnectDomainEventDeregisterAny(connection, events->lifecycle_callback);
	if (events->copy_callback >= 0)
		(void)virConnectDomainQemuMonitorEventDeregister(connection, events->copy_callback);
	domain_events_unref(events);
	(void)virConnectClose(connection);
}

int domain_events_watch_copy_end(struct domain_events *events, const struct guest *guest,
				 GError **error)
{
	atomic_fetch_add(&events->references, 1);
	events->copy_callback = virConnectDomainQemuMonitorEventRegister(
		events->connection, guest->domain, "BLOCK_JOB_COMPLETED", on_copy_end, events,
		domain_events_unref, 0);
	if (events->copy_callback < 0) {
		domain_events_unref(events);
		virt_set_error(error, "registering for the end of QEMU's block job");
		return -1;
	}
	pthread_mutex_lock(&events->lock);
	events->needs_copy_end = true;
	pthread_mutex_unlock(&events->lock);
	return 0;
}

char *domain_events_copy_error(struct domain_events *events)
{
	char *why;

	pthread_mutex_lock(&events->lock);
	why = g_strdup(events->copy_error);
	pthread_mutex_unlock(&events->lock);
	return why;
}

static bool read_flag(struct domain_events *events, const bool *flag)
{
	bool is_set;

	pthread_mutex_lock(&events->lock);
	is_set = *flag;
	pthread_mutex_unlock(&events->lock);
	return is_set;
}

bool domain_events_guest_started(struct domain_events *events)
{
	return read_flag(events, &events->guest_started);
}

bool domain_events_guest_stopped(struct domain_events *events)
{
	return read_flag(events, &events->guest_stopped);
}

bool domain_events_guest_resumed(struct domain_events *events)
{
	return read_flag(events, &events->guest_resumed);
}

bool domain_events_guest_undefined(struct domain_events *events)
{
	return read_flag(events, &events->guest_undefined);
}

bool domain_events_are_lost(struct domain_events *events)
{
	return read_flag(events, &events->disconnected);
}

unsigned domain_events_wait(struct domain_events *events, unsigned seen, unsigned ms)
{
	unsigned count;

	pthread_mutex_lock(&events->lock);
	if (events->count == seen)
		timed_wait(&events->changed, &events->lock, ms);
	count = events->count;
	pthread_mutex_unlock(&events->lock);
	return count;
}

void domain_events_wake(struct domain_events *events)
{
	pthread_mutex_lock(&events->lock);
	events->count++;
	pthread_cond_broadcast(&events->changed);
	pthread_mutex_unlock(&events->lock);
}

void domain_events_forget_block_job(struct domain_events *events)
{
	pthread_mutex_lock(&events->lock);
	events->job_ready = events->job_ended = events->job_failed = events->job_aborted = false;
	pthread_mutex_unlock(&events->lock);
}

/* The recorded outcome, or -1 if the wait must continue. With the lock held. */
static int recorded_outcome(const struct domain_events *events, bool ended)
{
	if (events->job_failed)
		return BLOCK_JOB_FAILED;
	if (events->job_aborted)
		return BLOCK_JOB_ABORTED;
	if (events->job_ended && (!events->needs_copy_end || events->copy_complete))
		return BLOCK_JOB_ENDED;
	if (events->guest_stopped)
		return BLOCK_JOB_GUEST_STOPPED;
	if (events->disconnected)
		return BLOCK_JOB_DISCONNECTED;
	if (events->job_ready && !ended)
		return BLOCK_JOB_READY;
	return -1;
}

enum block_job_outcome domain_events_wait_block_job(struct domain_events *events, bool ended,
						    unsigned timeout_s, const atomic_int *cancel,
						    uint64_t (*progress)(void *opaque),
						    void *opaque)
{
	gint64 moved_at = g_get_monotonic_time();
	uint64_t last = 0;
	unsigned waits = 0;
	int outcome;

	pthread_mutex_lock(&events->lock);
	while ((outcome = recorded_outcome(events, ended)) < 0) {
		if (cancel && atomic_load(cancel) != 0) {
			outcome = BLOCK_JOB_CANCELLED;
			break;
		}
		if (g_get_monotonic_time() - moved_at > (gint64)timeout_s * G_USEC_PER_SEC) {
			outcome = BLOCK_JOB_TIMEOUT;
			break;
		}
		timed_wait(&events->changed, &events->lock, WAIT_MS);
		if (progress && ++waits % WAITS_PER_PROGRESS == 0 &&
		    recorded_outcome(events, ended) < 0) {
			uint64_t now;

			/* This queries libvirt. Event callbacks must not be blocked meanwhile. */
			pthread_mutex_unlock(&events->lock);
			now = progress(opaque);
			pthread_mutex_lock(&events->lock);
			if (now > last) {
				last = now;
				moved_at = g_get_monotonic_time();
			}
		}
	}
	pthread_mutex_unlock(&events->lock);
	return (enum block_job_outcome)outcome;
}
