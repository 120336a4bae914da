/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that is saved for a cold snapshot comes back, whatever fails and whatever somebody does
 * to it meanwhile: on a guest of libvirt's test driver. And the power that is taken from a guest.
 */
#include <unistd.h>

#include "tests/unit/host.h"

#define UUID "6695eb01-f6a4-8304-79aa-97f2502e1932"
#define DOMAIN                                                                                     \
	"<domain type='test'><name>g</name><uuid>" UUID "</uuid><memory>1024</memory><os><type>"   \
	"hvm</type></os><devices><disk type='file' device='disk'><driver name='qemu' type='raw'/>" \
	"<source file='%s'/><target dev='vda'/></disk></devices></domain>"

static struct {
	int save_code; /* why it is not saved; 0: it is */
	bool half;     /* it is saved all the same */
	unsigned creates, failing_creates, create_flags;
	unsigned shutdowns, deaf, destroys; /* `deaf`: words that the guest does not hear */
	int destroy_code;
	atomic_int cancel;
	bool is_cancelled_meanwhile;
	unsigned thaws;
	int thaw_code;
	unsigned deletions, failing_deletions; /* of snapshots inside the disk */
} fake;

__typeof__(virDomainManagedSave) __real_virDomainManagedSave, __wrap_virDomainManagedSave;
__typeof__(virDomainCreateWithFlags) __wrap_virDomainCreateWithFlags;
__typeof__(virDomainShutdown) __real_virDomainShutdown, __wrap_virDomainShutdown;
__typeof__(virDomainDestroy) __real_virDomainDestroy, __wrap_virDomainDestroy;
__typeof__(freeze_end) __wrap_freeze_end;
__typeof__(qemu_img_snapshot) __real_qemu_img_snapshot, __wrap_qemu_img_snapshot;

int __wrap_virDomainManagedSave(virDomainPtr domain, unsigned flags)
{
	if (fake.half || fake.save_code == 0)
		g_assert_cmpint(__real_virDomainManagedSave(domain, flags), ==, 0);
	return fake.save_code ? host_fail(fake.save_code) : 0;
}

/* The test driver knows no flags. */
int __wrap_virDomainCreateWithFlags(virDomainPtr domain, unsigned flags)
{
	fake.create_flags = flags;
	if (++fake.creates <= fake.failing_creates)
		return host_fail(VIR_ERR_OPERATION_FAILED);
	return virDomainCreate(domain);
}

int __wrap_virDomainShutdown(virDomainPtr domain)
{
	if (fake.is_cancelled_meanwhile)
		atomic_store(&fake.cancel, 1);
	if (++fake.shutdowns <= fake.deaf)
		return 0;
	return __real_virDomainShutdown(domain);
}

int __wrap_virDomainDestroy(virDomainPtr domain)
{
	fake.destroys++;
	return fake.destroy_code ? host_fail(fake.destroy_code) : __real_virDomainDestroy(domain);
}

int __wrap_freeze_end(struct freeze *freeze, GError **error)
{
	(void)freeze;
	fake.thaws++;
	if (fake.thaw_code == 0)
		return 0;
	g_set_error_literal(error, VIRT_ERROR, fake.thaw_code, "made up");
	return -1;
}

int __wrap_qemu_img_snapshot(const char *source, bool create, const char *name,
			     const atomic_int *cancel, GError **error)
{
	if (!create && ++fake.deletions <= fake.failing_deletions) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_PROCESS, "made up");
		return -1;
	}
	return __real_qemu_img_snapshot(source, create, name, cancel, error);
}

struct fixture {
	struct host host;
	char *disk;
	GString *steps;
	struct snapshot_steps watched;
	struct snapshot *snapshot;
};

static int step_ends(void *opaque, const char *step, GError **error)
{
	(void)opaque;
	(void)step;
	(void)error;
	return 0;
}

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *xml = NULL;

	(void)unused;
	memset(&fake, 0, sizeof(fake));
	host_open(&fixture->host);
	fixture->host.config.disable_livesnapshot = true;
	fixture->disk = g_build_filename(fixture->host.tmp, "disk", NULL);
	g_assert_true(g_file_set_contents(fixture->disk, "", 0, NULL));
	g_assert_cmpint(truncate(fixture->disk, 1 << 20), ==, 0);
	xml = g_strdup_printf(DOMAIN, fixture->disk);
	(void)virDomainFree(fixture->host.domain);
	fixture->host.domain = virDomainDefineXML(fixture->host.connection, xml);
	g_assert_nonnull(fixture->host.domain);
	g_assert_cmpint(virDomainCreate(fixture->host.domain), ==, 0);
	fixture->steps = g_string_new(NULL);
}

static void begin(struct fixture *fixture)
{
	struct snapshot_request wanted = {.uuid = UUID, .steps = &fixture->watched};
	g_autoptr(GError) error = NULL;

	fixture->watched = (struct snapshot_steps){host_step_begins, step_ends, host_step_is_over,
						   fixture->steps};
	fixture->snapshot = snapshot_new(fixture->host.virt, &wanted, &error);
	g_assert_no_error(error);
	g_assert_cmpstr(snapshot_method(fixture->snapshot), ==, "extract");
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	if (fixture->snapshot)
		g_assert_cmpint(snapshot_end(fixture->snapshot, NULL), ==, 0);
	(void)__real_virDomainDestroy(fixture->host.domain);
	(void)virDomainManagedSaveRemove(fixture->host.domain, 0);
	(void)virDomainUndefine(fixture->host.domain);
	(void)g_unlink(fixture->disk);
	host_close(&fixture->host);
	g_string_free(fixture->steps, TRUE);
	g_free(fixture->disk);
}

/* 0, or the code of the failure. */
static int take(struct fixture *fixture, const char *words)
{
	g_autoptr(GError) error = NULL;
	struct image_source *source = snapshot_take(fixture->snapshot, &error);

	image_source_free(source);
	if (source)
		return 0;
	g_assert_nonnull(error);
	if (!strstr(error->message, words))
		g_error("it says \"%s\"", error->message);
	return error->code;
}

static void test_saved_and_restored(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	begin(fixture);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
	g_assert_cmpint(take(fixture, ""), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_cmpstr(fixture->steps->str, ==,
			"save folder copy-out restore -save clean -folder ");
	g_assert_cmpuint(fake.create_flags, ==, 0);
}

static void test_paused_guest_stays_so(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainSuspend(fixture->host.domain), ==, 0);
	begin(fixture);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, 0);
	g_assert_cmpint(take(fixture, ""), ==, 0);
	g_assert_cmpuint(fake.create_flags, ==, VIR_DOMAIN_START_PAUSED);
}

/* libvirt may have saved it, or not. */
static void test_save_fails(struct fixture *fixture, gconstpointer half)
{
	g_autoptr(GError) error = NULL;

	fake.half = half != NULL;
	fake.save_code = VIR_ERR_OPERATION_FAILED;
	begin(fixture);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FAILED);
	g_assert_cmpint(snapshot_end(g_steal_pointer(&fixture->snapshot), NULL), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_cmpstr(fixture->steps->str, ==, half ? "save restore -save " : "save -save ");
}

static void test_somebody_ends_the_saved_guest(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	begin(fixture);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, 0);
	g_assert_cmpint(virDomainManagedSaveRemove(fixture->host.domain, 0), ==, 0);
	g_assert_cmpint(take(fixture, ""), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
	g_assert_cmpuint(fake.creates, ==, 0);
}

static void test_somebody_starts_the_saved_guest(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	begin(fixture);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, 0);
	g_assert_cmpint(virDomainCreate(fixture->host.domain), ==, 0);
	g_assert_cmpint(take(fixture, "somebody started"), ==, VIRT_ERROR_BUSY);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_cmpuint(fake.creates, ==, 0);
}

static void test_restored_at_the_third_try(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failing_creates = 2;
	begin(fixture);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, 0);
	for (unsigned i = 0; i < fake.failing_creates; i++)
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*restoring*; tried again");
	g_assert_cmpint(take(fixture, ""), ==, 0);
	g_test_assert_expected_messages();
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
}

/* Its step stays open: recovery goes on trying. */
static void test_not_restored(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failing_creates = 3;
	begin(fixture);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, 0);
	for (unsigned i = 1; i < fake.failing_creates; i++)
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*restoring*; tried again");
	g_assert_cmpint(take(fixture, "is left saved"), ==, VIRT_ERROR_FAILED);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.creates, ==, 3);
	g_assert_null(strstr(fixture->steps->str, "-save"));
}

static void test_transient_guest_is_not_saved(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	begin(fixture);
	g_assert_cmpint(virDomainUndefine(fixture->host.domain), ==, 0);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED);
	fixture->snapshot->facts.host_devices = true;
	g_clear_error(&error);
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_cmpstr(fixture->steps->str, ==, "");
}

/* --- snapshots inside the disk ------------------------------------------------------------------
 */

static void begin_internal(struct fixture *fixture)
{
	struct disk_layer *top;

	g_assert_cmpint(g_unlink(fixture->disk), ==, 0);
	g_assert_cmpint(qemu_img_create_delta(fixture->disk, 1 << 20, NULL, NULL, NULL), ==, 0);
	fixture->host.config.cold_method = "extract";
	begin(fixture);
	fixture->snapshot->method = &method_internal;
	top = disk_top(fixture->snapshot->disk);
	g_free(top->format);
	top->format = g_strdup("qcow2");
	fixture->snapshot->disk->complete = false;
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, 0);
}

static bool has_snapshot(const struct fixture *fixture)
{
	int has = qemu_img_has_snapshot(fixture->disk, "novasnap-", NULL);

	g_assert_cmpint(has, >=, 0);
	return has;
}

static void test_snapshot_inside(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failing_deletions = 2;
	begin_internal(fixture);
	g_assert_cmpint(take(fixture, ""), ==, 0);
	g_assert_cmpuint(fake.deletions, ==, 3);
	g_assert_false(has_snapshot(fixture));
	g_assert_nonnull(strstr(fixture->steps->str, "-internal"));
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
}

/* The guest comes back in any case, and the step stays open. */
static void test_snapshot_inside_stays(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failing_deletions = 3;
	begin_internal(fixture);
	g_assert_cmpint(take(fixture, "inside the disk"), ==, VIRT_ERROR_PROCESS);
	g_assert_true(has_snapshot(fixture));
	g_assert_null(strstr(fixture->steps->str, "-internal"));
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
}

/* A guest that was thawed too early is a failure where the image requires that it is not. */
static void test_thaw_fails(struct fixture *fixture, gconstpointer unused)
{
	struct freeze *freeze = (struct freeze *)fixture; /* nobody looks into it */
	g_autoptr(GError) error = NULL;

	(void)unused;
	begin(fixture);
	fake.thaw_code = VIRT_ERROR_FREEZE;
	fixture->snapshot->frozen = freeze;
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*made up");
	g_assert_cmpint(quiesce_end(fixture->snapshot, &error), ==, 0);
	g_test_assert_expected_messages();
	g_assert_no_error(error);
	fixture->snapshot->frozen = freeze;
	fixture->snapshot->require_quiesce = true;
	g_assert_cmpint(quiesce_end(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE);
	/* Each is told to once, and recovery may have to once more. */
	g_assert_cmpuint(fake.thaws, ==, 2);
	g_assert_null(fixture->snapshot->frozen);
	g_assert_null(strstr(fixture->steps->str, "-freeze"));
}

/* --- power -------------------------------------------------------------------------------------
 */

static int power_off(const struct fixture *fixture, unsigned timeout_s, GError **error)
{
	return virt_guest_power_off(fixture->host.virt, UUID, timeout_s, 10, &fake.cancel, error);
}

static void test_guest_that_shuts_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.deaf = 2;
	g_assert_cmpint(power_off(fixture, 60, NULL), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
	g_assert_cmpuint(fake.shutdowns, ==, 3);
	g_assert_cmpuint(fake.destroys, ==, 0);
	g_assert_cmpint(host_passed / G_USEC_PER_SEC, >=, 20);
	/* And one that is off. */
	g_assert_cmpint(power_off(fixture, 60, NULL), ==, 0);
	g_assert_cmpuint(fake.shutdowns, ==, 3);
}

static void test_guest_that_does_not(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.deaf = 100;
	g_assert_cmpint(power_off(fixture, 60, NULL), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
	g_assert_cmpint(host_passed / G_USEC_PER_SEC, >=, 60);
	g_assert_cmpint(host_passed / G_USEC_PER_SEC, <, 62);
	g_assert_cmpuint(fake.shutdowns, ==, 6);
	g_assert_cmpuint(fake.destroys, ==, 1);
}

static void test_guest_that_is_not_asked(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(power_off(fixture, 0, NULL), ==, 0);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
	g_assert_cmpuint(fake.shutdowns, ==, 0);
	g_assert_cmpint(virDomainUndefine(fixture->host.domain), ==, 0);
	/* One that is not there has no power. */
	g_assert_cmpint(power_off(fixture, 0, NULL), ==, 0);
}

static void test_guest_keeps_its_power(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	fake.deaf = 100;
	fake.is_cancelled_meanwhile = true;
	g_assert_cmpint(power_off(fixture, 60, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_CANCELLED);
	g_assert_cmpuint(fake.destroys, ==, 0);
	g_clear_error(&error);
	atomic_store(&fake.cancel, 0);
	fake.destroy_code = VIR_ERR_OPERATION_FAILED;
	g_assert_cmpint(power_off(fixture, 0, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FAILED);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
}

#define TEST(name) g_test_add("/cold/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(saved_and_restored);
	TEST(paused_guest_stays_so);
	TEST(save_fails);
	g_test_add("/cold/save_fails/half", struct fixture, "half", set_up, test_save_fails,
		   tear_down);
	TEST(somebody_ends_the_saved_guest);
	TEST(somebody_starts_the_saved_guest);
	TEST(restored_at_the_third_try);
	TEST(not_restored);
	TEST(transient_guest_is_not_saved);
	TEST(snapshot_inside);
	TEST(snapshot_inside_stays);
	TEST(thaw_fails);
	TEST(guest_that_shuts_down);
	TEST(guest_that_does_not);
	TEST(guest_that_is_not_asked);
	TEST(guest_keeps_its_power);
	return g_test_run();
}
