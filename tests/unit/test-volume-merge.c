/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Merging a volume's snapshot: who does it depends on whether the guest runs, and nobody does where
 * that is unknown. On a guest of libvirt's test driver; the test makes the jobs.
 */
#include "tests/unit/snapshot-fixture.h"
#include "virt/domain/events.h"
#include "virt/qemu-img.h"

#define VOLUME "volume-1"
#define DISK                                                                                       \
	"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/>"    \
	"<target dev='vdb'/><serial>" VOLUME "</serial></disk>"

static struct {
	unsigned active_unanswered;    /* how many times the question is not answered */
	unsigned block_jobs;	       /* how many times a block job is still there */
	unsigned block_job_unanswered; /* how many times that question is not answered */
	bool start_unanswered;	       /* libvirt does not say that the merge began */
	virDomainPtr stopping;	       /* this guest stops during the merge; NULL: none */
	enum block_job_outcome outcome;
	unsigned commits, rebases, aborts, qemu_rebases;
} fake;

__typeof__(virDomainIsActive) __real_virDomainIsActive, __wrap_virDomainIsActive;
__typeof__(virDomainGetBlockJobInfo) __wrap_virDomainGetBlockJobInfo;
__typeof__(virDomainBlockCommit) __wrap_virDomainBlockCommit;
__typeof__(virDomainBlockRebase) __wrap_virDomainBlockRebase;
__typeof__(virDomainBlockJobAbort) __wrap_virDomainBlockJobAbort;
__typeof__(domain_events_wait_block_job) __wrap_domain_events_wait_block_job;
__typeof__(qemu_img_rebase) __wrap_qemu_img_rebase;

int __wrap_virDomainIsActive(virDomainPtr domain)
{
	if (fake.active_unanswered == 0)
		return __real_virDomainIsActive(domain);
	fake.active_unanswered--;
	return host_fail(VIR_ERR_INVALID_CONN);
}

int __wrap_virDomainGetBlockJobInfo(virDomainPtr domain, const char *disk,
				    virDomainBlockJobInfoPtr info, unsigned flags)
{
	(void)domain;
	(void)info;
	(void)flags;
	g_assert_cmpstr(disk, ==, "vdb");
	if (fake.block_job_unanswered > 0) {
		fake.block_job_unanswered--;
		return host_fail(VIR_ERR_INVALID_CONN);
	}
	return fake.block_jobs > 0 && fake.block_jobs-- > 0;
}

/* Cinder's names are relative; libvirt refuses that once. */
int __wrap_virDomainBlockCommit(virDomainPtr domain, const char *disk, const char *base,
				const char *top, unsigned long bandwidth, unsigned flags)
{
	(void)domain;
	(void)disk;
	(void)bandwidth;
	g_assert_true(g_str_has_suffix(base, "/base"));
	g_assert_true(g_str_has_suffix(top, "/top") || g_str_has_suffix(top, "/volume"));
	fake.commits++;
	if (fake.start_unanswered)
		return host_fail(VIR_ERR_INVALID_CONN);
	return flags & VIR_DOMAIN_BLOCK_COMMIT_RELATIVE ? host_fail(VIR_ERR_OPERATION_INVALID) : 0;
}

int __wrap_virDomainBlockRebase(virDomainPtr domain, const char *disk, const char *base,
				unsigned long bandwidth, unsigned flags)
{
	(void)domain;
	(void)disk;
	(void)bandwidth;
	g_assert_true(base != NULL || flags == 0);
	fake.rebases++;
	return fake.start_unanswered ? host_fail(VIR_ERR_INVALID_CONN) : 0;
}

int __wrap_virDomainBlockJobAbort(virDomainPtr domain, const char *disk, unsigned flags)
{
	(void)domain;
	(void)disk;
	(void)flags;
	fake.aborts++;
	return 0;
}

enum block_job_outcome __wrap_domain_events_wait_block_job(struct domain_events *events, bool ended,
							   unsigned timeout_s,
							   const atomic_int *cancel,
							   uint64_t (*progress)(void *opaque),
							   void *opaque)
{
	(void)events;
	(void)timeout_s;
	(void)cancel;
	g_assert_true(ended);
	(void)progress(opaque);
	if (fake.stopping)
		g_assert_cmpint(virDomainDestroy(fake.stopping), ==, 0);
	return fake.outcome;
}

int __wrap_qemu_img_rebase(const char *path, const char *base, const char *base_format,
			   const atomic_int *cancel, GError **error)
{
	(void)path;
	(void)cancel;
	(void)error;
	g_assert_true((base == NULL) == (base_format == NULL));
	fake.qemu_rebases++;
	return 0;
}

struct volume_fixture {
	struct fixture guest;
	char *file;
	struct virt_volume volume;
};

static void set_up(struct volume_fixture *fixture, gconstpointer unused)
{
	g_autofree char *folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	g_autofree char *devices = NULL;

	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fake.outcome = BLOCK_JOB_ENDED;
	fixture->file = g_build_filename(folder, "volume", NULL);
	devices = g_strdup_printf(DISK, fixture->file);
	fixture_open(&fixture->guest, devices);
	g_assert_cmpint(qemu_img_create_delta(fixture->file, 1 << 20, NULL, NULL, NULL, NULL), ==,
			0);
	fixture->volume = (struct virt_volume){.uuid = FIXTURE_UUID, .volume_id = VOLUME};
}

static void tear_down(struct volume_fixture *fixture, gconstpointer unused)
{
	g_autofree char *folder = g_path_get_dirname(fixture->file);

	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fixture_close(&fixture->guest);
	g_assert_cmpint(g_unlink(fixture->file), ==, 0);
	g_assert_cmpint(g_rmdir(folder), ==, 0);
	g_free(fixture->file);
}

/* Pulls the whole chain into the disk, or commits: DONE, or the code of the error. */
static int merge(struct volume_fixture *fixture, bool commit)
{
	g_autoptr(GError) error = NULL;

	if (virt_volume_snapshot_delete(fixture->guest.host.virt, &fixture->volume,
					commit ? "top" : NULL, commit ? "base" : NULL, &error) == 0)
		return -1;
	return error->code;
}
#define DONE (-1)

/* Commits a file, whose name may be that of the active one, which is in the chain. */
static int merge_file(struct volume_fixture *fixture, const char *file)
{
	g_autoptr(GError) error = NULL;

	if (virt_volume_snapshot_delete(fixture->guest.host.virt, &fixture->volume, file, "base",
					&error) == 0)
		return DONE;
	return error->code;
}

static void test_running(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(merge(fixture, true), ==, DONE);
	g_assert_cmpuint(fake.commits, ==, 2);
	g_assert_cmpint(merge(fixture, false), ==, DONE);
	g_assert_cmpuint(fake.rebases, ==, 1);
	g_assert_cmpuint(fake.qemu_rebases + fake.aborts, ==, 0);
}

static void test_stopped(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainDestroy(fixture->guest.host.domain), ==, 0);
	g_assert_cmpint(merge(fixture, true), ==, VIRT_ERROR_UNSUPPORTED);
	g_assert_cmpint(merge(fixture, false), ==, DONE);
	g_assert_cmpuint(fake.qemu_rebases, ==, 1);
	g_assert_cmpuint(fake.commits + fake.rebases, ==, 0);
}

/* qemu-img must not write to the disk of a guest that may run. */
static void test_state_is_unknown(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.active_unanswered = 6;
	g_assert_cmpint(merge(fixture, false), ==, VIRT_ERROR_DISCONNECTED);
	g_assert_cmpint(merge(fixture, true), ==, VIRT_ERROR_DISCONNECTED);
	g_assert_cmpuint(fake.qemu_rebases + fake.commits + fake.rebases, ==, 0);
	fake.active_unanswered = 2;
	g_assert_cmpint(merge(fixture, false), ==, DONE);
	g_assert_cmpuint(fake.rebases, ==, 1);
}

static void test_job_fails(struct volume_fixture *fixture, gconstpointer unused)
{
	static const struct {
		enum block_job_outcome outcome;
		int code;
	} cases[] = {
		{BLOCK_JOB_FAILED, VIRT_ERROR_JOB},	     {BLOCK_JOB_ABORTED, VIRT_ERROR_JOB},
		{BLOCK_JOB_GUEST_STOPPED, VIRT_ERROR_JOB},   {BLOCK_JOB_TIMEOUT, VIRT_ERROR_JOB},
		{BLOCK_JOB_CANCELLED, VIRT_ERROR_CANCELLED},
	};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		fake.outcome = cases[i].outcome;
		g_assert_cmpint(merge(fixture, false), ==, cases[i].code);
		g_assert_cmpuint(fake.aborts, ==, i + 1);
	}
}

/* The connection breaks during the merge, or before libvirt has said that it began. libvirt goes on
 * with it: it is waited for, and the chain shows whether it succeeded. */
static void test_connection_breaks(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	for (int started = 0; started < 2; started++) {
		fake.outcome = BLOCK_JOB_DISCONNECTED;
		fake.start_unanswered = !started;
		fake.block_jobs = 5;
		g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*the snapshot was merged");
		g_assert_cmpint(merge(fixture, false), ==, DONE);
		g_test_assert_expected_messages();
		g_assert_cmpuint(fake.block_jobs, ==, 0);
		/* The top is still in the chain. */
		g_assert_cmpint(merge_file(fixture, "volume"), ==, VIRT_ERROR_DISCONNECTED);
	}
	g_assert_cmpuint(fake.aborts, ==, 0);
	fake.start_unanswered = false;
	/* libvirtd needs its time. */
	fake.block_job_unanswered = 100;
	g_assert_cmpint(merge(fixture, false), ==, DONE);
	fake.block_job_unanswered = UINT_MAX;
	g_assert_cmpint(merge(fixture, false), ==, VIRT_ERROR_DISCONNECTED);
	g_assert_cmpuint(fake.aborts, ==, 0);
	/* The merge makes no progress. */
	fake.block_job_unanswered = 0;
	fake.block_jobs = UINT_MAX;
	g_assert_cmpint(merge(fixture, false), ==, VIRT_ERROR_DISCONNECTED);
	g_assert_cmpuint(fake.aborts, ==, 1);
	/* The definition of a guest that is off does not list the chain. */
	fake.block_jobs = 0;
	fake.stopping = fixture->guest.host.domain;
	g_assert_cmpint(merge(fixture, false), ==, VIRT_ERROR_DISCONNECTED);
}

/* After a restart of novasnapd, libvirt may still be at what was asked of it before. */
static void test_resumed(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture->volume.resuming = true;
	fake.block_jobs = 5;
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*has already been merged");
	g_assert_cmpint(merge(fixture, false), ==, DONE);
	g_test_assert_expected_messages();
	g_assert_cmpuint(host_sleep_count, ==, 5);
	/* The chain is already one file. */
	g_assert_cmpuint(fake.rebases, ==, 0);
	fake.block_job_unanswered = 3;
	g_assert_cmpint(merge(fixture, false), ==, VIRT_ERROR_DISCONNECTED);
	fake.block_jobs = UINT_MAX;
	g_assert_cmpint(merge(fixture, false), ==, VIRT_ERROR_BUSY);
	g_assert_cmpuint(fake.aborts + fake.rebases, ==, 0);
}

#define TEST(name)                                                                                 \
	g_test_add("/volume-merge/" #name, struct volume_fixture, NULL, set_up, test_##name,       \
		   tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(running);
	TEST(stopped);
	TEST(state_is_unknown);
	TEST(job_fails);
	TEST(connection_breaks);
	TEST(resumed);
	return g_test_run();
}
