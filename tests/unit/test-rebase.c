/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What rebase does on a libvirt without transient copies, where a block copy fails, and whose jobs
 * are ended before any: on a guest of libvirt's test driver, with its jobs made up.
 */
#include <sys/file.h>
#include <unistd.h>

#include "tests/unit/host.h"

#define UUID "6695eb01-f6a4-8304-79aa-97f2502e1931"
#define DOMAIN                                                                                     \
	"<domain type='test'><name>g</name><uuid>" UUID "</uuid><memory>1024</memory><os><type>"   \
	"hvm</type></os><devices>%s<disk type='file' device='disk'><driver name='qemu' type='raw'" \
	"/><source file='%s'/><target dev='vda'/></disk></devices></domain>"
#define TPM "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>"

static struct {
	int transient_code; /* why no transient copy is started; 0: one is */
	int copy_code;	    /* the same of another */
	enum watch_end ends[2];
	int export_code; /* why no disk is exported */
	unsigned waits, copies, aborted, undefined, undefine_flags, ended_backups, exports;
	bool copying, no_define;
	char *backup; /* the socket of a backup; NULL: there is none */
} fake;

__typeof__(virDomainGetBlockInfo) __wrap_virDomainGetBlockInfo;
__typeof__(virDomainGetBlockJobInfo) __wrap_virDomainGetBlockJobInfo;
__typeof__(virDomainBlockCopy) __wrap_virDomainBlockCopy;
__typeof__(virDomainBlockJobAbort) __wrap_virDomainBlockJobAbort;
__typeof__(virDomainUndefineFlags) __real_virDomainUndefineFlags, __wrap_virDomainUndefineFlags;
__typeof__(virDomainDefineXML) __real_virDomainDefineXML, __wrap_virDomainDefineXML;
__typeof__(virDomainBackupGetXMLDesc) __wrap_virDomainBackupGetXMLDesc;
__typeof__(virDomainAbortJob) __wrap_virDomainAbortJob;
__typeof__(virDomainBackupBegin) __wrap_virDomainBackupBegin;
__typeof__(watch_wait) __wrap_watch_wait;

int __wrap_virDomainGetBlockInfo(virDomainPtr domain, const char *disk, virDomainBlockInfoPtr info,
				 unsigned flags)
{
	(void)domain;
	(void)disk;
	(void)flags;
	info->capacity = 1 << 20;
	return 0;
}

int __wrap_virDomainGetBlockJobInfo(virDomainPtr domain, const char *disk,
				    virDomainBlockJobInfoPtr info, unsigned flags)
{
	(void)domain;
	(void)disk;
	(void)flags;
	info->type = VIR_DOMAIN_BLOCK_JOB_TYPE_COPY;
	return fake.copying;
}

int __wrap_virDomainBlockCopy(virDomainPtr domain, const char *disk, const char *xml,
			      virTypedParameterPtr parameters, int count, unsigned flags)
{
	bool transient = flags & VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB;
	int code = transient ? fake.transient_code : fake.copy_code;

	(void)disk;
	(void)parameters;
	(void)count;
	g_assert_nonnull(strstr(xml, "/delta'"));
	g_assert_cmpint(virDomainIsPersistent(domain), ==, transient);
	fake.copies++;
	fake.copying = code == 0;
	return code ? host_fail(code) : 0;
}

int __wrap_virDomainBlockJobAbort(virDomainPtr domain, const char *disk, unsigned flags)
{
	(void)domain;
	(void)disk;
	g_assert_cmpuint(flags, ==, 0);
	fake.copying = false;
	fake.aborted++;
	return 0;
}

int __wrap_virDomainUndefineFlags(virDomainPtr domain, unsigned flags)
{
	fake.undefined++;
	fake.undefine_flags = flags;
	return __real_virDomainUndefineFlags(domain, 0);
}

virDomainPtr __wrap_virDomainDefineXML(virConnectPtr connection, const char *xml)
{
	if (!fake.no_define)
		return __real_virDomainDefineXML(connection, xml);
	(void)host_fail(VIR_ERR_OPERATION_FAILED);
	return NULL;
}

char *__wrap_virDomainBackupGetXMLDesc(virDomainPtr domain, unsigned flags)
{
	g_autofree char *xml = NULL;

	(void)domain;
	(void)flags;
	if (!fake.backup)
		(void)host_fail(VIR_ERR_NO_DOMAIN_BACKUP);
	xml = g_strdup_printf("<domainbackup><server socket='%s'/></domainbackup>",
			      fake.backup ? fake.backup : "");
	return fake.backup ? strdup(xml) : NULL;
}

int __wrap_virDomainAbortJob(virDomainPtr domain)
{
	(void)domain;
	g_clear_pointer(&fake.backup, g_free);
	fake.ended_backups++;
	return 0;
}

int __wrap_virDomainBackupBegin(virDomainPtr domain, const char *xml, const char *checkpoint,
				unsigned flags)
{
	(void)domain;
	(void)checkpoint;
	(void)flags;
	g_assert_nonnull(strstr(xml, "exportname='vda'"));
	fake.exports++;
	return host_fail(fake.export_code);
}

enum watch_end __wrap_watch_wait(struct watch *watch, bool ended, unsigned timeout_s,
				 const atomic_int *cancel, uint64_t (*progress)(void *opaque),
				 void *opaque)
{
	(void)watch;
	(void)timeout_s;
	(void)cancel;
	/* It can be asked at any time. */
	if (progress)
		(void)progress(opaque);
	g_assert_cmpint(ended, ==, fake.waits == 1);
	return fake.ends[fake.waits++];
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
	(void)error;
	g_string_append_printf(opaque, "%s. ", step);
	return 0;
}

/* Each is taken once. */
static void renew(struct fixture *fixture)
{
	struct snapshot_request wanted = {.uuid = UUID, .steps = &fixture->watched};
	g_autoptr(GError) error = NULL;

	if (fixture->snapshot)
		g_assert_cmpint(snapshot_end(fixture->snapshot, NULL), ==, 0);
	fake.waits = fake.aborted = 0;
	fixture->snapshot = snapshot_new(fixture->host.virt, &wanted, &error);
	g_assert_no_error(error);
	g_assert_cmpstr(snapshot_method(fixture->snapshot), ==, fixture->host.config.live_method);
}

static void set_up(struct fixture *fixture, gconstpointer devices)
{
	g_autofree char *xml = NULL;

	memset(&fake, 0, sizeof(fake));
	fake.ends[1] = WATCH_ENDED;
	host_open(&fixture->host);
	fixture->host.config.live_method = "rebase";
	fixture->disk = g_build_filename(fixture->host.tmp, "disk", NULL);
	g_assert_true(g_file_set_contents(fixture->disk, "", 0, NULL));
	g_assert_cmpint(truncate(fixture->disk, 1 << 20), ==, 0);
	xml = g_strdup_printf(DOMAIN, devices ? (const char *)devices : "", fixture->disk);
	(void)virDomainFree(fixture->host.domain);
	fixture->host.domain = virDomainDefineXML(fixture->host.connection, xml);
	g_assert_nonnull(fixture->host.domain);
	g_assert_cmpint(virDomainCreate(fixture->host.domain), ==, 0);
	fixture->steps = g_string_new(NULL);
	fixture->watched = (struct snapshot_steps){host_step_begins, step_ends, host_step_is_over,
						   fixture->steps};
	renew(fixture);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(snapshot_end(fixture->snapshot, NULL), ==, 0);
	(void)virDomainDestroy(fixture->host.domain);
	(void)__real_virDomainUndefineFlags(fixture->host.domain, 0);
	(void)g_unlink(fixture->disk);
	host_close(&fixture->host);
	g_string_free(fixture->steps, TRUE);
	g_free(fixture->disk);
	g_free(fake.backup);
}

/* 0, or the code of the failure. The guest is as it was, in any case but one. */
static int take(struct fixture *fixture, const char *words)
{
	g_autoptr(GError) error = NULL;
	struct image_source *source = snapshot_take(fixture->snapshot, &error);

	g_assert_cmpint(virDomainIsPersistent(fixture->host.domain), ==, !fake.no_define);
	g_assert_false(fake.copying);
	if (source) {
		g_assert_no_error(error);
		g_assert_cmpuint(source->size, ==, 1 << 20);
		image_source_free(source);
		return -1;
	}
	g_assert_nonnull(error);
	if (!strstr(error->message, words))
		g_error("it says \"%s\"", error->message);
	return error->code;
}
#define DONE (-1)

static void test_transient_copy(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(take(fixture, ""), ==, DONE);
	g_assert_cmpuint(fake.undefined, ==, 0);
	g_assert_cmpstr(fixture->steps->str, ==,
			"folder folder. delta delta. copy transient copy. -freeze switch -copy "
			"switch. copy-out "
			"copy-out. clean clean. -folder ");
}

static void test_no_transient_copy(struct fixture *fixture, gconstpointer devices)
{
	fake.transient_code = VIR_ERR_INVALID_ARG;
	g_assert_cmpint(take(fixture, ""), ==, DONE);
	g_assert_cmpuint(fake.copies, ==, 2);
	g_assert_cmpuint(fake.undefine_flags, ==,
			 VIR_DOMAIN_UNDEFINE_KEEP_NVRAM |
				 (devices ? (unsigned)VIR_DOMAIN_UNDEFINE_KEEP_TPM : 0));
	g_assert_cmpstr(
		fixture->steps->str, ==,
		"folder folder. delta delta. copy transient undefine undefine. copy. -freeze "
		"switch -copy "
		"switch. define -undefine define. copy-out copy-out. clean clean. -folder ");
}

static void test_no_copy_at_all(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.transient_code = VIR_ERR_ARGUMENT_UNSUPPORTED;
	fake.copy_code = VIR_ERR_OPERATION_FAILED;
	g_assert_cmpint(take(fixture, "starting the block copy"), ==, VIRT_ERROR_FAILED);
	g_assert_cmpuint(fake.undefined, ==, 1);
	g_assert_nonnull(strstr(fixture->steps->str, "define -undefine define. "));
}

/* It is not undefined for what is no matter of that. */
static void test_copy_is_refused(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.transient_code = VIR_ERR_OPERATION_FAILED;
	g_assert_cmpint(take(fixture, "starting the block copy"), ==, VIRT_ERROR_FAILED);
	g_assert_cmpuint(fake.undefined, ==, 0);
	g_assert_cmpuint(fake.copies, ==, 1);
}

static void test_copy_fails_under_way(struct fixture *fixture, gconstpointer unused)
{
	static const struct {
		enum watch_end end;
		int code;
		const char *words;
	} ends[] = {
		{WATCH_FAILED, VIRT_ERROR_JOB, "failed, or somebody ended it"},
		{WATCH_ENDED, VIRT_ERROR_JOB, "failed, or somebody ended it"},
		{WATCH_GUEST_STOPPED, VIRT_ERROR_JOB, "the guest stopped"},
		{WATCH_DISCONNECTED, VIRT_ERROR_DISCONNECTED, "libvirt is gone"},
		{WATCH_CANCELLED, VIRT_ERROR_CANCELLED, "cancelled"},
		{WATCH_TIMEOUT, VIRT_ERROR_TIMEOUT, "made no progress for 60 s"},
	};

	(void)unused;
	fake.transient_code = VIR_ERR_INVALID_ARG;
	for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
		renew(fixture);
		fake.ends[0] = ends[i].end;
		g_assert_cmpint(take(fixture, ends[i].words), ==, ends[i].code);
		g_assert_cmpuint(fake.aborted, ==, 1);
		renew(fixture);
		fake.ends[0] = WATCH_READY;
		fake.ends[1] = ends[i].end == WATCH_ENDED ? WATCH_FAILED : ends[i].end;
		g_assert_cmpint(take(fixture, "ending the block copy"), ==, ends[i].code);
	}
}

/* The step stays open, and is taken back by the next life. */
static void test_guest_is_not_defined_again(struct fixture *fixture, gconstpointer unused)
{
	char *xml;

	(void)unused;
	fake.transient_code = VIR_ERR_INVALID_ARG;
	fake.no_define = true;
	g_assert_cmpint(take(fixture, "could not be defined again"), ==, VIRT_ERROR_FAILED);
	g_assert_null(strstr(fixture->steps->str, "-undefine"));
	fake.no_define = false;
	xml = virDomainGetXMLDesc(fixture->host.domain, 0);
	(void)virDomainFree(virDomainDefineXML(fixture->host.connection, xml));
	free(xml);
}

/* --- where no disk can be exported --------------------------------------------------------------
 */

static void prepare_stream(struct fixture *fixture)
{
	fixture->host.config.live_method = "stream";
	fixture->host.config.scratch_dir = fixture->host.tmp;
	renew(fixture);
	g_string_truncate(fixture->steps, 0);
}

/* A libvirt that cannot, or a QEMU that is not let to the socket. */
static void test_no_export(struct fixture *fixture, gconstpointer unused)
{
	static const int codes[] = {VIR_ERR_INTERNAL_ERROR, VIR_ERR_NO_SUPPORT,
				    VIR_ERR_OPERATION_UNSUPPORTED};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(codes); i++) {
		prepare_stream(fixture);
		fake.export_code = codes[i];
		g_test_expect_message(
			"virt", G_LOG_LEVEL_MESSAGE,
			"*stream is not possible here*made up*rebase takes its place");
		g_assert_cmpint(take(fixture, ""), ==, DONE);
		g_test_assert_expected_messages();
		g_assert_cmpstr(snapshot_method(fixture->snapshot), ==, "rebase");
		/* Nothing is left of the first try when the second begins. */
		g_assert_true(g_str_has_prefix(fixture->steps->str,
					       "backup -freeze end end. -backup folder "));
	}
	g_assert_cmpuint(fake.exports, ==, G_N_ELEMENTS(codes));
}

/* It may be possible the next time. */
static void test_export_fails(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	prepare_stream(fixture);
	fake.export_code = VIR_ERR_OPERATION_FAILED;
	g_assert_cmpint(take(fixture, "starting the export"), ==, VIRT_ERROR_FAILED);
	g_assert_cmpuint(fake.copies, ==, 0);
	g_assert_cmpstr(fixture->steps->str, ==, "backup -freeze end end. -backup ");
}

/* --- whose jobs ---------------------------------------------------------------------------------
 */

static void test_block_job_left_behind(struct fixture *fixture, gconstpointer unused)
{
	char **mirror = &fixture->snapshot->disk->mirror;

	(void)unused;
	fake.copying = true;
	g_assert_cmpint(jobs_clear(fixture->snapshot, NULL), ==, -1);
	*mirror = g_strdup("/somebody/else");
	g_assert_cmpint(jobs_clear(fixture->snapshot, NULL), ==, -1);
	g_assert_cmpuint(fake.aborted, ==, 0);
	g_free(*mirror);
	*mirror = g_strdup_printf("%s/novasnap-1/delta", fixture->host.tmp);
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*left running*is ended");
	g_assert_cmpint(jobs_clear(fixture->snapshot, NULL), ==, 0);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.aborted, ==, 1);
	g_assert_cmpstr(fixture->steps->str, ==, "clear clear. ");
}

static void test_backup_left_behind(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *folder = g_build_filename(fixture->host.tmp, "nbd-1", NULL);
	g_autofree char *socket = g_build_filename(folder, "socket", NULL);
	g_autofree char *stale = g_build_filename(fixture->host.tmp, "nbd-2", NULL);
	int lock;

	(void)unused;
	fake.backup = g_strdup("/somebody/else");
	g_assert_cmpint(jobs_clear(fixture->snapshot, NULL), ==, -1);
	g_free(fake.backup);
	fake.backup = g_strdup(socket);
	g_assert_cmpint(jobs_make_folder(folder, &lock), ==, 0);
	g_assert_cmpint(jobs_clear(fixture->snapshot, NULL), ==, -1);
	/* At a start: of one that lives nothing is touched, whatever is beside it. */
	g_assert_cmpint(g_mkdir(stale, 0700), ==, 0);
	virt_host_sweep(fixture->host.virt);
	g_assert_cmpuint(fake.ended_backups, ==, 0);
	g_assert_false(g_file_test(stale, G_FILE_TEST_IS_DIR));
	g_assert_true(g_file_test(folder, G_FILE_TEST_IS_DIR));
	(void)close(lock);
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*left running*is ended");
	g_assert_cmpint(jobs_clear(fixture->snapshot, NULL), ==, 0);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.ended_backups, ==, 1);
	fake.backup = g_strdup(socket);
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*left running*is ended");
	virt_host_sweep(fixture->host.virt);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.ended_backups, ==, 2);
	g_assert_false(g_file_test(folder, G_FILE_TEST_IS_DIR));
}

#define TEST(name, data)                                                                           \
	g_test_add("/rebase/" #name, struct fixture, data, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(transient_copy, NULL);
	TEST(no_transient_copy, NULL);
	g_test_add("/rebase/no_transient_copy/tpm", struct fixture, TPM, set_up,
		   test_no_transient_copy, tear_down);
	TEST(no_copy_at_all, NULL);
	TEST(copy_is_refused, NULL);
	TEST(copy_fails_under_way, NULL);
	TEST(guest_is_not_defined_again, NULL);
	TEST(no_export, NULL);
	TEST(export_fails, NULL);
	TEST(block_job_left_behind, NULL);
	TEST(backup_left_behind, NULL);
	return g_test_run();
}
