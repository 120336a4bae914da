/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disk watch: the program that reads the block device of a guest that is shut off is ended at
 * once when the guest is deleted or started, or when somebody writes; and the reason is given. On a
 * guest of libvirt's test driver, whose file the linker makes look like a block device.
 */
#include "tests/unit/snapshot-fixture.h"
#include "virt/domain/disk-stamp.h"
#include "virt/method/disk-watch.h"

#define WAIT_MS 5000

__typeof__(disk_stamp_check) __real_disk_stamp_check, __wrap_disk_stamp_check;
__typeof__(disk_is_device) __wrap_disk_is_device;
__typeof__(image_source_kill_server) __wrap_image_source_kill_server;

static atomic_uint kills, checks;
static bool is_device;

bool __wrap_disk_is_device(const struct disk *disk)
{
	(void)disk;
	return is_device;
}

int __wrap_disk_stamp_check(const struct disk *disk, const char *stamp, GError **error)
{
	GError *local = NULL;
	int rc = __real_disk_stamp_check(disk, stamp, &local);

	atomic_fetch_add(&checks, 1);
	/* The file stands for a device. */
	if (rc < 0 && is_device)
		local->code = VIRT_ERROR_BUSY;
	if (rc < 0)
		g_propagate_error(error, local);
	return rc;
}

void __wrap_image_source_kill_server(struct image_source *source)
{
	g_assert_nonnull(source);
	atomic_fetch_add(&kills, 1);
}

static struct image_source disk;
static atomic_int cancel;

static void set_up(struct fixture *fixture, gconstpointer of_device)
{
	g_autoptr(GError) error = NULL;

	is_device = of_device != NULL;
	kills = checks = 0;
	cancel = 0;
	fixture_open(fixture, "");
	g_assert_cmpint(virDomainDestroy(fixture->host.domain), ==, 0);
	fixture_begin(fixture, "stream");
	fixture->snapshot->cancel = &cancel;
	fixture->snapshot->disk_stamp = disk_stamp_read(fixture->snapshot->disk);
	fixture->snapshot->disk_watch = disk_watch_start(fixture->snapshot, &disk, &error);
	g_assert_no_error(error);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	gint64 began = g_get_monotonic_time();

	(void)unused;
	disk_watch_stop(g_steal_pointer(&fixture->snapshot->disk_watch));
	g_assert_cmpint(g_get_monotonic_time() - began, <, G_USEC_PER_SEC * 2);
	fixture_close(fixture);
}

/* As another program does. */
static void write_to_disk(const struct fixture *fixture)
{
	g_assert_cmpint(truncate(fixture->disk, FIXTURE_DISK_BYTES / 2), ==, 0);
}

static void wait_until(const atomic_uint *count, unsigned wanted)
{
	for (int i = 0; i < WAIT_MS && atomic_load(count) < wanted; i++)
		__real_g_usleep(1000);
	g_assert_cmpuint(atomic_load(count), >=, wanted);
}

/* The program is ended, once. */
static void expect_let_go(const struct fixture *fixture)
{
	wait_until(&kills, 1);
	g_assert_cmpuint(kills, ==, 1);
	g_assert_cmpint(atomic_load(disk_watch_flag(fixture->snapshot->disk_watch)), !=, 0);
}

static void expect_error(int (*verify)(struct snapshot *snapshot, GError **error),
			 struct fixture *fixture, int code, const char *words)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(verify(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, code);
	host_assert_message(error, words);
}

/* At once and at the end. */
static void expect_refused(struct fixture *fixture, int code, const char *words)
{
	expect_error(snapshot_verify_instant, fixture, code, words);
	expect_error(snapshot_verify_end, fixture, code, words);
}

static void test_nothing_happens(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	wait_until(&checks, 3);
	g_assert_cmpuint(kills, ==, 0);
	g_assert_cmpint(atomic_load(disk_watch_flag(fixture->snapshot->disk_watch)), ==, 0);
	g_assert_cmpint(snapshot_verify_instant(fixture->snapshot, NULL), ==, 0);
	g_assert_cmpint(snapshot_verify_end(fixture->snapshot, NULL), ==, 0);
}

static void test_written(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	write_to_disk(fixture);
	expect_let_go(fixture);
	expect_refused(fixture, VIRT_ERROR_BUSY, "another program wrote");
}

/* The watch has not looked again since the write. */
static void test_written_at_the_end(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	disk_watch_stop(g_steal_pointer(&fixture->snapshot->disk_watch));
	write_to_disk(fixture);
	g_assert_cmpint(snapshot_verify_instant(fixture->snapshot, NULL), ==, 0);
	expect_error(snapshot_verify_end, fixture, VIRT_ERROR_BUSY, "another program wrote");
	fixture->snapshot->disk_watch = disk_watch_start(fixture->snapshot, &disk, NULL);
}

static void test_guest_is_started(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainCreate(fixture->host.domain), ==, 0);
	expect_let_go(fixture);
	/* What it writes is no other program's. */
	write_to_disk(fixture);
	expect_refused(fixture, VIRT_ERROR_INSTANT_LOST, "was started");
}

static void test_guest_is_deleted(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainUndefine(fixture->host.domain), ==, 0);
	expect_let_go(fixture);
	write_to_disk(fixture);
	expect_refused(fixture, VIRT_ERROR_NO_DOMAIN, "was deleted");
}

static void test_cancelled(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	cancel = 1;
	expect_let_go(fixture);
	g_assert_cmpint(snapshot_verify_instant(fixture->snapshot, NULL), ==, 0);
}

/* A file is compared only at the end. Its owner may change without a write. */
static void test_file(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(g_chmod(fixture->disk, 0600), ==, 0);
	g_assert_cmpint(snapshot_verify_end(fixture->snapshot, NULL), ==, 0);
	write_to_disk(fixture);
	__real_g_usleep(G_USEC_PER_SEC / 2);
	g_assert_cmpuint(kills, ==, 0);
	g_assert_cmpuint(checks, ==, 1);
	expect_error(snapshot_verify_end, fixture, VIRT_ERROR_INSTANT_LOST,
		     "another program wrote");
}

static void test_no_program_but_a_flag(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	disk_watch_stop(fixture->snapshot->disk_watch);
	fixture->snapshot->disk_watch = disk_watch_start(fixture->snapshot, NULL, NULL);
	write_to_disk(fixture);
	for (int i = 0; i < WAIT_MS && !*disk_watch_flag(fixture->snapshot->disk_watch); i++)
		__real_g_usleep(1000);
	g_assert_cmpint(*disk_watch_flag(fixture->snapshot->disk_watch), !=, 0);
	g_assert_cmpuint(kills, ==, 0);
}

#define TEST(name, device)                                                                         \
	g_test_add("/disk-watch/" #name, struct fixture, device, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(nothing_happens, "device");
	TEST(written, "device");
	TEST(written_at_the_end, "device");
	TEST(guest_is_started, "device");
	TEST(guest_is_deleted, "device");
	TEST(cancelled, "device");
	TEST(file, NULL);
	TEST(no_program_but_a_flag, "device");
	return g_test_run();
}
