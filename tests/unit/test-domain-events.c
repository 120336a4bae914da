/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for libvirt's events: what ends a wait, and what does not. The test makes the events; the
 * linker puts the functions below in the place of those that register for them.
 */
#include <errno.h>

#define HOST_HAS_CLOSE_CALLBACK
#include "tests/unit/host.h"
#include "virt/domain/events.h"

static struct {
	virConnectDomainEventGenericCallback job, lifecycle;
	virConnectDomainQemuMonitorEventCallback monitor;
	virConnectCloseFunc closed;
	void *opaque;
	virFreeCallback free;
	unsigned references;
	int refused;	    /* the kind of event that libvirt does not support; -1: none */
	unsigned cancel_at; /* the wait during which the flag is set; 0: none */
	unsigned waits;
	unsigned moves; /* how many times the job's progress grows */
	atomic_int cancel;
	pthread_t waiter;
} fake;

__typeof__(virConnectDomainEventRegisterAny) __wrap_virConnectDomainEventRegisterAny;
__typeof__(virConnectDomainEventDeregisterAny) __wrap_virConnectDomainEventDeregisterAny;
__typeof__(virConnectDomainQemuMonitorEventRegister)
	__wrap_virConnectDomainQemuMonitorEventRegister;
__typeof__(virConnectDomainQemuMonitorEventDeregister)
	__wrap_virConnectDomainQemuMonitorEventDeregister;
__typeof__(virConnectRegisterCloseCallback) __wrap_virConnectRegisterCloseCallback;
__typeof__(virConnectUnregisterCloseCallback) __wrap_virConnectUnregisterCloseCallback;
__typeof__(pthread_cond_clockwait) __real_pthread_cond_clockwait, __wrap_pthread_cond_clockwait;

int __wrap_virConnectDomainEventRegisterAny(virConnectPtr connection, virDomainPtr domain, int kind,
					    virConnectDomainEventGenericCallback callback,
					    void *opaque, virFreeCallback free_opaque)
{
	(void)connection;
	(void)domain;
	if (kind == fake.refused)
		return host_fail(VIR_ERR_NO_SUPPORT);
	*(kind == VIR_DOMAIN_EVENT_ID_LIFECYCLE ? &fake.lifecycle : &fake.job) = callback;
	fake.opaque = opaque;
	fake.free = free_opaque;
	fake.references++;
	return kind;
}

int __wrap_virConnectDomainEventDeregisterAny(virConnectPtr connection, int id)
{
	(void)connection;
	(void)id;
	fake.references--;
	fake.free(fake.opaque);
	return 0;
}

#define MONITOR 1000 /* no kind of the other events */

int __wrap_virConnectDomainQemuMonitorEventRegister(
	virConnectPtr connection, virDomainPtr domain, const char *event,
	virConnectDomainQemuMonitorEventCallback callback, void *opaque,
	virFreeCallback free_opaque, unsigned flags)
{
	(void)connection;
	(void)domain;
	g_assert_cmpstr(event, ==, "BLOCK_JOB_COMPLETED");
	g_assert_cmpuint(flags, ==, 0);
	if (fake.refused == MONITOR)
		return host_fail(VIR_ERR_NO_SUPPORT);
	fake.monitor = callback;
	fake.opaque = opaque;
	fake.free = free_opaque;
	fake.references++;
	return MONITOR;
}

int __wrap_virConnectDomainQemuMonitorEventDeregister(virConnectPtr connection, int id)
{
	(void)connection;
	g_assert_cmpint(id, ==, MONITOR);
	fake.references--;
	fake.free(fake.opaque);
	return 0;
}

int __wrap_virConnectRegisterCloseCallback(virConnectPtr connection, virConnectCloseFunc callback,
					   void *opaque, virFreeCallback free_opaque)
{
	(void)connection;
	fake.closed = callback;
	fake.opaque = opaque;
	fake.free = free_opaque;
	fake.references++;
	return 0;
}

int __wrap_virConnectUnregisterCloseCallback(virConnectPtr connection, virConnectCloseFunc callback)
{
	(void)connection;
	(void)callback;
	fake.references--;
	fake.free(fake.opaque);
	return 0;
}

/* A quarter of a second in which nothing happens. */
int __wrap_pthread_cond_clockwait(pthread_cond_t *changed, pthread_mutex_t *lock, clockid_t clock,
				  const struct timespec *until)
{
	/* Other threads wait, too. */
	if (!pthread_equal(pthread_self(), fake.waiter))
		return __real_pthread_cond_clockwait(changed, lock, clock, until);
	host_clock_us += G_USEC_PER_SEC / 4;
	if (++fake.waits == fake.cancel_at)
		atomic_store(&fake.cancel, 1);
	return ETIMEDOUT;
}

struct fixture {
	struct host host;
	struct guest guest;
	struct domain_events *events;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fake.refused = -1;
	fake.waiter = pthread_self();
	host_open(&fixture->host);
	g_assert_cmpint(guest_open(&fixture->guest, fixture->host.virt, HOST_UUID, NULL), ==, 0);
	fixture->events =
		domain_events_start(&fixture->guest, "vda", VIR_DOMAIN_BLOCK_JOB_TYPE_COPY, NULL);
	g_assert_nonnull(fixture->events);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	/* The guest may get another connection before the events are stopped. */
	guest_close(&fixture->guest);
	domain_events_stop(fixture->events);
	g_assert_cmpuint(fake.references, ==, 0);
	host_close(&fixture->host);
}

static void send_job_event(const struct fixture *fixture, const char *disk, int type, int status)
{
	((virConnectDomainEventBlockJobCallback)(void (*)(void))fake.job)(
		fixture->host.connection, fixture->host.domain, disk, type, status, fake.opaque);
}

static void send_monitor_event(const struct fixture *fixture, const char *details)
{
	fake.monitor(fixture->host.connection, fixture->host.domain, "BLOCK_JOB_COMPLETED", 0, 0,
		     details, fake.opaque);
}

static void send_lifecycle_event(const struct fixture *fixture, int event)
{
	((virConnectDomainEventCallback)(void (*)(void))fake.lifecycle)(
		fixture->host.connection, fixture->host.domain, event, 0, fake.opaque);
}

static enum block_job_outcome wait_job(const struct fixture *fixture, bool ended)
{
	return domain_events_wait_block_job(fixture->events, ended, 60, NULL, NULL, NULL);
}

#define COPY VIR_DOMAIN_BLOCK_JOB_TYPE_COPY

static void test_job(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	/* Events of other jobs are ignored. */
	send_job_event(fixture, "vdb", COPY, VIR_DOMAIN_BLOCK_JOB_FAILED);
	send_job_event(fixture, "vda", VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT,
		       VIR_DOMAIN_BLOCK_JOB_FAILED);
	g_assert_cmpint(wait_job(fixture, false), ==, BLOCK_JOB_TIMEOUT);
	send_job_event(fixture, "vda", COPY, VIR_DOMAIN_BLOCK_JOB_READY);
	g_assert_cmpint(wait_job(fixture, false), ==, BLOCK_JOB_READY);
	g_assert_cmpint(wait_job(fixture, true), ==, BLOCK_JOB_TIMEOUT);
	send_job_event(fixture, "vda", COPY, VIR_DOMAIN_BLOCK_JOB_CANCELED);
	g_assert_cmpint(wait_job(fixture, true), ==, BLOCK_JOB_ENDED);
	domain_events_forget_block_job(fixture->events);
	g_assert_cmpint(wait_job(fixture, true), ==, BLOCK_JOB_TIMEOUT);
	send_job_event(fixture, "vda", COPY, VIR_DOMAIN_BLOCK_JOB_READY);
	send_job_event(fixture, "vda", COPY, VIR_DOMAIN_BLOCK_JOB_FAILED);
	g_assert_cmpint(wait_job(fixture, false), ==, BLOCK_JOB_FAILED);
}

/* A commit and a pull must run to their end: an abort leaves a part of the data in the file. */
static void test_merge(struct fixture *fixture, gconstpointer unused)
{
	static const int types[] = {VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT,
				    VIR_DOMAIN_BLOCK_JOB_TYPE_PULL};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
		domain_events_stop(fixture->events);
		fixture->events = domain_events_start(&fixture->guest, "vda", types[i], NULL);
		send_job_event(fixture, "vda", types[i], VIR_DOMAIN_BLOCK_JOB_COMPLETED);
		g_assert_cmpint(wait_job(fixture, true), ==, BLOCK_JOB_ENDED);
		domain_events_forget_block_job(fixture->events);
		send_job_event(fixture, "vda", types[i], VIR_DOMAIN_BLOCK_JOB_CANCELED);
		g_assert_cmpint(wait_job(fixture, true), ==, BLOCK_JOB_ABORTED);
		domain_events_forget_block_job(fixture->events);
		g_assert_cmpint(wait_job(fixture, true), ==, BLOCK_JOB_TIMEOUT);
	}
}

#define MIRROR "{\"type\": \"mirror\", \"device\": \"copy-vda\", \"len\": 1, \"offset\": 1"

/* Ends the copy as libvirt does after an abort, whatever QEMU says. */
static enum block_job_outcome end_copy(const struct fixture *fixture, const char *details)
{
	domain_events_forget_block_job(fixture->events);
	send_monitor_event(fixture, details);
	send_job_event(fixture, "vda", COPY, VIR_DOMAIN_BLOCK_JOB_CANCELED);
	return wait_job(fixture, true);
}

/* libvirt may report a copy that fails after its abort as ended. */
static void test_copy_end(struct fixture *fixture, gconstpointer unused)
{
	static const char *const others[] = {"", "not JSON", "{}", "{\"type\": \"backup\"}", NULL};
	g_autofree char *why = NULL;

	(void)unused;
	g_assert_cmpint(domain_events_watch_copy_end(fixture->events, &fixture->guest, NULL), ==,
			0);
	for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
		g_assert_cmpint(end_copy(fixture, others[i]), ==, BLOCK_JOB_TIMEOUT);
	g_assert_null(domain_events_copy_error(fixture->events));
	g_assert_cmpint(end_copy(fixture, MIRROR "}"), ==, BLOCK_JOB_ENDED);
	g_assert_cmpint(end_copy(fixture, MIRROR ", \"error\": \"No space left\"}"), ==,
			BLOCK_JOB_FAILED);
	why = domain_events_copy_error(fixture->events);
	g_assert_cmpstr(why, ==, "No space left");
	g_assert_cmpint(end_copy(fixture, MIRROR ", \"error\": 5}"), ==, BLOCK_JOB_FAILED);
}

static void test_guest(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	send_lifecycle_event(fixture, VIR_DOMAIN_EVENT_RESUMED);
	g_assert_false(domain_events_guest_started(fixture->events) ||
		       domain_events_guest_stopped(fixture->events) ||
		       domain_events_guest_undefined(fixture->events));
	send_lifecycle_event(fixture, VIR_DOMAIN_EVENT_UNDEFINED);
	g_assert_true(domain_events_guest_undefined(fixture->events));
	send_lifecycle_event(fixture, VIR_DOMAIN_EVENT_STARTED);
	g_assert_true(domain_events_guest_started(fixture->events));
	g_assert_cmpint(wait_job(fixture, false), ==, BLOCK_JOB_TIMEOUT);
	send_lifecycle_event(fixture, VIR_DOMAIN_EVENT_CRASHED);
	g_assert_true(domain_events_guest_stopped(fixture->events));
	g_assert_cmpint(wait_job(fixture, false), ==, BLOCK_JOB_GUEST_STOPPED);
}

static void test_connection(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.closed(fixture->host.connection, VIR_CONNECT_CLOSE_REASON_CLIENT, fake.opaque);
	g_assert_cmpint(wait_job(fixture, false), ==, BLOCK_JOB_TIMEOUT);
	g_assert_false(domain_events_are_lost(fixture->events));
	fake.closed(fixture->host.connection, VIR_CONNECT_CLOSE_REASON_KEEPALIVE, fake.opaque);
	g_assert_cmpint(wait_job(fixture, false), ==, BLOCK_JOB_DISCONNECTED);
	g_assert_true(domain_events_are_lost(fixture->events));
}

static void test_cancel(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.cancel_at = 3;
	g_assert_cmpint(
		domain_events_wait_block_job(fixture->events, false, 60, &fake.cancel, NULL, NULL),
		==, BLOCK_JOB_CANCELLED);
	g_assert_cmpuint(fake.waits, ==, 3);
}

static uint64_t read_progress(void *opaque)
{
	unsigned *asked = opaque;

	(*asked)++;
	return MIN(*asked, fake.moves);
}

/* A job may take any time, as long as it makes progress. */
static void test_progress(struct fixture *fixture, gconstpointer unused)
{
	unsigned asked = 0;

	(void)unused;
	fake.moves = 1000;
	g_assert_cmpint(domain_events_wait_block_job(fixture->events, false, 60, NULL,
						     read_progress, &asked),
			==, BLOCK_JOB_TIMEOUT);
	/* Once a second. */
	g_assert_cmpuint(asked, >=, 1060);
	g_assert_cmpuint(asked, <=, 1062);
	g_assert_cmpuint(fake.waits, >=, 4 * 1060);
}

/* Without the events nothing is waited for. */
static void test_no_events(struct fixture *fixture, gconstpointer unused)
{
	unsigned references = fake.references;
	void *opaque = fake.opaque;

	(void)unused;
	for (int i = 0; i < 2; i++) {
		g_autoptr(GError) error = NULL;

		fake.refused = i ? VIR_DOMAIN_EVENT_ID_LIFECYCLE : VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2;
		g_assert_null(domain_events_start(&fixture->guest, "vda", COPY, &error));
		g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FAILED);
		g_assert_cmpuint(fake.references, ==, references);
	}
	fake.opaque = opaque;
}

/* The copy must not be aborted then. */
static void test_no_copy_end(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	fake.refused = MONITOR;
	g_assert_cmpint(domain_events_watch_copy_end(fixture->events, &fixture->guest, &error), ==,
			-1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FAILED);
}

#define TEST(name)                                                                                 \
	g_test_add("/domain-events/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(job);
	TEST(merge);
	TEST(copy_end);
	TEST(guest);
	TEST(connection);
	TEST(cancel);
	TEST(progress);
	TEST(no_events);
	TEST(no_copy_end);
	return g_test_run();
}
