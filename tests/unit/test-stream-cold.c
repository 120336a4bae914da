/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the disk of a guest that is shut down was read at one instant: only where libvirt says
 * that nobody started the guest. On a guest of libvirt's test driver.
 */
#define HOST_HAS_CLOSE_CALLBACK
#include "tests/unit/snapshot-fixture.h"
#include "virt/domain/disk-stamp.h"

static struct {
	virConnectCloseFunc callback;
	void *opaque;
	virFreeCallback free;
	unsigned state_unanswered; /* how many times the question is not answered */
} fake;

__typeof__(virConnectRegisterCloseCallback) __wrap_virConnectRegisterCloseCallback;
__typeof__(virConnectUnregisterCloseCallback) __wrap_virConnectUnregisterCloseCallback;
__typeof__(virDomainGetState) __real_virDomainGetState, __wrap_virDomainGetState;

int __wrap_virConnectRegisterCloseCallback(virConnectPtr connection, virConnectCloseFunc callback,
					   void *opaque, virFreeCallback free_opaque)
{
	(void)connection;
	fake.callback = callback;
	fake.opaque = opaque;
	fake.free = free_opaque;
	return 0;
}

int __wrap_virConnectUnregisterCloseCallback(virConnectPtr connection, virConnectCloseFunc callback)
{
	(void)connection;
	(void)callback;
	fake.free(fake.opaque);
	return 0;
}

int __wrap_virDomainGetState(virDomainPtr domain, int *state, int *reason, unsigned flags)
{
	if (fake.state_unanswered == 0)
		return __real_virDomainGetState(domain, state, reason, flags);
	fake.state_unanswered--;
	return host_fail(VIR_ERR_INVALID_CONN);
}

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fixture_open(fixture, "");
	g_assert_cmpint(virDomainDestroy(fixture->host.domain), ==, 0);
	fixture_begin(fixture, "stream");
	g_assert_true(snapshot_gives_disk(fixture->snapshot));
	/* As opening the disk does. */
	fixture->snapshot->disk_stamp = disk_stamp_read(fixture->snapshot->disk);
	g_assert_nonnull(fixture->snapshot->disk_stamp);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture_close(fixture);
}

static void assert_lost(int (*verify)(struct snapshot *snapshot, GError **error),
			struct fixture *fixture, const char *words)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(verify(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_INSTANT_LOST);
	host_assert_message(error, words);
}

static void test_guest_stays_off(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(snapshot_verify_instant(fixture->snapshot, NULL), ==, 0);
	g_assert_cmpint(snapshot_verify_end(fixture->snapshot, NULL), ==, 0);
	/* A new connection answers. */
	fake.state_unanswered = 2;
	g_assert_cmpint(snapshot_verify_end(fixture->snapshot, NULL), ==, 0);
}

static void test_guest_is_started(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainCreate(fixture->host.domain), ==, 0);
	assert_lost(snapshot_verify_end, fixture, "the guest was started");
}

/* As a guest does that is started and shut down again. */
static void write_to_disk(struct fixture *fixture)
{
	FILE *file = fopen(fixture->disk, "r+");

	g_assert_nonnull(file);
	g_assert_cmpint(fputc(1, file), ==, 1);
	g_assert_cmpint(fclose(file), ==, 0);
}

static void lose_events(struct fixture *fixture)
{
	fake.callback(fixture->host.connection, VIR_CONNECT_CLOSE_REASON_EOF, fake.opaque);
}

/* The disk itself shows that nobody wrote to it. */
static void test_state_is_unknown(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	fake.state_unanswered = 3;
	(void)snapshot_verify_end(fixture->snapshot, &error);
	g_assert_no_error(error);
	write_to_disk(fixture);
	fake.state_unanswered = 3;
	assert_lost(snapshot_verify_end, fixture, "is unknown");
}

/* libvirt's events are those of this host. */
static void test_guest_runs_on_another_host(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	write_to_disk(fixture);
	g_assert_cmpint(snapshot_verify_instant(fixture->snapshot, NULL), ==, 0);
	assert_lost(snapshot_verify_end, fixture, "another program wrote to");
	/* A file that allows no proof. */
	g_clear_pointer(&fixture->snapshot->disk_stamp, g_free);
	g_assert_cmpint(snapshot_verify_end(fixture->snapshot, NULL), ==, 0);
}

/* The guest may have been started and shut down again without an event. */
static void test_events_are_lost(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	lose_events(fixture);
	g_assert_cmpint(snapshot_verify_instant(fixture->snapshot, NULL), ==, 0);
	g_assert_cmpint(snapshot_verify_end(fixture->snapshot, NULL), ==, 0);
	write_to_disk(fixture);
	g_assert_cmpint(snapshot_verify_instant(fixture->snapshot, NULL), ==, 0);
	assert_lost(snapshot_verify_end, fixture, "is unknown");
}

/* A file that allows no proof. */
static void test_events_are_lost_without_a_stamp(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	lose_events(fixture);
	g_clear_pointer(&fixture->snapshot->disk_stamp, g_free);
	assert_lost(snapshot_verify_instant, fixture, "is unknown");
	assert_lost(snapshot_verify_end, fixture, "is unknown");
}

static void test_guest_runs_after_the_events_were_lost(struct fixture *fixture,
						       gconstpointer unused)
{
	(void)unused;
	lose_events(fixture);
	g_assert_cmpint(virDomainCreate(fixture->host.domain), ==, 0);
	assert_lost(snapshot_verify_end, fixture, "the guest was started");
}

/* The disk is copied instead, with qemu-img. */
static void test_no_qemu_nbd(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *path = g_strdup(g_getenv("PATH"));
	g_autofree char *program = g_find_program_in_path("qemu-img");
	g_autofree char *tools = g_build_filename(fixture->host.tmp, "tools", NULL);
	g_autofree char *link = g_build_filename(tools, "qemu-img", NULL);

	(void)unused;
	g_assert_cmpint(g_mkdir(tools, 0700), ==, 0);
	g_assert_cmpint(symlink(program, link), ==, 0);
	g_assert_true(g_setenv("PATH", tools, TRUE));
	g_test_expect_message("virt", G_LOG_LEVEL_INFO, "*retrying through the page cache");
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING,
			      "*stream is not possible here*qemu-nbd was not found*using extract*");
	g_assert_cmpint(fixture_take(fixture, ""), ==, FIXTURE_DONE);
	g_test_assert_expected_messages();
	g_assert_cmpstr(snapshot_method(fixture->snapshot), ==, "extract");
	g_assert_true(g_setenv("PATH", path, TRUE));
	(void)g_unlink(link);
	g_assert_cmpint(g_rmdir(tools), ==, 0);
}

/* No image can be made of the source, such as one of more than 8 TiB. */
static void test_encoder_refuses(struct fixture *fixture, gconstpointer unused)
{
	GError *cancelled =
		g_error_new_literal(IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED, "cancelled");
	GError *refused =
		g_error_new_literal(IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED, "too large");
	g_autoptr(GError) error = NULL;
	g_autoptr(image_source_t) image = NULL;

	(void)unused;
	g_assert_null(snapshot_take_fallback(fixture->snapshot, cancelled, &error));
	g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED);
	g_assert_cmpstr(snapshot_method(fixture->snapshot), ==, "stream");
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*too large*using extract instead");
	image = snapshot_take_fallback(fixture->snapshot, refused, NULL);
	g_test_assert_expected_messages();
	g_assert_nonnull(image);
	g_assert_false(snapshot_gives_disk(fixture->snapshot));
}

#define TEST(name)                                                                                 \
	g_test_add("/stream-cold/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(guest_stays_off);
	TEST(guest_is_started);
	TEST(state_is_unknown);
	TEST(guest_runs_on_another_host);
	TEST(events_are_lost);
	TEST(events_are_lost_without_a_stamp);
	TEST(guest_runs_after_the_events_were_lost);
	TEST(no_qemu_nbd);
	TEST(encoder_refuses);
	return g_test_run();
}
