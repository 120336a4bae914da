/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rolling back steps, on a guest of libvirt's test driver. The linker puts the functions below in
 * the place of those that the driver does not support.
 */
#include <sys/statvfs.h>

#include "tests/unit/host.h"
#include "virt/domain/disk-filename.h"
#include "virt/qemu-img.h"

#define NO_UUID "6695eb01-f6a4-8304-79aa-97f2502e1930"
#define DISK "<domain><devices><disk><target dev='vda'/>%s</disk></devices></domain>"

#define DISK_FILE                                                                                  \
	"<domain><devices><disk><driver type='%s'/><source file='%s'/><target dev='vda'/></disk>"  \
	"</devices></domain>"

/* libvirt's answers: one letter for each question, the last one for all further ones. '-': there is
 * none, 'o': ours, 't': somebody else's, 'x': the error `failure`, '?': no XML. */
static struct {
	int failure;
	const char *size, *job, *backup, *mirror; /* a NULL mirror: the driver's own XML */
	const char *after;			  /* the answers after a job was ended */
	const char *socket;
	int state, reason;		     /* of the guest; 0: the driver's own */
	const char *disk_file, *disk_format; /* of vda; NULL: not reported, qcow2 */
	bool is_full;			     /* its filesystem */
	const char *failed_disk;	     /* that libvirt reports an I/O error for; NULL: none */
	int disk_errors_failure;	     /* of the question for it; 0: none */
	const char *key;		     /* in the undo data; NULL: the usual one */
	/* How many times the question still meets a broken connection. */
	unsigned unanswered_active, unanswered_persistent, unanswered_save;
	unsigned late_save; /* how many times a save is not noted yet */
	bool suspends;	    /* another program, before the next question for a save is answered */
	unsigned ended, resumed, started, defined, start_flags, thaws;
} fake;

static bool is_unanswered(unsigned *left)
{
	if (*left == 0)
		return false;
	(*left)--;
	(void)host_fail(VIR_ERR_INVALID_CONN);
	return true;
}

static char next_answer(const char **script)
{
	char answer = **script;

	if ((*script)[1])
		(*script)++;
	if (answer == 'x')
		(void)host_fail(fake.failure);
	return answer;
}

static int end_job(const char **script)
{
	fake.ended++;
	if (*fake.after == 'x')
		return host_fail(fake.failure);
	*script = fake.after;
	return 0;
}

__typeof__(virDomainGetBlockInfo) __wrap_virDomainGetBlockInfo;
__typeof__(virDomainGetJobInfo) __wrap_virDomainGetJobInfo;
__typeof__(virDomainBackupGetXMLDesc) __wrap_virDomainBackupGetXMLDesc;
__typeof__(virDomainAbortJob) __wrap_virDomainAbortJob;
__typeof__(virDomainBlockJobAbort) __wrap_virDomainBlockJobAbort;
__typeof__(virDomainGetXMLDesc) __real_virDomainGetXMLDesc, __wrap_virDomainGetXMLDesc;
__typeof__(virDomainGetState) __real_virDomainGetState, __wrap_virDomainGetState;
__typeof__(virDomainIsActive) __real_virDomainIsActive, __wrap_virDomainIsActive;
__typeof__(virDomainIsPersistent) __real_virDomainIsPersistent, __wrap_virDomainIsPersistent;
__typeof__(virDomainHasManagedSaveImage) __real_virDomainHasManagedSaveImage,
	__wrap_virDomainHasManagedSaveImage;
__typeof__(virDomainDefineXML) __real_virDomainDefineXML, __wrap_virDomainDefineXML;
__typeof__(virDomainResume) __wrap_virDomainResume;
__typeof__(virDomainGetDiskErrors) __wrap_virDomainGetDiskErrors;
__typeof__(virDomainFSThaw) __wrap_virDomainFSThaw;
__typeof__(statvfs) __real_statvfs, __wrap_statvfs;
__typeof__(virDomainCreateWithFlags) __real_virDomainCreateWithFlags,
	__wrap_virDomainCreateWithFlags;

int __wrap_virDomainGetBlockInfo(virDomainPtr domain, const char *disk, virDomainBlockInfoPtr info,
				 unsigned flags)
{
	(void)domain;
	(void)info;
	(void)flags;
	g_assert_cmpstr(disk, ==, "vda");
	return next_answer(&fake.size) == 'x' ? -1 : 0;
}

int __wrap_virDomainGetJobInfo(virDomainPtr domain, virDomainJobInfoPtr info)
{
	char answer = next_answer(&fake.job);

	(void)domain;
	info->type = answer == '-' ? VIR_DOMAIN_JOB_NONE : VIR_DOMAIN_JOB_UNBOUNDED;
	return answer == 'x' ? -1 : 0;
}

char *__wrap_virDomainBackupGetXMLDesc(virDomainPtr domain, unsigned flags)
{
	char answer = next_answer(&fake.backup);
	g_autofree char *xml = g_strdup_printf("<domainbackup><server socket='%s'/></domainbackup>",
					       answer == 'o' ? fake.socket : "/somebody/else");

	(void)domain;
	(void)flags;
	if (answer == '-')
		(void)host_fail(VIR_ERR_NO_DOMAIN_BACKUP);
	if (answer == '?')
		return strdup("<domainbackup>");
	return answer == 'o' || answer == 't' ? strdup(xml) : NULL;
}

int __wrap_virDomainAbortJob(virDomainPtr domain)
{
	(void)domain;
	return end_job(&fake.backup);
}

int __wrap_virDomainBlockJobAbort(virDomainPtr domain, const char *disk, unsigned flags)
{
	(void)domain;
	g_assert_cmpstr(disk, ==, "vda");
	/* Without a switch to what was copied. */
	g_assert_cmpuint(flags, ==, 0);
	return end_job(&fake.mirror);
}

char *__wrap_virDomainGetXMLDesc(virDomainPtr domain, unsigned flags)
{
	g_autofree char *xml = NULL;
	char answer;

	if (fake.disk_file) {
		xml = g_strdup_printf(DISK_FILE, fake.disk_format ? fake.disk_format : "qcow2",
				      fake.disk_file);
		return strdup(xml);
	}
	if (!fake.mirror)
		return __real_virDomainGetXMLDesc(domain, flags);
	answer = next_answer(&fake.mirror);
	xml = g_strdup_printf(DISK, answer == 'o'   ? "<mirror><source file='/s/delta'/></mirror>"
				    : answer == 't' ? "<mirror><source file='/t/delta'/></mirror>"
						    : "");
	return answer == 'x' ? NULL : strdup(answer == '?' ? "<domain>" : xml);
}

int __wrap_virDomainGetState(virDomainPtr domain, int *state, int *reason, unsigned flags)
{
	if (fake.state == 0)
		return __real_virDomainGetState(domain, state, reason, flags);
	*state = fake.state;
	*reason = fake.reason;
	return 0;
}

int __wrap_virDomainIsActive(virDomainPtr domain)
{
	if (is_unanswered(&fake.unanswered_active))
		return -1;
	return fake.state ? 1 : __real_virDomainIsActive(domain);
}

int __wrap_virDomainIsPersistent(virDomainPtr domain)
{
	return is_unanswered(&fake.unanswered_persistent) ? -1
							  : __real_virDomainIsPersistent(domain);
}

int __wrap_virDomainHasManagedSaveImage(virDomainPtr domain, unsigned flags)
{
	if (is_unanswered(&fake.unanswered_save))
		return -1;
	if (fake.suspends)
		fake.state = 0;
	if (fake.late_save > 0) {
		fake.late_save--;
		return 0;
	}
	return __real_virDomainHasManagedSaveImage(domain, flags);
}

virDomainPtr __wrap_virDomainDefineXML(virConnectPtr connection, const char *xml)
{
	fake.defined++;
	return __real_virDomainDefineXML(connection, xml);
}

int __wrap_virDomainResume(virDomainPtr domain)
{
	(void)domain;
	fake.resumed++;
	return 0;
}

int __wrap_virDomainGetDiskErrors(virDomainPtr domain, virDomainDiskErrorPtr errors, unsigned count,
				  unsigned flags)
{
	(void)domain;
	(void)flags;
	g_assert_cmpuint(count, >, 0);
	if (fake.disk_errors_failure)
		return host_fail(fake.disk_errors_failure);
	if (!fake.failed_disk)
		return 0;
	errors[0] = (virDomainDiskError){strdup(fake.failed_disk), VIR_DOMAIN_DISK_ERROR_NO_SPACE};
	return 1;
}

/* The test driver supports no flags. */
int __wrap_virDomainCreateWithFlags(virDomainPtr domain, unsigned flags)
{
	fake.started++;
	fake.start_flags = flags;
	return __real_virDomainCreateWithFlags(domain, 0);
}

int __wrap_virDomainFSThaw(virDomainPtr domain, const char **mounts, unsigned count, unsigned flags)
{
	(void)domain;
	(void)mounts;
	(void)count;
	(void)flags;
	/* The second thaw finds nothing to thaw. */
	return fake.failure ? host_fail(fake.failure) : fake.thaws++ == 0;
}

int __wrap_statvfs(const char *path, struct statvfs *fs)
{
	int rc = __real_statvfs(path, fs);

	if (fake.is_full)
		fs->f_bavail = 0;
	return rc;
}

struct fixture {
	struct host host;
	char *folder, *socket, *scratch;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fake.size = fake.job = fake.backup = fake.after = "-";
	host_open(&fixture->host);
	fixture->folder = g_build_filename(fixture->host.tmp, "nbd-1", NULL);
	fixture->socket = g_build_filename(fixture->folder, "socket", NULL);
	fixture->scratch = g_build_filename(fixture->host.tmp, "scratch", NULL);
	g_assert_cmpint(g_mkdir(fixture->folder, 0700), ==, 0);
	g_assert_true(g_file_set_contents(fixture->socket, "", 0, NULL));
	g_assert_true(g_file_set_contents(fixture->scratch, "", 0, NULL));
	fake.socket = fixture->socket;
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.state = 0;
	fake.mirror = NULL;
	(void)g_unlink(fixture->socket);
	(void)g_unlink(fixture->scratch);
	(void)g_rmdir(fixture->folder);
	host_close(&fixture->host);
	g_free(fixture->socket);
	g_free(fixture->scratch);
	g_free(fixture->folder);
}

/* DONE, or the code of the error, whose message must have the words. */
static int roll_back(const struct fixture *fixture, const char *step, const char *undo,
		     const char *words)
{
	g_autoptr(GError) error = NULL;

	memset(&host_error, 0, sizeof(host_error));
	if (virt_guest_rollback_step(fixture->host.virt, HOST_UUID, step, undo, &error) == 0) {
		g_assert_no_error(error);
		return -1;
	}
	host_assert_message(error, words ? words : "(none is expected)");
	host_assert_message(error, step);
	return error->code;
}
#define DONE (-1)

static int roll_back_backup(const struct fixture *fixture, bool resume, const char *words)
{
	g_autofree char *undo = g_strdup_printf(
		"{\"target\":\"vda\",\"socket\":\"%s\",\"scratch\":\"%s\",\"%s\":%s}",
		fixture->socket, fixture->scratch, fake.key ? fake.key : "resume",
		resume ? "true" : "false");

	return roll_back(fixture, "backup", undo, words);
}

static bool has_files(const struct fixture *fixture)
{
	bool has = g_file_test(fixture->scratch, G_FILE_TEST_EXISTS);

	/* All of them or none. */
	g_assert_true(g_file_test(fixture->socket, G_FILE_TEST_EXISTS) == has);
	g_assert_true(g_file_test(fixture->folder, G_FILE_TEST_EXISTS) == has);
	return has;
}

static void test_backup_shows_late(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.job = "o";
	fake.backup = "---o";
	/* libvirt answers before the job is gone. */
	fake.after = "oo-";
	g_assert_cmpint(roll_back_backup(fixture, false, NULL), ==, DONE);
	g_assert_cmpuint(fake.ended, ==, 1);
	g_assert_cmpuint(host_sleep_count, ==, 3 + 3);
	g_assert_false(has_files(fixture));
}

static void test_backup_never_began(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(roll_back_backup(fixture, true, NULL), ==, DONE);
	g_assert_cmpuint(fake.ended + host_sleep_count + fake.resumed, ==, 0);
	g_assert_false(has_files(fixture));
	/* Again, with nothing left to remove. */
	g_assert_cmpint(roll_back_backup(fixture, true, NULL), ==, DONE);
}

static void test_backup_job_ends_before_it_shows(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.job = "oo-";
	g_assert_cmpint(roll_back_backup(fixture, false, NULL), ==, DONE);
	g_assert_cmpuint(host_sleep_count, ==, 2);
	g_assert_false(has_files(fixture));
}

/* Also counts the simulated sleeps. */
static gint64 seconds_since(gint64 began)
{
	return (g_get_monotonic_time() - began) / G_USEC_PER_SEC;
}

/* It waits for as long as our job may take to show. */
static void test_backup_of_somebody_else(struct fixture *fixture, gconstpointer unused)
{
	gint64 began = g_get_monotonic_time();

	(void)unused;
	fake.job = "o";
	fake.backup = "t";
	g_assert_cmpint(roll_back_backup(fixture, false, NULL), ==, DONE);
	g_assert_cmpint(seconds_since(began), >=, 40);
	g_assert_cmpint(seconds_since(began), <, 45);
	g_assert_cmpuint(fake.ended, ==, 0);
	g_assert_false(has_files(fixture));
}

/* The files stay while a job may use them. */
static void test_backup_is_unknown(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failure = VIR_ERR_OPERATION_TIMEOUT;
	fake.size = "x";
	g_assert_cmpint(roll_back_backup(fixture, false, "is still making"), ==,
			VIRT_ERROR_TIMEOUT);
	/* libvirt has waited long enough: the question is not repeated. */
	g_assert_cmpuint(host_connects, ==, 1);
	fake.failure = VIR_ERR_INVALID_CONN;
	g_assert_cmpint(roll_back_backup(fixture, false, "is still making"), ==,
			VIRT_ERROR_DISCONNECTED);
	g_assert_cmpuint(host_connects, ==, 1 + 3);
	fake.size = "-";
	fake.job = "x";
	g_assert_cmpint(roll_back_backup(fixture, false, "guest's jobs"), ==,
			VIRT_ERROR_DISCONNECTED);
	fake.job = "o";
	fake.backup = "-x";
	g_assert_cmpint(roll_back_backup(fixture, false, "backup job"), ==,
			VIRT_ERROR_DISCONNECTED);
	/* Nor is it known whose job it is. */
	fake.backup = "?";
	g_assert_cmpint(roll_back_backup(fixture, false, "cannot read libvirt's answer"), ==,
			VIRT_ERROR_FAILED);
	fake.unanswered_active = UINT_MAX;
	g_assert_cmpint(roll_back_backup(fixture, false, "whether the guest runs"), ==,
			VIRT_ERROR_DISCONNECTED);
	g_assert_true(has_files(fixture));
	/* A disk that was detached has no job, nor has a guest that stops now. */
	fake.unanswered_active = 0;
	fake.failure = VIR_ERR_OPERATION_INVALID;
	fake.size = fake.job = "x";
	fake.backup = "-";
	g_assert_cmpint(roll_back_backup(fixture, false, NULL), ==, DONE);
	g_assert_false(has_files(fixture));
}

static void test_backup_does_not_end(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.job = fake.backup = "o";
	fake.failure = VIR_ERR_OPERATION_FAILED;
	fake.after = "x";
	g_assert_cmpint(roll_back_backup(fixture, false, "ending the disk's export"), ==,
			VIRT_ERROR_FAILED);
	fake.after = "o";
	g_assert_cmpint(roll_back_backup(fixture, false, "still exists"), ==, VIRT_ERROR_TIMEOUT);
	g_assert_true(has_files(fixture));
	/* It ended by itself between the question and the call. */
	fake.backup = "oo-";
	fake.after = "x";
	g_assert_cmpint(roll_back_backup(fixture, false, NULL), ==, DONE);
	g_assert_false(has_files(fixture));
}

/* Only a guest that an I/O error of the disk paused during the job is resumed. */
static void test_backup_paused_the_guest(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.state = VIR_DOMAIN_PAUSED;
	fake.reason = VIR_DOMAIN_PAUSED_USER;
	g_assert_cmpint(roll_back_backup(fixture, true, NULL), ==, DONE);
	fake.reason = VIR_DOMAIN_PAUSED_IOERROR;
	g_assert_cmpint(roll_back_backup(fixture, false, NULL), ==, DONE);
	g_assert_cmpuint(fake.resumed, ==, 0);
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*stays paused*disk vdb has the error");
	fake.failed_disk = "vdb";
	g_assert_cmpint(roll_back_backup(fixture, true, NULL), ==, DONE);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.resumed, ==, 0);
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*resumed*");
	fake.failed_disk = "vda";
	g_assert_cmpint(roll_back_backup(fixture, true, NULL), ==, DONE);
	g_assert_cmpuint(fake.resumed, ==, 1);
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*resumed*");
	fake.failed_disk = NULL;
	g_assert_cmpint(roll_back_backup(fixture, true, NULL), ==, DONE);
	g_assert_cmpuint(fake.resumed, ==, 2);
	/* It is not known which disk has failed. */
	fake.disk_errors_failure = VIR_ERR_INVALID_CONN;
	g_assert_cmpint(roll_back_backup(fixture, true, "which disks have"), ==,
			VIRT_ERROR_DISCONNECTED);
	g_assert_cmpuint(fake.resumed, ==, 2);
	fake.disk_errors_failure = 0;
	/* A journal of an earlier version. */
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*resumed*");
	fake.key = "running";
	g_assert_cmpint(roll_back_backup(fixture, true, NULL), ==, DONE);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.resumed, ==, 3);
}

/* Its own disk has the error: a resumed guest would be paused again. */
static void test_guest_has_a_full_disk(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *disk = g_build_filename(fixture->host.tmp, "disk", NULL);

	(void)unused;
	g_assert_true(g_file_set_contents(disk, "x", 1, NULL));
	fake.state = VIR_DOMAIN_PAUSED;
	fake.reason = VIR_DOMAIN_PAUSED_IOERROR;
	fake.failed_disk = "vda";
	fake.disk_file = disk;
	fake.is_full = true;
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*stays paused*vda itself has no room");
	g_assert_cmpint(roll_back_backup(fixture, true, NULL), ==, DONE);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.resumed, ==, 0);
	/* A raw file without holes need not grow, so the scratch file was the cause. */
	fake.disk_format = "raw";
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*resumed*");
	g_assert_cmpint(roll_back_backup(fixture, true, NULL), ==, DONE);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.resumed, ==, 1);
	(void)g_unlink(disk);
}

static void test_backup_of_a_deleted_guest(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *undo =
		g_strdup_printf("{\"target\":\"vda\",\"socket\":\"%s\",\"scratch\":\"%s\"}",
				fixture->socket, fixture->scratch);

	(void)unused;
	fake.size = "x";
	g_assert_cmpint(
		virt_guest_rollback_step(fixture->host.virt, NO_UUID, "backup", undo, &error), ==,
		0);
	g_assert_no_error(error);
	g_assert_false(has_files(fixture));
}

#define COPY "{\"target\":\"vda\",\"delta\":\"/s/delta\"}"

static void test_copy_is_aborted_once(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.mirror = "o";
	fake.after = "ooo-";
	g_assert_cmpint(roll_back(fixture, "copy", COPY, NULL), ==, DONE);
	g_assert_cmpuint(fake.ended, ==, 1);
	g_assert_cmpuint(host_sleep_count, ==, 4);
}

static void test_copy_of_somebody_else(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.mirror = "t";
	g_assert_cmpint(roll_back(fixture, "copy", COPY, NULL), ==, DONE);
	fake.mirror = "-";
	g_assert_cmpint(roll_back(fixture, "copy", COPY, NULL), ==, DONE);
	g_assert_cmpuint(fake.ended + host_sleep_count, ==, 0);
}

static void test_copy_does_not_end(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failure = VIR_ERR_OPERATION_TIMEOUT;
	fake.mirror = "o";
	fake.size = "x";
	g_assert_cmpint(roll_back(fixture, "copy", COPY, "is still making"), ==,
			VIRT_ERROR_TIMEOUT);
	fake.size = "-";
	fake.mirror = "x";
	g_assert_cmpint(roll_back(fixture, "copy", COPY, "definition"), ==, VIRT_ERROR_TIMEOUT);
	fake.mirror = "?";
	g_assert_cmpint(roll_back(fixture, "copy", COPY, "definition"), ==, VIRT_ERROR_FAILED);
	fake.mirror = "o";
	fake.after = "x";
	g_assert_cmpint(roll_back(fixture, "copy", COPY, "ending the block copy"), ==,
			VIRT_ERROR_TIMEOUT);
	fake.after = "o";
	fake.ended = 0;
	g_assert_cmpint(roll_back(fixture, "copy", COPY, "did not end in 60 s"), ==,
			VIRT_ERROR_TIMEOUT);
	g_assert_cmpuint(fake.ended, ==, 1);
}

static void test_saved_guest_is_restored(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainManagedSave(fixture->host.domain, 0), ==, 0);
	g_assert_cmpint(roll_back(fixture, "save", "{}", NULL), ==, DONE);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_assert_cmpuint(fake.start_flags, ==, 0);
	g_assert_cmpint(virDomainManagedSave(fixture->host.domain, 0), ==, 0);
	g_assert_cmpint(roll_back(fixture, "save", "{\"paused\":true}", NULL), ==, DONE);
	g_assert_cmpuint(fake.start_flags, ==, VIR_DOMAIN_START_PAUSED);
}

static void test_stopped_guest_stays_stopped(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainDestroy(fixture->host.domain), ==, 0);
	g_assert_cmpint(roll_back(fixture, "save", "{}", NULL), ==, DONE);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
}

/* libvirt goes on with a save when the client is gone. */
static void test_save_is_waited_for(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.job = "ooooo-";
	g_assert_cmpint(roll_back(fixture, "save", "{}", NULL), ==, DONE);
	g_assert_cmpuint(host_sleep_count, ==, 5);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	fake.job = "o";
	g_assert_cmpint(roll_back(fixture, "save", "{}", "after 600 s"), ==, VIRT_ERROR_TIMEOUT);
	fake.failure = VIR_ERR_INVALID_CONN;
	fake.job = "x";
	g_assert_cmpint(roll_back(fixture, "save", "{}", "guest's jobs"), ==,
			VIRT_ERROR_DISCONNECTED);
}

/* Whether the guest runs or is saved is unknown: it is not started, and nothing is removed. */
static void test_save_is_unknown(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainManagedSave(fixture->host.domain, 0), ==, 0);
	fake.unanswered_active = UINT_MAX;
	g_assert_cmpint(roll_back(fixture, "save", "{}", "whether the guest runs"), ==,
			VIRT_ERROR_DISCONNECTED);
	fake.unanswered_active = 0;
	fake.unanswered_save = UINT_MAX;
	g_assert_cmpint(roll_back(fixture, "save", "{}", "whether the guest is saved"), ==,
			VIRT_ERROR_DISCONNECTED);
	g_assert_cmpuint(fake.started, ==, 0);
	g_assert_cmpint(__real_virDomainHasManagedSaveImage(fixture->host.domain, 0), ==, 1);
	/* A new connection answers. */
	fake.unanswered_active = fake.unanswered_save = 1;
	g_assert_cmpint(roll_back(fixture, "save", "{}", NULL), ==, DONE);
	g_assert_cmpuint(fake.started, ==, 1);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
}

/* The next start would restore it over a disk that is newer. */
static void test_partial_save_is_removed(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainManagedSave(fixture->host.domain, 0), ==, 0);
	fake.state = VIR_DOMAIN_RUNNING;
	g_assert_cmpint(roll_back(fixture, "save", "{}", NULL), ==, DONE);
	g_assert_cmpint(virDomainHasManagedSaveImage(fixture->host.domain, 0), ==, 0);
	fake.state = 0;
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
}

/* libvirt notes the image when the guest has stopped already. */
static void test_save_is_noted_late(struct fixture *fixture, gconstpointer unused)
{
	gint64 began;

	(void)unused;
	g_assert_cmpint(virDomainManagedSave(fixture->host.domain, 0), ==, 0);
	fake.late_save = 3;
	g_assert_cmpint(roll_back(fixture, "save", "{}", NULL), ==, DONE);
	g_assert_cmpuint(host_sleep_count, ==, 3);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	/* Somebody has removed the image: the guest stays off. */
	g_assert_cmpint(virDomainManagedSave(fixture->host.domain, 0), ==, 0);
	g_assert_cmpint(virDomainManagedSaveRemove(fixture->host.domain, 0), ==, 0);
	began = g_get_monotonic_time();
	g_assert_cmpint(roll_back(fixture, "save", "{}", NULL), ==, DONE);
	g_assert_cmpint(seconds_since(began), >=, 10);
	g_assert_cmpint(seconds_since(began), <, 15);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
}

/* The image has the guest's memory. */
static void test_guest_is_suspended_meanwhile(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainManagedSave(fixture->host.domain, 0), ==, 0);
	fake.state = VIR_DOMAIN_RUNNING;
	fake.suspends = true;
	g_assert_cmpint(roll_back(fixture, "save", "{}", NULL), ==, DONE);
	g_assert_cmpuint(fake.started, ==, 1);
	/* Its save begins after the question for a job. */
	g_assert_cmpint(virDomainManagedSave(fixture->host.domain, 0), ==, 0);
	fake.suspends = false;
	fake.state = VIR_DOMAIN_RUNNING;
	fake.job = "-o";
	g_assert_cmpint(roll_back(fixture, "save", "{}", "is saving or stopping"), ==,
			VIRT_ERROR_BUSY);
	fake.failure = VIR_ERR_INVALID_CONN;
	fake.job = "-x";
	g_assert_cmpint(roll_back(fixture, "save", "{}", "guest's jobs"), ==,
			VIRT_ERROR_DISCONNECTED);
	fake.state = 0;
	g_assert_cmpint(virDomainHasManagedSaveImage(fixture->host.domain, 0), ==, 1);
}

/* Thawing twice is harmless; a guest that is off is not frozen. A paused guest needs a watchdog,
 * which cannot be started here. */
static void test_frozen_guest_is_thawed(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(roll_back(fixture, "freeze", "{}", NULL), ==, DONE);
	g_assert_cmpuint(fake.thaws, ==, 2);
	fake.failure = VIR_ERR_AGENT_UNRESPONSIVE;
	g_assert_cmpint(roll_back(fixture, "freeze", "{}", "thawing"), ==, VIRT_ERROR_FREEZE);
	fake.failure = 0;
	fake.state = VIR_DOMAIN_SHUTOFF;
	g_assert_cmpint(roll_back(fixture, "freeze", "{}", NULL), ==, DONE);
	fake.state = VIR_DOMAIN_PAUSED;
	fixture->host.config.thaw_program = "/none/such";
	g_assert_cmpint(roll_back(fixture, "freeze", "{}", "watchdog"), ==, VIRT_ERROR_FREEZE);
	g_assert_cmpuint(fake.thaws, ==, 2);
}

#define INTERNAL "novasnap-1"

/* As internal-snapshot.c writes it; freed by cJSON_free. */
static char *internal_undo(const char *path)
{
	struct disk_layer top = {.path = (char *)path, .format = (char *)"qcow2"};
	struct disk disk = {.layers = g_ptr_array_new()};
	cJSON *undo = cJSON_CreateObject();
	g_autofree char *name = NULL;
	char *text;

	g_ptr_array_add(disk.layers, &top);
	name = disk_json_filename(&disk, 0);
	cJSON_AddStringToObject(undo, "disk", name);
	cJSON_AddStringToObject(undo, "name", INTERNAL);
	text = cJSON_PrintUnformatted(undo);
	g_ptr_array_unref(disk.layers);
	cJSON_Delete(undo);
	return text;
}

static void make_internal(const char *path)
{
	g_assert_cmpint(qemu_img_create_delta(path, 1 << 20, NULL, NULL, NULL, NULL), ==, 0);
	g_assert_cmpint(qemu_img_snapshot_create(path, INTERNAL, NULL, NULL), ==, 0);
}

static void test_internal_is_deleted(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *path = g_build_filename(fixture->host.tmp, "disk", NULL);
	char *undo = internal_undo(path);

	(void)unused;
	make_internal(path);
	/* Somebody started the guest, and QEMU has the disk. */
	g_assert_cmpint(roll_back(fixture, "internal", undo, "the guest was started"), ==,
			VIRT_ERROR_BUSY);
	g_assert_cmpint(virDomainDestroy(fixture->host.domain), ==, 0);
	/* It may be started again, as far as is known. */
	fake.unanswered_active = UINT_MAX;
	g_assert_cmpint(roll_back(fixture, "internal", undo, "whether the guest runs"), ==,
			VIRT_ERROR_DISCONNECTED);
	g_assert_cmpint(qemu_img_snapshot_exists(path, INTERNAL, NULL), ==, 1);
	fake.unanswered_active = 1;
	g_assert_cmpint(roll_back(fixture, "internal", undo, NULL), ==, DONE);
	g_assert_cmpint(qemu_img_snapshot_exists(path, INTERNAL, NULL), ==, 0);
	/* Nothing is left to do, also where the guest runs. */
	g_assert_cmpint(virDomainCreate(fixture->host.domain), ==, 0);
	g_assert_cmpint(roll_back(fixture, "internal", undo, NULL), ==, DONE);
	g_assert_cmpint(g_unlink(path), ==, 0);
	cJSON_free(undo);
}

/* A guest that was deleted or moved may have left its disk here. */
static void test_internal_of_a_deleted_guest(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *path = g_build_filename(fixture->host.tmp, "disk", NULL);
	char *undo = internal_undo(path);
	g_autofree char *plain =
		g_strdup_printf("{\"disk\":\"%s\",\"name\":\"" INTERNAL "\"}", path);
	g_autoptr(GError) error = NULL;

	(void)unused;
	(void)virt_guest_rollback_step(fixture->host.virt, NO_UUID, "internal", undo, &error);
	g_assert_no_error(error);
	(void)virt_guest_rollback_step(fixture->host.virt, NO_UUID, "internal", plain, &error);
	g_assert_no_error(error);
	/* The storage of a guest that is still here may be mounted later. */
	g_assert_cmpint(roll_back(fixture, "internal", undo, "No such file"), ==,
			VIRT_ERROR_PROCESS);
	host_lose_libvirt();
	g_assert_cmpint(roll_back(fixture, "internal", undo, "looking for the guest"), ==,
			VIRT_ERROR_DISCONNECTED);
	host_find_libvirt();

	make_internal(path);
	(void)virt_guest_rollback_step(fixture->host.virt, NO_UUID, "internal", undo, &error);
	g_assert_no_error(error);
	g_assert_cmpint(qemu_img_snapshot_exists(path, INTERNAL, NULL), ==, 0);
	g_assert_cmpint(g_unlink(path), ==, 0);
	cJSON_free(undo);
}

static void test_deleted_guest(struct fixture *fixture, gconstpointer unused)
{
	static const char *const steps[] = {"save", "freeze", "copy"};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
		g_autoptr(GError) error = NULL;

		(void)virt_guest_rollback_step(fixture->host.virt, NO_UUID, steps[i], COPY, &error);
		g_assert_no_error(error);
	}
	g_assert_cmpuint(fake.ended + fake.thaws + fake.started, ==, 0);
}

static void test_undefined_guest_is_defined(struct fixture *fixture, gconstpointer unused)
{
	char *xml = virDomainGetXMLDesc(fixture->host.domain, VIR_DOMAIN_XML_INACTIVE);
	cJSON *undo = cJSON_CreateObject();
	char *text;

	(void)unused;
	cJSON_AddStringToObject(undo, "xml", xml);
	text = cJSON_PrintUnformatted(undo);
	g_assert_cmpint(roll_back(fixture, "undefine", text, NULL), ==, DONE);
	g_assert_cmpuint(fake.defined, ==, 0);
	g_assert_cmpint(virDomainUndefine(fixture->host.domain), ==, 0);
	fake.unanswered_persistent = UINT_MAX;
	g_assert_cmpint(roll_back(fixture, "undefine", text, "is persistent"), ==,
			VIRT_ERROR_DISCONNECTED);
	g_assert_cmpuint(fake.defined, ==, 0);
	fake.unanswered_persistent = 0;
	g_assert_cmpint(roll_back(fixture, "undefine", "{\"xml\":\"none\"}", "defining"), ==,
			VIRT_ERROR_FAILED);
	g_assert_cmpint(roll_back(fixture, "undefine", text, NULL), ==, DONE);
	g_assert_cmpint(virDomainIsPersistent(fixture->host.domain), ==, 1);
	cJSON_free(text);
	cJSON_Delete(undo);
	free(xml);
}

static void test_folder(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *ours = g_build_filename(fixture->host.tmp, "novasnap-1", NULL);
	g_autofree char *undo = g_strdup_printf("{\"folder\":\"%s\"}", ours);
	g_autofree char *delta = g_build_filename(ours, "delta", NULL);
	g_autofree char *other = g_strdup_printf("{\"folder\":\"%s\"}", fixture->folder);

	(void)unused;
	/* [libvirt]snapshots_directory may have been another when it was made. */
	fixture->host.config.snapshots_directory = "/none/such";
	g_assert_cmpint(g_mkdir(ours, 0700), ==, 0);
	g_assert_true(g_file_set_contents(delta, "", 0, NULL));
	g_assert_cmpint(roll_back(fixture, "folder", undo, NULL), ==, DONE);
	g_assert_false(g_file_test(ours, G_FILE_TEST_EXISTS));
	/* Not a folder that we name so. */
	g_assert_cmpint(roll_back(fixture, "folder", other, "the journal entry has no folder"), ==,
			VIRT_ERROR_FAILED);
	g_assert_true(has_files(fixture));
}

/* Nothing that needs an answer is done; what needs none is. */
static void test_libvirt_is_gone(struct fixture *fixture, gconstpointer unused)
{
	static const char *const steps[] = {"backup", "copy",	  "undefine",
					    "save",   "internal", "freeze"};
	g_autofree char *undo = g_strdup_printf(
		"{\"target\":\"vda\",\"socket\":\"%s\",\"scratch\":\"%s\",\"delta\":\"/s/delta\","
		"\"xml\":\"<domain/>\",\"disk\":\"/none/such\",\"name\":\"" INTERNAL "\"}",
		fixture->socket, fixture->scratch);

	(void)unused;
	host_lose_libvirt();
	for (size_t i = 0; i < G_N_ELEMENTS(steps); i++)
		g_assert_cmpint(roll_back(fixture, steps[i], undo, "cannot connect"), ==,
				VIRT_ERROR_DISCONNECTED);
	g_assert_cmpuint(fake.ended + fake.thaws + fake.started + fake.defined, ==, 0);
	g_assert_true(has_files(fixture));
	g_assert_cmpint(g_unlink(fixture->scratch), ==, 0);
	g_assert_cmpint(roll_back(fixture, "serve", undo, NULL), ==, DONE);
	g_assert_false(has_files(fixture));
}

static void test_incomplete_journal(struct fixture *fixture, gconstpointer unused)
{
	static const char *const steps[] = {"backup",	"serve",    "copy",
					    "undefine", "internal", "folder"};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
		g_assert_cmpint(roll_back(fixture, steps[i], "{}", "the journal entry has no"), ==,
				VIRT_ERROR_FAILED);
		g_assert_cmpint(roll_back(fixture, steps[i], "no JSON", "the journal entry has no"),
				==, VIRT_ERROR_FAILED);
	}
	/* Of a newer novasnapd. */
	g_assert_cmpint(roll_back(fixture, "none-such", "{}", "does not know the step"), ==,
			VIRT_ERROR_FAILED);
}

static void test_steps_that_wait(void)
{
	/* A copy that may still run writes to its folder. */
	g_assert_true(virt_step_waits_for("folder", "copy", true));
	g_assert_false(virt_step_waits_for("undefine", "copy", false));
	/* A guest does not stay off for a snapshot inside its disk. */
	g_assert_true(virt_step_waits_for("save", "internal", false));
	g_assert_false(virt_step_waits_for("save", "internal", true));
	g_assert_false(virt_step_waits_for("save", "folder", false));
}

#define TEST(name)                                                                                 \
	g_test_add("/rollback/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(backup_shows_late);
	TEST(backup_never_began);
	TEST(backup_job_ends_before_it_shows);
	TEST(backup_of_somebody_else);
	TEST(backup_is_unknown);
	TEST(backup_does_not_end);
	TEST(backup_paused_the_guest);
	TEST(guest_has_a_full_disk);
	TEST(backup_of_a_deleted_guest);
	TEST(copy_is_aborted_once);
	TEST(copy_of_somebody_else);
	TEST(copy_does_not_end);
	TEST(saved_guest_is_restored);
	TEST(stopped_guest_stays_stopped);
	TEST(save_is_waited_for);
	TEST(save_is_unknown);
	TEST(partial_save_is_removed);
	TEST(save_is_noted_late);
	TEST(guest_is_suspended_meanwhile);
	TEST(frozen_guest_is_thawed);
	TEST(internal_is_deleted);
	TEST(internal_of_a_deleted_guest);
	TEST(deleted_guest);
	TEST(undefined_guest_is_defined);
	TEST(folder);
	TEST(libvirt_is_gone);
	TEST(incomplete_journal);
	g_test_add_func("/rollback/steps_that_wait", test_steps_that_wait);
	return g_test_run();
}
