/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for libvirt's events: what ends a wait, and what does not. The events are made here; the
 * linker puts the functions below in the place of those that register for them.
 */
#include <errno.h>

#define HOST_TELLS_OF_CLOSING
#include "tests/unit/host.h"

static struct {
	virConnectDomainEventGenericCallback job, lifecycle;
	virConnectCloseFunc closed;
	void *opaque;
	virFreeCallback free;
	unsigned references;
	int refused;	       /* the kind of event that libvirt does not tell; -1: it tells all */
	unsigned cancel_at;    /* the look at which the wait is cancelled */
	unsigned looks, moves; /* `moves`: looks at which the job moves */
	atomic_int cancel;
	pthread_t waiter;
} fake;

__typeof__(virConnectDomainEventRegisterAny) __wrap_virConnectDomainEventRegisterAny;
__typeof__(virConnectDomainEventDeregisterAny) __wrap_virConnectDomainEventDeregisterAny;
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

/* A quarter of a second of a wait in which nothing comes. */
int __wrap_pthread_cond_clockwait(pthread_cond_t *changed, pthread_mutex_t *lock, clockid_t clock,
				  const struct timespec *until)
{
	/* Others wait too. */
	if (!pthread_equal(pthread_self(), fake.waiter))
		return __real_pthread_cond_clockwait(changed, lock, clock, until);
	host_passed += G_USEC_PER_SEC / 4;
	if (++fake.looks == fake.cancel_at)
		atomic_store(&fake.cancel, 1);
	return ETIMEDOUT;
}

struct fixture {
	struct host host;
	struct watch *watch;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fake.refused = -1;
	fake.waiter = pthread_self();
	host_open(&fixture->host);
	fixture->watch = watch_start(fixture->host.connection, fixture->host.domain, "vda",
				     VIR_DOMAIN_BLOCK_JOB_TYPE_COPY, NULL);
	g_assert_nonnull(fixture->watch);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	watch_stop(fixture->watch);
	g_assert_cmpuint(fake.references, ==, 0);
	host_close(&fixture->host);
}

static void job(const struct fixture *fixture, const char *disk, int type, int status)
{
	((virConnectDomainEventBlockJobCallback)(void (*)(void))fake.job)(
		fixture->host.connection, fixture->host.domain, disk, type, status, fake.opaque);
}

static void lifecycle(const struct fixture *fixture, int event)
{
	((virConnectDomainEventCallback)(void (*)(void))fake.lifecycle)(
		fixture->host.connection, fixture->host.domain, event, 0, fake.opaque);
}

static enum watch_end wait_for(const struct fixture *fixture, bool ended)
{
	return watch_wait(fixture->watch, ended, 60, NULL, NULL, NULL);
}

#define COPY VIR_DOMAIN_BLOCK_JOB_TYPE_COPY

static void test_job(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	/* Of others. */
	job(fixture, "vdb", COPY, VIR_DOMAIN_BLOCK_JOB_FAILED);
	job(fixture, "vda", VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT, VIR_DOMAIN_BLOCK_JOB_FAILED);
	g_assert_cmpint(wait_for(fixture, false), ==, WATCH_TIMEOUT);
	job(fixture, "vda", COPY, VIR_DOMAIN_BLOCK_JOB_READY);
	g_assert_cmpint(wait_for(fixture, false), ==, WATCH_READY);
	g_assert_cmpint(wait_for(fixture, true), ==, WATCH_TIMEOUT);
	job(fixture, "vda", COPY, VIR_DOMAIN_BLOCK_JOB_CANCELED);
	g_assert_cmpint(wait_for(fixture, true), ==, WATCH_ENDED);
	watch_reset(fixture->watch);
	g_assert_cmpint(wait_for(fixture, true), ==, WATCH_TIMEOUT);
	job(fixture, "vda", COPY, VIR_DOMAIN_BLOCK_JOB_READY);
	job(fixture, "vda", COPY, VIR_DOMAIN_BLOCK_JOB_FAILED);
	g_assert_cmpint(wait_for(fixture, false), ==, WATCH_FAILED);
}

static void test_guest(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	lifecycle(fixture, VIR_DOMAIN_EVENT_RESUMED);
	g_assert_false(watch_guest_started(fixture->watch) || watch_guest_stopped(fixture->watch) ||
		       watch_guest_undefined(fixture->watch));
	lifecycle(fixture, VIR_DOMAIN_EVENT_UNDEFINED);
	g_assert_true(watch_guest_undefined(fixture->watch));
	lifecycle(fixture, VIR_DOMAIN_EVENT_STARTED);
	g_assert_true(watch_guest_started(fixture->watch));
	g_assert_cmpint(wait_for(fixture, false), ==, WATCH_TIMEOUT);
	lifecycle(fixture, VIR_DOMAIN_EVENT_CRASHED);
	g_assert_true(watch_guest_stopped(fixture->watch));
	g_assert_cmpint(wait_for(fixture, false), ==, WATCH_GUEST_STOPPED);
}

static void test_connection(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.closed(fixture->host.connection, VIR_CONNECT_CLOSE_REASON_CLIENT, fake.opaque);
	g_assert_cmpint(wait_for(fixture, false), ==, WATCH_TIMEOUT);
	fake.closed(fixture->host.connection, VIR_CONNECT_CLOSE_REASON_KEEPALIVE, fake.opaque);
	g_assert_cmpint(wait_for(fixture, false), ==, WATCH_DISCONNECTED);
}

static void test_cancel(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.cancel_at = 3;
	g_assert_cmpint(watch_wait(fixture->watch, false, 60, &fake.cancel, NULL, NULL), ==,
			WATCH_CANCELLED);
	g_assert_cmpuint(fake.looks, ==, 3);
}

static uint64_t progress(void *opaque)
{
	unsigned *asked = opaque;

	(*asked)++;
	return MIN(*asked, fake.moves);
}

/* A job may take for ever, as long as it moves. */
static void test_progress(struct fixture *fixture, gconstpointer unused)
{
	unsigned asked = 0;

	(void)unused;
	fake.moves = 1000;
	g_assert_cmpint(watch_wait(fixture->watch, false, 60, NULL, progress, &asked), ==,
			WATCH_TIMEOUT);
	/* Once a second. */
	g_assert_cmpuint(asked, >=, 1060);
	g_assert_cmpuint(asked, <=, 1062);
	g_assert_cmpuint(fake.looks, >=, 4 * 1060);
}

/* What libvirt does not tell is not waited for. */
static void test_no_events(struct fixture *fixture, gconstpointer unused)
{
	unsigned references = fake.references;
	void *opaque = fake.opaque;

	(void)unused;
	for (int i = 0; i < 2; i++) {
		g_autoptr(GError) error = NULL;

		fake.refused = i ? VIR_DOMAIN_EVENT_ID_LIFECYCLE : VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2;
		g_assert_null(watch_start(fixture->host.connection, fixture->host.domain, "vda",
					  COPY, &error));
		g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FAILED);
		g_assert_cmpuint(fake.references, ==, references);
	}
	fake.opaque = opaque;
}

#define TEST(name) g_test_add("/watch/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(job);
	TEST(guest);
	TEST(connection);
	TEST(cancel);
	TEST(progress);
	TEST(no_events);
	return g_test_run();
}
