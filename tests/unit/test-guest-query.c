/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Questions about a guest: a broken connection is replaced, and no answer is neither a yes nor a
 * no. On a guest of libvirt's test driver.
 */
#include "tests/unit/host.h"
#include "virt/domain/guest-query.h"

#define NO_UUID "6695eb01-f6a4-8304-79aa-97f2502e1930"

static struct {
	unsigned unanswered; /* how many times the question fails */
	int code;	     /* with this code */
	bool breaks;	     /* the connection looks broken after that */
	unsigned asked;
} fake;

__typeof__(virDomainIsActive) __real_virDomainIsActive, __wrap_virDomainIsActive;
__typeof__(virDomainGetState) __real_virDomainGetState, __wrap_virDomainGetState;

static bool fails(void)
{
	fake.asked++;
	if (fake.unanswered == 0)
		return false;
	fake.unanswered--;
	host_is_broken = fake.breaks;
	(void)host_fail(fake.code);
	return true;
}

int __wrap_virDomainIsActive(virDomainPtr domain)
{
	return fails() ? -1 : __real_virDomainIsActive(domain);
}

int __wrap_virDomainGetState(virDomainPtr domain, int *state, int *reason, unsigned flags)
{
	return fails() ? -1 : __real_virDomainGetState(domain, state, reason, flags);
}

struct query_fixture {
	struct host host;
	struct guest guest;
};

static void set_up(struct query_fixture *fixture, gconstpointer uuid)
{
	memset(&fake, 0, sizeof(fake));
	fake.code = VIR_ERR_INVALID_CONN;
	host_open(&fixture->host);
	guest_init(&fixture->guest, fixture->host.virt, uuid ? uuid : HOST_UUID);
}

static void tear_down(struct query_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	guest_close(&fixture->guest);
	host_close(&fixture->host);
}

static void assert_unknown(struct query_fixture *fixture, int code)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(guest_is_active(&fixture->guest, &error), ==, GUEST_UNKNOWN);
	g_assert_error(error, VIRT_ERROR, code);
	host_assert_message(error, "asking whether the guest runs");
}

static void test_answers(struct query_fixture *fixture, gconstpointer unused)
{
	struct guest *guest = &fixture->guest;
	virDomainBlockJobInfo info;
	g_autofree char *place = NULL;
	int reason;

	(void)unused;
	g_assert_cmpint(guest_exists(guest, NULL), ==, GUEST_YES);
	g_assert_cmpint(guest_is_active(guest, NULL), ==, GUEST_YES);
	g_assert_cmpint(guest_is_persistent(guest, NULL), ==, GUEST_YES);
	g_assert_cmpint(guest_has_managed_save(guest, NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_state(guest, &reason, NULL), ==, VIR_DOMAIN_RUNNING);
	/* The driver supports no jobs, so there is none. */
	g_assert_cmpint(guest_has_job(guest, NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_has_backup(guest, &place, NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_has_copy_into(guest, "vda", "/x", NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_has_block_job(guest, "vda", &info, NULL), ==, GUEST_UNKNOWN);
	g_assert_cmpint(virDomainDestroy(fixture->host.domain), ==, 0);
	g_assert_cmpint(guest_is_active(guest, NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_wait_idle(guest, NULL), ==, 0);
	/* All on one connection. */
	g_assert_cmpuint(host_connects, ==, 1);
}

static void test_unknown_guest(struct query_fixture *fixture, gconstpointer unused)
{
	struct guest *guest = &fixture->guest;
	g_autoptr(GError) error = NULL;
	g_autofree char *place = NULL;

	(void)unused;
	g_assert_cmpint(guest_exists(guest, NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_is_active(guest, NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_is_persistent(guest, NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_has_managed_save(guest, NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_has_job(guest, NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_has_block_job(guest, "vda", NULL, NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_has_backup(guest, &place, NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_state(guest, NULL, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN);
	g_clear_error(&error);
	g_assert_null(guest_xml(guest, 0, &error));
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN);
}

/* A transient domain that is destroyed is not known any more. */
static void test_guest_is_deleted_meanwhile(struct query_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(guest_is_active(&fixture->guest, NULL), ==, GUEST_YES);
	g_assert_cmpint(virDomainUndefine(fixture->host.domain), ==, 0);
	g_assert_cmpint(virDomainDestroy(fixture->host.domain), ==, 0);
	g_assert_cmpint(guest_is_active(&fixture->guest, NULL), ==, GUEST_NO);
	g_assert_cmpint(guest_exists(&fixture->guest, NULL), ==, GUEST_NO);
}

static void test_asked_again_on_a_new_connection(struct query_fixture *fixture,
						 gconstpointer unused)
{
	(void)unused;
	/* It broke since the last question. */
	g_assert_cmpint(guest_is_active(&fixture->guest, NULL), ==, GUEST_YES);
	host_is_broken = true;
	g_assert_cmpint(guest_is_active(&fixture->guest, NULL), ==, GUEST_YES);
	g_assert_cmpuint(host_connects, ==, 2);
	/* It breaks during the question. */
	fake.unanswered = 2;
	g_assert_cmpint(guest_is_active(&fixture->guest, NULL), ==, GUEST_YES);
	g_assert_cmpuint(host_connects, ==, 4);
	/* libvirtd is being restarted. */
	host_is_broken = true;
	host_refused_connects = 3;
	g_assert_cmpint(guest_is_active(&fixture->guest, NULL), ==, GUEST_YES);
	g_assert_cmpuint(host_connects, ==, 5);
	g_assert_cmpuint(host_sleep_count, ==, 3);
}

static void test_never_answered(struct query_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.unanswered = UINT_MAX;
	assert_unknown(fixture, VIRT_ERROR_DISCONNECTED);
	g_assert_cmpuint(fake.asked, ==, GUEST_QUERY_CONNECTIONS);
	g_assert_cmpuint(host_connects, ==, GUEST_QUERY_CONNECTIONS);
	/* libvirt cannot be reached: that is tried for its whole time, once. */
	host_lose_libvirt();
	assert_unknown(fixture, VIRT_ERROR_DISCONNECTED);
	g_assert_cmpint(host_clock_us / G_USEC_PER_SEC, >=, 50);
	g_assert_cmpint(host_clock_us / G_USEC_PER_SEC, <, 62);
	g_assert_cmpuint(fake.asked, ==, GUEST_QUERY_CONNECTIONS);
}

/* What has taken its whole time is not repeated, nor is what libvirt refuses. */
static void test_not_asked_again(struct query_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.unanswered = 2;
	fake.code = VIR_ERR_OPERATION_TIMEOUT;
	assert_unknown(fixture, VIRT_ERROR_TIMEOUT);
	fake.code = VIR_ERR_OPERATION_FAILED;
	assert_unknown(fixture, VIRT_ERROR_FAILED);
	g_assert_cmpuint(fake.asked, ==, 2);
	g_assert_cmpuint(host_connects, ==, 1);
}

/* Whatever the error says, it is that of a connection that broke during the question. */
static void test_broken_during_the_question(struct query_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(guest_is_active(&fixture->guest, NULL), ==, GUEST_YES);
	fake.unanswered = UINT_MAX;
	fake.code = VIR_ERR_INTERNAL_ERROR;
	fake.breaks = true;
	assert_unknown(fixture, VIRT_ERROR_DISCONNECTED);
	g_assert_cmpuint(fake.asked, ==, 1 + GUEST_QUERY_CONNECTIONS);
	fake.breaks = false;
	assert_unknown(fixture, VIRT_ERROR_FAILED);
	g_assert_cmpuint(fake.asked, ==, 1 + GUEST_QUERY_CONNECTIONS + 1);
}

/* What callers make of it. */
static void test_power_state(struct query_fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	fake.unanswered = UINT_MAX;
	g_assert_cmpint(virt_guest_power_state(fixture->host.virt, HOST_UUID, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED);
	g_clear_error(&error);
	fake.unanswered = 2;
	g_assert_cmpint(virt_guest_power_state(fixture->host.virt, HOST_UUID, NULL), ==,
			GUEST_RUNNING);
	g_assert_cmpint(virt_guest_power_state(fixture->host.virt, NO_UUID, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN);
}

static void test_wait_idle(struct query_fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	fake.unanswered = UINT_MAX;
	g_assert_cmpint(virt_guest_wait_idle(fixture->host.virt, HOST_UUID, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED);
	fake.unanswered = 0;
	g_assert_cmpint(virt_guest_wait_idle(fixture->host.virt, HOST_UUID, NULL), ==, 0);
	g_assert_cmpint(virt_guest_wait_idle(fixture->host.virt, NO_UUID, NULL), ==, 0);
}

#define TEST(name)                                                                                 \
	g_test_add("/guest-query/" #name, struct query_fixture, NULL, set_up, test_##name,         \
		   tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(answers);
	g_test_add("/guest-query/unknown_guest", struct query_fixture, NO_UUID, set_up,
		   test_unknown_guest, tear_down);
	TEST(guest_is_deleted_meanwhile);
	TEST(asked_again_on_a_new_connection);
	TEST(never_answered);
	TEST(not_asked_again);
	TEST(broken_during_the_question);
	TEST(power_state);
	TEST(wait_idle);
	return g_test_run();
}
