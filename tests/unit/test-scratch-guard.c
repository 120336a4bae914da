/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scratch guard: when it ends the backup job, and which guests it resumes. On a guest of
 * libvirt's test driver; the test gives the job, the guest's state and the free space.
 */
#include <sys/statvfs.h>

#include "tests/unit/snapshot-fixture.h"
#include "virt/method/room.h"
#include "virt/method/scratch-guard.h"

#define WAIT_MS 5000
#define QUIET_MS 700 /* more than two polls of the guard */

static struct {
	atomic_int state, reason; /* of the guest; 0: the driver's own */
	atomic_bool has_job, is_full;
	atomic_uint ended, resumed;
	const char *failed_disk; /* NULL: none */
	atomic_uint unanswered;	 /* how many times libvirt does not answer which disk it is */
	atomic_uint asked;
	bool pauses_again; /* after it was resumed */
	atomic_uint
		lost_resumes; /* how many times libvirt does not answer that, and does nothing */
} fake;

__typeof__(virDomainBackupGetXMLDesc) __wrap_virDomainBackupGetXMLDesc;
__typeof__(virDomainAbortJob) __wrap_virDomainAbortJob;
__typeof__(virDomainGetState) __real_virDomainGetState, __wrap_virDomainGetState;
__typeof__(virDomainResume) __real_virDomainResume, __wrap_virDomainResume;
__typeof__(virDomainGetDiskErrors) __wrap_virDomainGetDiskErrors;
__typeof__(statvfs) __real_statvfs, __wrap_statvfs;

char *__wrap_virDomainBackupGetXMLDesc(virDomainPtr domain, unsigned flags)
{
	(void)domain;
	(void)flags;
	if (fake.has_job)
		return strdup("<domainbackup><server socket='/run/s'/></domainbackup>");
	(void)host_fail(VIR_ERR_NO_DOMAIN_BACKUP);
	return NULL;
}

int __wrap_virDomainAbortJob(virDomainPtr domain)
{
	(void)domain;
	fake.has_job = false;
	fake.ended++;
	return 0;
}

int __wrap_virDomainGetState(virDomainPtr domain, int *state, int *reason, unsigned flags)
{
	int rc = __real_virDomainGetState(domain, state, reason, flags);

	if (fake.state != 0) {
		*state = fake.state;
		*reason = fake.reason;
	}
	return rc;
}

int __wrap_virDomainResume(virDomainPtr domain)
{
	(void)domain;
	if (fake.lost_resumes > 0) {
		fake.lost_resumes--;
		return host_fail(VIR_ERR_INVALID_CONN);
	}
	if (!fake.pauses_again)
		fake.state = VIR_DOMAIN_RUNNING;
	fake.resumed++;
	return 0;
}

int __wrap_virDomainGetDiskErrors(virDomainPtr domain, virDomainDiskErrorPtr errors, unsigned count,
				  unsigned flags)
{
	(void)domain;
	(void)count;
	(void)flags;
	fake.asked++;
	if (fake.unanswered > 0) {
		fake.unanswered--;
		return host_fail(VIR_ERR_OPERATION_TIMEOUT);
	}
	if (!fake.failed_disk)
		return 0;
	errors[0] = (virDomainDiskError){strdup(fake.failed_disk), VIR_DOMAIN_DISK_ERROR_NO_SPACE};
	return 1;
}

int __wrap_statvfs(const char *path, struct statvfs *fs)
{
	int rc = __real_statvfs(path, fs);

	fs->f_bavail = (fake.is_full ? 0 : 1024 * ROOM_MIB) / fs->f_frsize;
	return rc;
}

#define EXPECT(level, pattern) g_test_expect_message("virt", G_LOG_LEVEL_##level, pattern)

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.state = fake.reason = 0;
	fake.has_job = true;
	fake.is_full = fake.pauses_again = false;
	fake.ended = fake.resumed = 0;
	fake.failed_disk = NULL;
	fake.lost_resumes = fake.unanswered = fake.asked = 0;
	fixture_open(fixture, "");
	fixture->host.config.scratch_dir = fixture->host.tmp;
	fixture->host.config.scratch_reserve_mib = 1;
	fixture_begin(fixture, "stream");
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.state = 0;
	fixture_close(fixture);
}

static void pause_guest(int reason)
{
	fake.reason = reason;
	fake.state = VIR_DOMAIN_PAUSED;
}

static struct scratch_guard *start_guard(struct fixture *fixture, bool may_resume)
{
	const struct guarded_job job = {"/run/s", "/nonexistent/scratch", may_resume};
	struct scratch_guard *guard;

	/* The test driver has no such event. */
	EXPECT(INFO, "*cannot report the growth*");
	guard = scratch_guard_start(fixture->snapshot, &job, NULL);
	g_assert_nonnull(guard);
	g_test_assert_expected_messages();
	return guard;
}

/* Lets the guard ask for the guest's state again. */
static void pass_time(void)
{
	host_clock_us += 3 * G_USEC_PER_SEC;
}

static void wait_ms(unsigned ms)
{
	__real_g_usleep(ms * 1000);
}

/* Waits until the guard has ended the job, and until it has resumed the guest as many times. */
static void expect_trip(struct scratch_guard *guard, const char *words, unsigned resumed)
{
	g_autoptr(GError) error = NULL;

	for (unsigned ms = 0; ms < WAIT_MS && (fake.ended == 0 || fake.resumed < resumed); ms += 20)
		wait_ms(20);
	g_assert_cmpint(scratch_guard_check(guard, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS);
	host_assert_message(error, words);
	scratch_guard_stop(guard);
	g_assert_cmpuint(fake.ended, ==, 1);
	g_assert_cmpuint(fake.resumed, ==, resumed);
	g_test_assert_expected_messages();
}

static void expect_quiet(struct scratch_guard *guard)
{
	pass_time();
	wait_ms(QUIET_MS);
	g_assert_cmpint(scratch_guard_check(guard, NULL), ==, 0);
	g_assert_cmpuint(fake.ended + fake.resumed, ==, 0);
}

static void test_room_is_short(struct fixture *fixture, gconstpointer unused)
{
	struct scratch_guard *guard = start_guard(fixture, true);

	(void)unused;
	EXPECT(WARNING, "*is nearly full*");
	fake.is_full = true;
	expect_trip(guard, "nearly full", 0);
}

static void test_guest_is_paused(struct fixture *fixture, gconstpointer unused)
{
	struct scratch_guard *guard = start_guard(fixture, true);

	(void)unused;
	expect_quiet(guard);
	EXPECT(WARNING, "*I/O error*");
	EXPECT(MESSAGE, "*resumed*");
	fake.failed_disk = "vda";
	pause_guest(VIR_DOMAIN_PAUSED_IOERROR);
	pass_time();
	expect_trip(guard, "I/O error", 1);
}

/* Once, even if QEMU pauses it again. */
static void test_guest_is_resumed_once(struct fixture *fixture, gconstpointer unused)
{
	struct scratch_guard *guard = start_guard(fixture, true);

	(void)unused;
	fake.pauses_again = true;
	EXPECT(WARNING, "*I/O error*");
	EXPECT(MESSAGE, "*resumed*");
	pause_guest(VIR_DOMAIN_PAUSED_IOERROR);
	pass_time();
	expect_trip(guard, "I/O error", 1);
	g_assert_true(atomic_load(&fixture->snapshot->guest.io_error_resumed));
}

/* libvirtd is restarted just when the guest is resumed. */
static void test_resume_is_repeated(struct fixture *fixture, gconstpointer unused)
{
	struct scratch_guard *guard = start_guard(fixture, true);

	(void)unused;
	EXPECT(WARNING, "*I/O error*");
	EXPECT(WARNING, "*resuming the guest*retrying");
	EXPECT(MESSAGE, "*resumed*");
	fake.lost_resumes = 1;
	pause_guest(VIR_DOMAIN_PAUSED_IOERROR);
	pass_time();
	for (unsigned ms = 0; ms < WAIT_MS && fake.lost_resumes > 0; ms += 20)
		wait_ms(20);
	pass_time();
	expect_trip(guard, "I/O error", 1);
}

static void test_guest_is_paused_by_its_user(struct fixture *fixture, gconstpointer unused)
{
	struct scratch_guard *guard = start_guard(fixture, true);

	(void)unused;
	pause_guest(VIR_DOMAIN_PAUSED_USER);
	expect_quiet(guard);
	scratch_guard_stop(guard);
}

static void test_another_disk_is_full(struct fixture *fixture, gconstpointer unused)
{
	struct scratch_guard *guard = start_guard(fixture, true);

	(void)unused;
	fake.failed_disk = "vdb";
	pause_guest(VIR_DOMAIN_PAUSED_IOERROR);
	expect_quiet(guard);
	scratch_guard_stop(guard);
}

/* It may be another one's. */
static void test_failed_disk_is_unknown(struct fixture *fixture, gconstpointer unused)
{
	struct scratch_guard *guard = start_guard(fixture, true);

	(void)unused;
	fake.unanswered = 1;
	pause_guest(VIR_DOMAIN_PAUSED_IOERROR);
	expect_quiet(guard);
	g_assert_cmpuint(fake.asked, ==, 1);
	EXPECT(WARNING, "*I/O error*");
	EXPECT(MESSAGE, "*resumed*");
	pass_time();
	expect_trip(guard, "I/O error", 1);
}

/* An I/O error had paused it before the job. It counts only after somebody has resumed the
 * guest. */
static void test_guest_was_paused_before(struct fixture *fixture, gconstpointer unused)
{
	struct scratch_guard *guard = start_guard(fixture, false);

	(void)unused;
	pause_guest(VIR_DOMAIN_PAUSED_IOERROR);
	expect_quiet(guard);
	EXPECT(WARNING, "*I/O error*");
	EXPECT(MESSAGE, "*resumed*");
	g_assert_cmpint(virDomainSuspend(fixture->host.domain), ==, 0);
	g_assert_cmpint(__real_virDomainResume(fixture->host.domain), ==, 0);
	for (unsigned ms = 0;
	     ms < WAIT_MS && !domain_events_guest_resumed(fixture->snapshot->events); ms += 20)
		wait_ms(20);
	pass_time();
	expect_trip(guard, "I/O error", 1);
}

#define TEST(name)                                                                                 \
	g_test_add("/scratch-guard/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(room_is_short);
	TEST(guest_is_paused);
	TEST(guest_is_resumed_once);
	TEST(resume_is_repeated);
	TEST(guest_is_paused_by_its_user);
	TEST(another_disk_is_full);
	TEST(failed_disk_is_unknown);
	TEST(guest_was_paused_before);
	return g_test_run();
}
