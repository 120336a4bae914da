/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cold methods: a guest that runs is saved, and comes back as it was. On a guest of libvirt's
 * test driver.
 */
#include "tests/unit/snapshot-fixture.h"
#include "virt/method/managed-save.h"
#include "virt/qemu-img.h"

static struct {
	int save_code;	   /* why it is not saved; 0: it is */
	bool saves_anyway; /* though the call fails */
	bool has_job;	   /* of another program, without end */
	unsigned starts, failing_starts, start_flags;
	bool start_is_overdue; /* the first one takes too long, and ends after its limit */
	unsigned deletions, failing_deletions; /* of snapshots inside the disk */
	int deletion_code;		       /* of VIRT_ERROR; 0: VIRT_ERROR_PROCESS */
	const char *written; /* a file that another host writes to after the copy; NULL: none */
} fake;

__typeof__(virDomainManagedSave) __real_virDomainManagedSave, __wrap_virDomainManagedSave;
__typeof__(virDomainGetJobInfo) __wrap_virDomainGetJobInfo;
__typeof__(virDomainCreateWithFlags) __wrap_virDomainCreateWithFlags;
__typeof__(qemu_img_snapshot_delete) __real_qemu_img_snapshot_delete,
	__wrap_qemu_img_snapshot_delete;

__typeof__(qemu_img_convert) __real_qemu_img_convert, __wrap_qemu_img_convert;

int __wrap_qemu_img_convert(const char *source, const char *internal, const char *target,
			    const char *format, const char *compression, const atomic_int *cancel,
			    GError **error)
{
	int rc = __real_qemu_img_convert(source, internal, target, format, compression, cancel,
					 error);

	if (fake.written)
		g_assert_cmpint(truncate(fake.written, 2 * FIXTURE_DISK_BYTES), ==, 0);
	return rc;
}

int __wrap_virDomainManagedSave(virDomainPtr domain, unsigned flags)
{
	if (fake.saves_anyway || fake.save_code == 0)
		g_assert_cmpint(__real_virDomainManagedSave(domain, flags), ==, 0);
	return fake.save_code ? host_fail(fake.save_code) : 0;
}

int __wrap_virDomainGetJobInfo(virDomainPtr domain, virDomainJobInfoPtr info)
{
	(void)domain;
	info->type = fake.has_job ? VIR_DOMAIN_JOB_UNBOUNDED : VIR_DOMAIN_JOB_NONE;
	return 0;
}

/* The test driver supports no flags. */
int __wrap_virDomainCreateWithFlags(virDomainPtr domain, unsigned flags)
{
	fake.start_flags = flags;
	if (fake.start_is_overdue) {
		g_assert_cmpuint(fake.starts++, ==, 0);
		g_assert_cmpint(virDomainCreate(domain), ==, 0);
		host_is_broken = true;
		return host_fail(VIR_ERR_OPERATION_TIMEOUT);
	}
	if (++fake.starts <= fake.failing_starts)
		return host_fail(VIR_ERR_OPERATION_FAILED);
	return virDomainCreate(domain);
}

int __wrap_qemu_img_snapshot_delete(const char *source, const char *name, GError **error)
{
	if (++fake.deletions > fake.failing_deletions)
		return __real_qemu_img_snapshot_delete(source, name, error);
	g_set_error_literal(error, VIRT_ERROR,
			    fake.deletion_code ? fake.deletion_code : VIRT_ERROR_PROCESS,
			    "made up");
	return -1;
}

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fixture_open(fixture, "");
	fixture->host.config.disable_livesnapshot = true;
	fixture->host.config.cold_method = "extract";
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture_close(fixture);
}

static void begin(struct fixture *fixture)
{
	fixture_begin(fixture, "extract");
}

static void begin_and_save(struct fixture *fixture)
{
	begin(fixture);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
}

static void test_saved_and_restored(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	begin_and_save(fixture);
	g_assert_cmpint(fixture_take(fixture, ""), ==, FIXTURE_DONE);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_cmpstr(fixture->steps->str, ==,
			"save folder copy-out restore -save clean -folder ");
	g_assert_cmpuint(fake.start_flags, ==, 0);
}

/* libvirt's events are those of this host. */
static void test_guest_runs_on_another_host(struct fixture *fixture, gconstpointer method)
{
	fixture->host.config.cold_method = method;
	fixture_begin(fixture, method);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, 0);
	fake.written = fixture->disk;
	g_assert_cmpint(fixture_take(fixture, "another program wrote to"), ==,
			VIRT_ERROR_INSTANT_LOST);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
}

static void test_paused_guest_stays_paused(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainSuspend(fixture->host.domain), ==, 0);
	begin_and_save(fixture);
	g_assert_cmpint(fixture_take(fixture, ""), ==, FIXTURE_DONE);
	g_assert_cmpuint(fake.start_flags, ==, VIR_DOMAIN_START_PAUSED);
}

/* libvirt may have saved the guest all the same. */
static void test_save_fails(struct fixture *fixture, gconstpointer saves_anyway)
{
	g_autoptr(GError) error = NULL;

	fake.saves_anyway = saves_anyway != NULL;
	fake.save_code = VIR_ERR_OPERATION_FAILED;
	begin(fixture);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FAILED);
	g_assert_cmpint(snapshot_end(g_steal_pointer(&fixture->snapshot), NULL), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_cmpstr(fixture->steps->str, ==,
			saves_anyway ? "save restore -save " : "save -save ");
	g_assert_cmpuint(fake.starts, ==, saves_anyway ? 1 : 0);
}

/* Another program migrates the guest, say: libvirt refuses to save it. The snapshot fails at once,
 * and nothing is left to roll back. */
static void test_save_is_refused_for_another_job(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.has_job = true;
	fake.save_code = VIR_ERR_OPERATION_TIMEOUT;
	begin(fixture);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, -1);
	g_assert_cmpint(snapshot_end(g_steal_pointer(&fixture->snapshot), NULL), ==, 0);
	g_assert_cmpint(host_clock_us, ==, 0);
	g_assert_nonnull(strstr(fixture->steps->str, "-save "));
}

/* The user suspends the guest just before it is saved: it stays suspended. */
static void test_guest_is_suspended_before(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	begin(fixture);
	g_assert_cmpint(__real_virDomainManagedSave(fixture->host.domain, 0), ==, 0);
	fake.save_code = VIR_ERR_OPERATION_INVALID;
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, -1);
	g_assert_cmpint(snapshot_end(g_steal_pointer(&fixture->snapshot), NULL), ==, 0);
	g_assert_cmpuint(fake.starts, ==, 0);
	g_assert_cmpint(virDomainHasManagedSaveImage(fixture->host.domain, 0), ==, 1);
}

static void test_somebody_discards_the_save(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	begin_and_save(fixture);
	g_assert_cmpint(virDomainManagedSaveRemove(fixture->host.domain, 0), ==, 0);
	g_assert_cmpint(fixture_take(fixture, ""), ==, FIXTURE_DONE);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
	g_assert_cmpuint(fake.starts, ==, 0);
}

static void test_somebody_starts_the_guest(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	begin_and_save(fixture);
	g_assert_cmpint(virDomainCreate(fixture->host.domain), ==, 0);
	g_assert_cmpint(fixture_take(fixture, "the guest was started"), ==, VIRT_ERROR_BUSY);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_cmpuint(fake.starts, ==, 0);
}

static void expect_two_failing_restores(void)
{
	for (int i = 0; i < 2; i++)
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*restoring*; retrying");
}

static void test_restored_at_the_third_try(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failing_starts = 2;
	begin_and_save(fixture);
	expect_two_failing_restores();
	g_test_expect_message("virt", G_LOG_LEVEL_INFO, "*: restored");
	g_assert_cmpint(fixture_take(fixture, ""), ==, FIXTURE_DONE);
	g_test_assert_expected_messages();
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
}

/* The step stays open, and recovery tries again. */
static void test_not_restored(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failing_starts = 3;
	begin_and_save(fixture);
	expect_two_failing_restores();
	g_assert_cmpint(fixture_take(fixture, "is still saved"), ==, VIRT_ERROR_FAILED);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.starts, ==, 3);
	g_assert_null(strstr(fixture->steps->str, "-save"));
	/* It is not tried again here. */
	g_assert_cmpint(snapshot_end(g_steal_pointer(&fixture->snapshot), NULL), ==, 0);
	g_assert_cmpuint(fake.starts, ==, 3);
}

/* The limit of the call shut the connection down, but libvirt went on. A new connection tells. */
static void test_restore_is_overdue(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.start_is_overdue = true;
	begin_and_save(fixture);
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*restoring*; retrying");
	g_assert_cmpint(fixture_take(fixture, ""), ==, FIXTURE_DONE);
	g_test_assert_expected_messages();
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_nonnull(strstr(fixture->steps->str, "-save "));
}

/* Whether the guest runs is unknown: its disk is not copied. */
static void test_state_is_unknown(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	begin_and_save(fixture);
	host_lose_libvirt();
	g_assert_cmpint(managed_save_check_stopped(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED);
	g_clear_error(&error);
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*rolling back save*cannot connect*");
	g_assert_cmpint(fixture_take(fixture, "cannot connect"), ==, VIRT_ERROR_DISCONNECTED);
	g_test_assert_expected_messages();
	/* One try for the rollback, which recovery repeats. */
	g_assert_cmpstr(fixture->steps->str, ==, "save folder restore clean -folder ");
	host_find_libvirt();
}

/* Whether the guest can be restored is unknown: it is not saved. */
static void test_persistence_is_unknown(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	begin(fixture);
	host_lose_libvirt();
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED);
	host_find_libvirt();
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_cmpstr(fixture->steps->str, ==, "");
	/* After a restart of libvirtd it is. */
	host_is_broken = true;
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, 0);
}

static void test_guest_that_cannot_be_saved(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	begin(fixture);
	g_assert_cmpint(virDomainUndefine(fixture->host.domain), ==, 0);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED);
	fixture->snapshot->traits.host_devices = true;
	g_clear_error(&error);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_cmpstr(fixture->steps->str, ==, "");
}

/* With the method internal, on a qcow2 disk. */
static void begin_internal(struct fixture *fixture)
{
	struct disk_layer *top;

	g_assert_cmpint(g_unlink(fixture->disk), ==, 0);
	g_assert_cmpint(
		qemu_img_create_delta(fixture->disk, FIXTURE_DISK_BYTES, NULL, NULL, NULL, NULL),
		==, 0);
	fixture->host.config.cold_method = "internal";
	fixture_begin(fixture, "internal");
	top = disk_top(fixture->snapshot->disk);
	g_free(top->format);
	top->format = g_strdup("qcow2");
	fixture->snapshot->disk->complete = false;
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, 0);
}

static bool has_snapshot(const struct fixture *fixture)
{
	int has = qemu_img_snapshot_exists(fixture->disk, "novasnap-", NULL);

	g_assert_cmpint(has, >=, 0);
	return has;
}

static void test_internal(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failing_deletions = 2;
	begin_internal(fixture);
	for (int i = 0; i < 2; i++)
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*internal*; retrying");
	g_test_expect_message("virt", G_LOG_LEVEL_INFO, "*: restored");
	g_assert_cmpint(fixture_take(fixture, ""), ==, FIXTURE_DONE);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.deletions, ==, 3);
	g_assert_false(has_snapshot(fixture));
	g_assert_nonnull(strstr(fixture->steps->str, "-internal restore -save "));
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
}

/* The guest is restored in every case, and the step stays open. */
static void test_internal_is_not_deleted(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failing_deletions = 3;
	begin_internal(fixture);
	for (int i = 0; i < 2; i++)
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*internal*; retrying");
	g_test_expect_message("virt", G_LOG_LEVEL_INFO, "*: restored");
	g_assert_cmpint(fixture_take(fixture, "internal"), ==, VIRT_ERROR_PROCESS);
	g_test_assert_expected_messages();
	g_assert_true(has_snapshot(fixture));
	g_assert_null(strstr(fixture->steps->str, "-internal"));
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
}

/* qemu-img hangs: the guest does not stay off for it. */
static void test_internal_deletion_hangs(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failing_deletions = UINT_MAX;
	fake.deletion_code = VIRT_ERROR_TIMEOUT;
	begin_internal(fixture);
	g_assert_cmpint(fixture_take(fixture, "internal"), ==, VIRT_ERROR_TIMEOUT);
	/* It takes minutes: once is enough. */
	g_assert_cmpuint(fake.deletions, ==, 1);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_nonnull(strstr(fixture->steps->str, "restore -save "));
}

#define TEST(name)                                                                                 \
	g_test_add("/managed-save/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(saved_and_restored);
	g_test_add("/managed-save/guest_runs_on_another_host/extract", struct fixture, "extract",
		   set_up, test_guest_runs_on_another_host, tear_down);
	g_test_add("/managed-save/guest_runs_on_another_host/internal", struct fixture, "internal",
		   set_up, test_guest_runs_on_another_host, tear_down);
	TEST(paused_guest_stays_paused);
	TEST(save_fails);
	g_test_add("/managed-save/save_fails/saved_anyway", struct fixture, "saved", set_up,
		   test_save_fails, tear_down);
	TEST(save_is_refused_for_another_job);
	TEST(guest_is_suspended_before);
	TEST(somebody_discards_the_save);
	TEST(somebody_starts_the_guest);
	TEST(restored_at_the_third_try);
	TEST(not_restored);
	TEST(restore_is_overdue);
	TEST(state_is_unknown);
	TEST(persistence_is_unknown);
	TEST(guest_that_cannot_be_saved);
	TEST(internal);
	TEST(internal_is_not_deleted);
	TEST(internal_deletion_hangs);
	return g_test_run();
}
