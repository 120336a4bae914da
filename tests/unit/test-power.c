/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Powering a guest off: it is done only once libvirt says that the guest is off. On a guest of
 * libvirt's test driver.
 */
#include "tests/unit/snapshot-fixture.h"

static struct {
	unsigned shutdowns, ignored_shutdowns; /* how many requests the guest ignores */
	unsigned destroys, failing_destroys;
	int destroy_code;
	bool destroy_works;	    /* though it fails */
	unsigned active_unanswered; /* how many times the question is not answered */
	unsigned active_answered;   /* after so many answers; 0: from the first on */
	bool cancel_meanwhile;
	atomic_int cancel;
} fake;

__typeof__(virDomainShutdown) __real_virDomainShutdown, __wrap_virDomainShutdown;
__typeof__(virDomainDestroy) __real_virDomainDestroy, __wrap_virDomainDestroy;
__typeof__(virDomainIsActive) __real_virDomainIsActive, __wrap_virDomainIsActive;

int __wrap_virDomainShutdown(virDomainPtr domain)
{
	if (fake.cancel_meanwhile)
		atomic_store(&fake.cancel, 1);
	if (++fake.shutdowns <= fake.ignored_shutdowns)
		return 0;
	return __real_virDomainShutdown(domain);
}

int __wrap_virDomainDestroy(virDomainPtr domain)
{
	if (++fake.destroys > fake.failing_destroys)
		return __real_virDomainDestroy(domain);
	if (fake.destroy_works)
		g_assert_cmpint(__real_virDomainDestroy(domain), ==, 0);
	return host_fail(fake.destroy_code);
}

int __wrap_virDomainIsActive(virDomainPtr domain)
{
	if (fake.active_answered > 0) {
		fake.active_answered--;
	} else if (fake.active_unanswered > 0) {
		fake.active_unanswered--;
		return host_fail(VIR_ERR_INVALID_CONN);
	}
	return __real_virDomainIsActive(domain);
}

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fixture_open(fixture, "");
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fixture_close(fixture);
}

static int power_off(const struct fixture *fixture, unsigned timeout_s, GError **error)
{
	return virt_guest_power_off(fixture->host.virt, FIXTURE_UUID, timeout_s, 10, &fake.cancel,
				    error);
}

static void assert_unknown(const struct fixture *fixture, unsigned timeout_s)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(power_off(fixture, timeout_s, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED);
}

static void test_guest_shuts_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.ignored_shutdowns = 2;
	g_assert_cmpint(power_off(fixture, 60, NULL), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
	g_assert_cmpuint(fake.shutdowns, ==, 3);
	g_assert_cmpuint(fake.destroys, ==, 0);
	g_assert_cmpint(host_clock_us / G_USEC_PER_SEC, >=, 20);
	/* It is off already. */
	g_assert_cmpint(power_off(fixture, 60, NULL), ==, 0);
	g_assert_cmpuint(fake.shutdowns, ==, 3);
}

static void test_guest_does_not_shut_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.ignored_shutdowns = 100;
	g_assert_cmpint(power_off(fixture, 60, NULL), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
	g_assert_cmpint(host_clock_us / G_USEC_PER_SEC, >=, 60);
	g_assert_cmpint(host_clock_us / G_USEC_PER_SEC, <, 62);
	g_assert_cmpuint(fake.shutdowns, ==, 6);
	g_assert_cmpuint(fake.destroys, ==, 1);
}

static void test_guest_is_not_asked(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(power_off(fixture, 0, NULL), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
	g_assert_cmpuint(fake.shutdowns, ==, 0);
	g_assert_cmpint(virDomainUndefine(fixture->host.domain), ==, 0);
	/* A guest that libvirt does not know is off. */
	g_assert_cmpint(power_off(fixture, 0, NULL), ==, 0);
}

static void test_cancelled(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	fake.ignored_shutdowns = 100;
	fake.cancel_meanwhile = true;
	g_assert_cmpint(power_off(fixture, 60, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_CANCELLED);
	g_assert_cmpuint(fake.destroys, ==, 0);
}

static void test_destroy_fails(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	fake.failing_destroys = 1;
	fake.destroy_code = VIR_ERR_OPERATION_FAILED;
	g_assert_cmpint(power_off(fixture, 0, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FAILED);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	/* It fails, but the guest is off: it went off by itself. */
	fake.destroys = 0;
	fake.destroy_works = true;
	g_assert_cmpint(power_off(fixture, 0, NULL), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
}

/* The connection breaks during the call. */
static void test_destroy_is_not_answered(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failing_destroys = 2;
	fake.destroy_code = VIR_ERR_INVALID_CONN;
	g_assert_cmpint(power_off(fixture, 0, NULL), ==, 0);
	g_assert_cmpuint(fake.destroys, ==, 3);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
	g_assert_cmpint(virDomainCreate(fixture->host.domain), ==, 0);
	fake.destroys = 0;
	fake.failing_destroys = UINT_MAX;
	assert_unknown(fixture, 0);
	g_assert_cmpuint(fake.destroys, ==, 3);
}

/* No answer is not "off". */
static void test_state_is_unknown(struct fixture *fixture, gconstpointer unused)
{
	static const unsigned timeouts[] = {0, 60};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(timeouts); i++) {
		fake.active_unanswered = UINT_MAX;
		assert_unknown(fixture, timeouts[i]);
		host_lose_libvirt();
		assert_unknown(fixture, timeouts[i]);
		host_find_libvirt();
	}
	g_assert_cmpuint(fake.shutdowns + fake.destroys, ==, 0);
	/* While it shuts down. */
	fake.ignored_shutdowns = UINT_MAX;
	fake.active_answered = 3;
	assert_unknown(fixture, 60);
	g_assert_cmpint(host_clock_us / G_USEC_PER_SEC, >=, 60);
	g_assert_cmpuint(fake.destroys, ==, 0);
	g_assert_cmpint(__real_virDomainIsActive(fixture->host.domain), ==, 1);
}

/* libvirtd is restarted: a new connection answers. */
static void test_state_is_asked_again(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.active_answered = 1;
	fake.active_unanswered = 2;
	fake.ignored_shutdowns = 1;
	g_assert_cmpint(power_off(fixture, 60, NULL), ==, 0);
	g_assert_cmpuint(host_connects, ==, 3);
	g_assert_cmpuint(fake.shutdowns, ==, 2);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
}

/* libvirtd is away for longer than its connection is tried: it is asked again. */
static void test_libvirt_is_away(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.active_answered = 2;
	fake.active_unanswered = 30;
	fake.ignored_shutdowns = 1;
	g_assert_cmpint(power_off(fixture, 60, NULL), ==, 0);
	g_assert_cmpuint(fake.shutdowns, ==, 2);
	g_assert_cmpuint(fake.destroys, ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
}

#define TEST(name) g_test_add("/power/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(guest_shuts_down);
	TEST(guest_does_not_shut_down);
	TEST(guest_is_not_asked);
	TEST(cancelled);
	TEST(destroy_fails);
	TEST(destroy_is_not_answered);
	TEST(state_is_unknown);
	TEST(state_is_asked_again);
	TEST(libvirt_is_away);
	return g_test_run();
}
