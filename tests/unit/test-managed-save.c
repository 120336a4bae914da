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
	unsigned starts, failing_starts, start_flags;
	int start_code; /* why it fails; 0: VIR_ERR_OPERATION_FAILED */
	bool starts_anyway;
	unsigned deletions, failing_deletions; /* of snapshots inside the disk */
} fake;

__typeof__(virDomainManagedSave) __real_virDomainManagedSave, __wrap_virDomainManagedSave;
__typeof__(virDomainCreateWithFlags) __wrap_virDomainCreateWithFlags;
__typeof__(qemu_img_snapshot_delete) __real_qemu_img_snapshot_delete,
	__wrap_qemu_img_snapshot_delete;

int __wrap_virDomainManagedSave(virDomainPtr domain, unsigned flags)
{
	if (fake.saves_anyway || fake.save_code == 0)
		g_assert_cmpint(__real_virDomainManagedSave(domain, flags), ==, 0);
	return fake.save_code ? host_fail(fake.save_code) : 0;
}

/* The test driver supports no flags. */
int __wrap_virDomainCreateWithFlags(virDomainPtr domain, unsigned flags)
{
	fake.start_flags = flags;
	if (++fake.starts > fake.failing_starts)
		return virDomainCreate(domain);
	if (fake.starts_anyway)
		g_assert_cmpint(virDomainCreate(domain), ==, 0);
	return host_fail(fake.start_code ? fake.start_code : VIR_ERR_OPERATION_FAILED);
}

int __wrap_qemu_img_snapshot_delete(const char *source, const char *name, GError **error)
{
	if (++fake.deletions > fake.failing_deletions)
		return __real_qemu_img_snapshot_delete(source, name, error);
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_PROCESS, "made up");
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
	g_assert_cmpstr(fixture->steps->str, ==, "save restore -save ");
	g_assert_cmpuint(fake.starts, ==, saves_anyway ? 1 : 0);
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
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*restoring*; tried again");
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

/* The call's time limit is over before the guest is restored. */
static void test_restored_late(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failing_starts = 1;
	fake.start_code = VIR_ERR_OPERATION_TIMEOUT;
	fake.starts_anyway = true;
	begin_and_save(fixture);
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*restoring*; tried again");
	g_assert_cmpint(fixture_take(fixture, ""), ==, FIXTURE_DONE);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.starts, ==, 1);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_nonnull(strstr(fixture->steps->str, "-save"));
}

/* What does not answer in time is tried twice, and then by recovery. */
static void test_restore_is_not_answered(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failing_starts = UINT_MAX;
	fake.start_code = VIR_ERR_OPERATION_TIMEOUT;
	begin_and_save(fixture);
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*restoring*; tried again");
	g_assert_cmpint(fixture_take(fixture, "is still saved"), ==, VIRT_ERROR_TIMEOUT);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.starts, ==, 2);
	g_assert_null(strstr(fixture->steps->str, "-save"));
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
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*internal*; tried again");
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
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*internal*; tried again");
	g_test_expect_message("virt", G_LOG_LEVEL_INFO, "*: restored");
	g_assert_cmpint(fixture_take(fixture, "internal"), ==, VIRT_ERROR_PROCESS);
	g_test_assert_expected_messages();
	g_assert_true(has_snapshot(fixture));
	g_assert_null(strstr(fixture->steps->str, "-internal"));
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
}

#define TEST(name)                                                                                 \
	g_test_add("/managed-save/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(saved_and_restored);
	TEST(paused_guest_stays_paused);
	TEST(save_fails);
	g_test_add("/managed-save/save_fails/saved_anyway", struct fixture, "saved", set_up,
		   test_save_fails, tear_down);
	TEST(somebody_discards_the_save);
	TEST(somebody_starts_the_guest);
	TEST(restored_at_the_third_try);
	TEST(not_restored);
	TEST(restored_late);
	TEST(restore_is_not_answered);
	TEST(state_is_unknown);
	TEST(persistence_is_unknown);
	TEST(guest_that_cannot_be_saved);
	TEST(internal);
	TEST(internal_is_not_deleted);
	return g_test_run();
}
