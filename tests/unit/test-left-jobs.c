/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs that run on a guest before a snapshot begins, or when novasnapd starts: those that an
 * earlier novasnapd left are ended, those of others are not. On a guest of libvirt's test driver;
 * the test makes the jobs.
 */
#include "tests/unit/snapshot-fixture.h"
#include "virt/export-folder.h"
#include "virt/method/left-jobs.h"

static struct {
	bool is_copying;
	const char *mirror; /* the file that it copies to; NULL: it copies to no file */
	unsigned aborts;
	char *backup;		    /* the socket of a backup; NULL: none runs */
	unsigned backup_unanswered; /* how many times the question is not answered */
	unsigned ended_backups;
	bool is_paused; /* by an I/O error */
	unsigned resumed;
} fake;

__typeof__(virDomainGetBlockJobInfo) __wrap_virDomainGetBlockJobInfo;
__typeof__(virDomainBlockJobAbort) __wrap_virDomainBlockJobAbort;
__typeof__(virDomainBackupGetXMLDesc) __wrap_virDomainBackupGetXMLDesc;
__typeof__(virDomainAbortJob) __wrap_virDomainAbortJob;
__typeof__(virDomainGetXMLDesc) __real_virDomainGetXMLDesc, __wrap_virDomainGetXMLDesc;
__typeof__(virDomainGetState) __real_virDomainGetState, __wrap_virDomainGetState;
__typeof__(virDomainResume) __wrap_virDomainResume;

int __wrap_virDomainGetState(virDomainPtr domain, int *state, int *reason, unsigned flags)
{
	int rc = __real_virDomainGetState(domain, state, reason, flags);

	if (fake.is_paused) {
		*state = VIR_DOMAIN_PAUSED;
		*reason = VIR_DOMAIN_PAUSED_IOERROR;
	}
	return rc;
}

int __wrap_virDomainResume(virDomainPtr domain)
{
	(void)domain;
	fake.resumed++;
	return 0;
}

/* With the block job, as libvirt shows it. */
char *__wrap_virDomainGetXMLDesc(virDomainPtr domain, unsigned flags)
{
	char *xml = __real_virDomainGetXMLDesc(domain, flags);
	g_autofree char *mirror = NULL;
	g_autoptr(GString) text = NULL;

	if (!xml || !fake.mirror)
		return xml;
	mirror = g_strdup_printf("<mirror type='file'><source file='%s'/></mirror></disk>",
				 fake.mirror);
	text = g_string_new(xml);
	free(xml);
	g_assert_cmpuint(g_string_replace(text, "</disk>", mirror, 0), ==, 1);
	return strdup(text->str);
}

int __wrap_virDomainGetBlockJobInfo(virDomainPtr domain, const char *disk,
				    virDomainBlockJobInfoPtr info, unsigned flags)
{
	(void)domain;
	(void)disk;
	(void)flags;
	info->type = VIR_DOMAIN_BLOCK_JOB_TYPE_COPY;
	return fake.is_copying;
}

int __wrap_virDomainBlockJobAbort(virDomainPtr domain, const char *disk, unsigned flags)
{
	(void)domain;
	(void)disk;
	/* Without a switch to the copy. */
	g_assert_cmpuint(flags, ==, 0);
	fake.is_copying = false;
	fake.aborts++;
	return 0;
}

char *__wrap_virDomainBackupGetXMLDesc(virDomainPtr domain, unsigned flags)
{
	g_autofree char *xml = NULL;

	(void)domain;
	(void)flags;
	if (fake.backup_unanswered > 0) {
		fake.backup_unanswered--;
		(void)host_fail(VIR_ERR_INVALID_CONN);
		return NULL;
	}
	if (!fake.backup) {
		(void)host_fail(VIR_ERR_NO_DOMAIN_BACKUP);
		return NULL;
	}
	xml = g_strdup_printf("<domainbackup><server socket='%s'/></domainbackup>", fake.backup);
	return strdup(xml);
}

int __wrap_virDomainAbortJob(virDomainPtr domain)
{
	(void)domain;
	g_clear_pointer(&fake.backup, g_free);
	fake.ended_backups++;
	return 0;
}

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fixture_open(fixture, "");
	fixture->host.config.live_method = "rebase";
	fixture->note_ends = true;
	fixture_begin(fixture, "rebase");
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture_close(fixture);
	g_free(fake.backup);
}

static void assert_busy(struct fixture *fixture)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(left_jobs_end(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_BUSY);
	g_assert_cmpuint(fake.aborts + fake.ended_backups, ==, 0);
}

static void test_block_job(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *delta = g_strdup_printf("%s/novasnap-1/delta", fixture->host.tmp);

	(void)unused;
	fake.is_copying = true;
	/* To no file. */
	assert_busy(fixture);
	fake.mirror = "/somebody/else";
	assert_busy(fixture);
	fake.mirror = delta;
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*ending a*left running");
	g_assert_cmpint(left_jobs_end(fixture->snapshot, NULL), ==, 0);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.aborts, ==, 1);
	g_assert_cmpstr(fixture->steps->str, ==, "clear clear. ");
}

/* The job that ran when the snapshot began has ended, and another program has started one. */
static void test_newer_block_job(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *delta = g_strdup_printf("%s/novasnap-1/delta", fixture->host.tmp);

	(void)unused;
	fake.is_copying = true;
	fake.mirror = delta;
	fixture_begin(fixture, "rebase");
	fake.mirror = "/somebody/else";
	assert_busy(fixture);
}

static void test_backup(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *folder = g_build_filename(fixture->host.tmp, "nbd-1", NULL);
	int lock;

	(void)unused;
	fake.backup = g_strdup("/somebody/else");
	assert_busy(fixture);
	g_free(fake.backup);
	fake.backup = g_build_filename(folder, "export", NULL);
	/* Of a process that lives. */
	g_assert_cmpint(export_folder_make(folder, &lock, NULL), ==, 0);
	assert_busy(fixture);
	(void)close(lock);
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*ending a*left running");
	g_assert_cmpint(left_jobs_end(fixture->snapshot, NULL), ==, 0);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.ended_backups, ==, 1);
	g_assert_cmpint(g_rmdir(folder), ==, 0);
}

/* A snapshot does not begin while another job may run. */
static void test_backup_is_unknown(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	fake.backup_unanswered = 3;
	g_assert_cmpint(left_jobs_end(fixture->snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED);
	fake.backup_unanswered = 2;
	g_assert_cmpint(left_jobs_end(fixture->snapshot, NULL), ==, 0);
}

static void test_sweep(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *folder = g_build_filename(fixture->host.tmp, "nbd-1", NULL);
	g_autofree char *stale = g_build_filename(fixture->host.tmp, "nbd-2", NULL);
	int lock;

	(void)unused;
	g_assert_cmpint(export_folder_make(folder, &lock, NULL), ==, 0);
	fake.backup = g_build_filename(folder, "export", NULL);
	/* That of a process that lives is left alone, and a folder without an export removed. */
	g_assert_cmpint(g_mkdir(stale, 0700), ==, 0);
	virt_host_sweep(fixture->host.virt);
	g_assert_cmpuint(fake.ended_backups, ==, 0);
	g_assert_false(g_file_test(stale, G_FILE_TEST_IS_DIR));
	g_assert_true(g_file_test(folder, G_FILE_TEST_IS_DIR));
	(void)close(lock);
	/* The journal may say that an I/O error had paused the guest before. */
	fake.is_paused = true;
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*ending a*left running");
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*an I/O error has paused it*");
	virt_host_sweep(fixture->host.virt);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.ended_backups, ==, 1);
	g_assert_cmpuint(fake.resumed, ==, 0);
	g_assert_false(g_file_test(folder, G_FILE_TEST_IS_DIR));
}

/* The folders stay while an export may still use them. */
static void test_sweep_is_unknown(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *folder = g_build_filename(fixture->host.tmp, "nbd-1", NULL);

	(void)unused;
	g_assert_cmpint(g_mkdir(folder, 0700), ==, 0);
	/* Of two guests. */
	fake.backup_unanswered = 2 * 3;
	for (int i = 0; i < 2; i++) {
		g_test_expect_message("virt", G_LOG_LEVEL_INFO, "*retrying on a new connection*");
		g_test_expect_message("virt", G_LOG_LEVEL_INFO, "*retrying on a new connection*");
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*at the next start");
	}
	virt_host_sweep(fixture->host.virt);
	g_test_assert_expected_messages();
	g_assert_true(g_file_test(folder, G_FILE_TEST_IS_DIR));
	host_lose_libvirt();
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*cannot look for exports*");
	virt_host_sweep(fixture->host.virt);
	g_test_assert_expected_messages();
	g_assert_true(g_file_test(folder, G_FILE_TEST_IS_DIR));
	host_find_libvirt();
	virt_host_sweep(fixture->host.virt);
	g_assert_false(g_file_test(folder, G_FILE_TEST_IS_DIR));
}

#define TEST(name)                                                                                 \
	g_test_add("/left-jobs/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(block_job);
	TEST(newer_block_job);
	TEST(backup);
	TEST(backup_is_unknown);
	TEST(sweep);
	TEST(sweep_is_unknown);
	return g_test_run();
}
