/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking back what a process that died had done, on a guest of libvirt's test driver. The linker
 * puts the functions below in the place of what that driver cannot do, and of the clock.
 */
#include "tests/unit/host.h"

#define NO_UUID "6695eb01-f6a4-8304-79aa-97f2502e1930"
#define DISK "<domain><devices><disk><target dev='vda'/>%s</disk></devices></domain>"

/* What libvirt says, a letter each time that it is asked, the last one always: '-' there is none,
 * 'o' ours, 't' theirs, 'x' the code `failure`. */
static struct {
	int failure;
	const char *turn, *job, *backup, *mirror; /* NULL: a mirror is not asked for */
	const char *after;			  /* what of them is there when it was ended */
	const char *socket;
	int state, reason; /* of the guest; 0: what libvirt says */
	unsigned ended, resumed, start_flags, thaws;
} fake;

static char next(const char **script)
{
	char said = **script;

	if ((*script)[1])
		(*script)++;
	if (said == 'x')
		(void)host_fail(fake.failure);
	return said;
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
__typeof__(virDomainResume) __wrap_virDomainResume;
__typeof__(virDomainFSThaw) __wrap_virDomainFSThaw;
__typeof__(virDomainCreateWithFlags) __real_virDomainCreateWithFlags,
	__wrap_virDomainCreateWithFlags;

int __wrap_virDomainGetBlockInfo(virDomainPtr domain, const char *disk, virDomainBlockInfoPtr info,
				 unsigned flags)
{
	(void)domain;
	(void)info;
	(void)flags;
	g_assert_cmpstr(disk, ==, "vda");
	return next(&fake.turn) == 'x' ? -1 : 0;
}

int __wrap_virDomainGetJobInfo(virDomainPtr domain, virDomainJobInfoPtr info)
{
	char said = next(&fake.job);

	(void)domain;
	info->type = said == '-' ? VIR_DOMAIN_JOB_NONE : VIR_DOMAIN_JOB_UNBOUNDED;
	return said == 'x' ? -1 : 0;
}

char *__wrap_virDomainBackupGetXMLDesc(virDomainPtr domain, unsigned flags)
{
	char said = next(&fake.backup);
	g_autofree char *xml = g_strdup_printf("<domainbackup><server socket='%s'/></domainbackup>",
					       said == 'o' ? fake.socket : "/somebody/else");

	(void)domain;
	(void)flags;
	if (said == '-')
		(void)host_fail(VIR_ERR_NO_DOMAIN_BACKUP);
	return said == 'o' || said == 't' ? strdup(xml) : NULL;
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
	char said;

	if (!fake.mirror)
		return __real_virDomainGetXMLDesc(domain, flags);
	said = next(&fake.mirror);
	xml = g_strdup_printf(DISK, said == 'o'	  ? "<mirror><source file='/s/delta'/></mirror>"
				    : said == 't' ? "<mirror><source file='/t/delta'/></mirror>"
						  : "");
	return said == 'x' ? NULL : strdup(xml);
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
	return fake.state ? 1 : __real_virDomainIsActive(domain);
}

int __wrap_virDomainResume(virDomainPtr domain)
{
	(void)domain;
	fake.resumed++;
	return 0;
}

/* The test driver knows no flags. */
int __wrap_virDomainCreateWithFlags(virDomainPtr domain, unsigned flags)
{
	fake.start_flags = flags;
	return __real_virDomainCreateWithFlags(domain, 0);
}

int __wrap_virDomainFSThaw(virDomainPtr domain, const char **mounts, unsigned count, unsigned flags)
{
	(void)domain;
	(void)mounts;
	(void)count;
	(void)flags;
	fake.thaws++;
	return fake.failure ? host_fail(fake.failure) : 1;
}

struct fixture {
	struct host host;
	char *folder, *socket, *scratch;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fake.turn = fake.job = fake.backup = fake.after = "-";
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

/* 0, or the code of the failure, which has to say the words. */
static int undo(const struct fixture *fixture, const char *step, const char *what,
		const char *words)
{
	g_autoptr(GError) error = NULL;

	memset(&host_error, 0, sizeof(host_error));
	if (virt_guest_undo(fixture->host.virt, HOST_UUID, step, what, &error) == 0) {
		g_assert_no_error(error);
		return -1;
	}
	g_assert_nonnull(error);
	if (!words || !strstr(error->message, words) || !strstr(error->message, step))
		g_error("it says \"%s\"", error->message);
	return error->code;
}
#define DONE (-1)

/* --- a backup ----------------------------------------------------------------------------------
 */

static int undo_backup(const struct fixture *fixture, bool running, const char *words)
{
	g_autofree char *what = g_strdup_printf(
		"{\"target\":\"vda\",\"socket\":\"%s\",\"scratch\":\"%s\",\"running\":%s}",
		fixture->socket, fixture->scratch, running ? "true" : "false");

	return undo(fixture, "backup", what, words);
}

static bool is_left(const struct fixture *fixture)
{
	bool left = g_file_test(fixture->scratch, G_FILE_TEST_EXISTS);

	/* All of it or nothing. */
	g_assert_true(g_file_test(fixture->socket, G_FILE_TEST_EXISTS) == left);
	g_assert_true(g_file_test(fixture->folder, G_FILE_TEST_EXISTS) == left);
	return left;
}

static void test_backup_that_shows_late(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.job = "o";
	fake.backup = "---o";
	/* libvirt answers before it is gone. */
	fake.after = "oo-";
	g_assert_cmpint(undo_backup(fixture, false, NULL), ==, DONE);
	g_assert_cmpuint(fake.ended, ==, 1);
	g_assert_cmpuint(host_naps, ==, 3 + 3);
	g_assert_false(is_left(fixture));
}

static void test_backup_that_never_began(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(undo_backup(fixture, true, NULL), ==, DONE);
	g_assert_cmpuint(fake.ended + host_naps + fake.resumed, ==, 0);
	g_assert_false(is_left(fixture));
	/* Once more: nothing is left to be removed. */
	g_assert_cmpint(undo_backup(fixture, true, NULL), ==, DONE);
}

static void test_job_that_goes_before_it_shows(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.job = "oo-";
	g_assert_cmpint(undo_backup(fixture, false, NULL), ==, DONE);
	g_assert_cmpuint(host_naps, ==, 2);
	g_assert_false(is_left(fixture));
}

/* It is waited for as long as ours may take to show. */
static void test_backup_of_somebody_else(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.job = "o";
	fake.backup = "t";
	g_assert_cmpint(undo_backup(fixture, false, NULL), ==, DONE);
	g_assert_cmpint(host_passed / G_USEC_PER_SEC, >=, 40);
	g_assert_cmpint(host_passed / G_USEC_PER_SEC, <, 45);
	g_assert_cmpuint(fake.ended, ==, 0);
	g_assert_false(is_left(fixture));
}

/* What it uses is not taken from a job that may be there. */
static void test_backup_that_cannot_be_looked_for(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failure = VIR_ERR_OPERATION_TIMEOUT;
	fake.turn = "x";
	g_assert_cmpint(undo_backup(fixture, false, "still does"), ==, VIRT_ERROR_TIMEOUT);
	fake.failure = VIR_ERR_INVALID_CONN;
	g_assert_cmpint(undo_backup(fixture, false, "still does"), ==, VIRT_ERROR_DISCONNECTED);
	fake.turn = "-";
	fake.job = "x";
	g_assert_cmpint(undo_backup(fixture, false, "guest's jobs"), ==, VIRT_ERROR_DISCONNECTED);
	fake.job = "o";
	fake.backup = "-x";
	g_assert_cmpint(undo_backup(fixture, false, "backup job"), ==, VIRT_ERROR_DISCONNECTED);
	g_assert_true(is_left(fixture));
	/* A disk that is gone has no job, nor has a guest that is just going. */
	fake.failure = VIR_ERR_OPERATION_INVALID;
	fake.turn = fake.job = "x";
	fake.backup = "-";
	g_assert_cmpint(undo_backup(fixture, false, NULL), ==, DONE);
	g_assert_false(is_left(fixture));
}

static void test_backup_that_does_not_end(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.job = fake.backup = "o";
	fake.failure = VIR_ERR_OPERATION_FAILED;
	fake.after = "x";
	g_assert_cmpint(undo_backup(fixture, false, "ending the export"), ==, VIRT_ERROR_FAILED);
	fake.after = "o";
	g_assert_cmpint(undo_backup(fixture, false, "is still there"), ==, VIRT_ERROR_TIMEOUT);
	g_assert_true(is_left(fixture));
	/* It ended by itself in between. */
	fake.backup = "oo-";
	fake.after = "x";
	g_assert_cmpint(undo_backup(fixture, false, NULL), ==, DONE);
	g_assert_false(is_left(fixture));
}

static void test_guest_that_its_backup_stopped(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.state = VIR_DOMAIN_PAUSED;
	fake.reason = VIR_DOMAIN_PAUSED_USER;
	g_assert_cmpint(undo_backup(fixture, true, NULL), ==, DONE);
	fake.reason = VIR_DOMAIN_PAUSED_IOERROR;
	g_assert_cmpint(undo_backup(fixture, false, NULL), ==, DONE);
	g_assert_cmpuint(fake.resumed, ==, 0);
	g_assert_cmpint(undo_backup(fixture, true, NULL), ==, DONE);
	g_assert_cmpuint(fake.resumed, ==, 1);
}

static void test_backup_of_a_guest_that_is_gone(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *what =
		g_strdup_printf("{\"target\":\"vda\",\"socket\":\"%s\",\"scratch\":\"%s\"}",
				fixture->socket, fixture->scratch);

	(void)unused;
	fake.turn = "x";
	g_assert_cmpint(virt_guest_undo(fixture->host.virt, NO_UUID, "backup", what, &error), ==,
			0);
	g_assert_no_error(error);
	g_assert_false(is_left(fixture));
}

/* --- a copy ------------------------------------------------------------------------------------
 */

#define COPY "{\"target\":\"vda\",\"delta\":\"/s/delta\"}"

static void test_copy_is_ended_once(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.mirror = "o";
	fake.after = "ooo-";
	g_assert_cmpint(undo(fixture, "copy", COPY, NULL), ==, DONE);
	g_assert_cmpuint(fake.ended, ==, 1);
	g_assert_cmpuint(host_naps, ==, 4);
}

static void test_copy_of_somebody_else(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.mirror = "t";
	g_assert_cmpint(undo(fixture, "copy", COPY, NULL), ==, DONE);
	fake.mirror = "-";
	g_assert_cmpint(undo(fixture, "copy", COPY, NULL), ==, DONE);
	g_assert_cmpuint(fake.ended + host_naps, ==, 0);
}

static void test_copy_that_does_not_end(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.failure = VIR_ERR_OPERATION_TIMEOUT;
	fake.mirror = "o";
	fake.turn = "x";
	g_assert_cmpint(undo(fixture, "copy", COPY, "still does"), ==, VIRT_ERROR_TIMEOUT);
	fake.turn = "-";
	fake.mirror = "x";
	g_assert_cmpint(undo(fixture, "copy", COPY, "definition"), ==, VIRT_ERROR_TIMEOUT);
	fake.mirror = "o";
	fake.after = "x";
	g_assert_cmpint(undo(fixture, "copy", COPY, "left running"), ==, VIRT_ERROR_TIMEOUT);
	fake.after = "o";
	fake.ended = 0;
	g_assert_cmpint(undo(fixture, "copy", COPY, "did not end in 60 s"), ==, VIRT_ERROR_TIMEOUT);
	g_assert_cmpuint(fake.ended, ==, 1);
}

/* --- a save, a definition, and the rest ---------------------------------------------------------
 */

static void test_saved_guest_comes_back(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*is restored");
	g_assert_cmpint(virDomainManagedSave(fixture->host.domain, 0), ==, 0);
	g_assert_cmpint(undo(fixture, "save", "{}", NULL), ==, DONE);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*is restored");
	g_assert_cmpint(virDomainManagedSave(fixture->host.domain, 0), ==, 0);
	g_assert_cmpuint(fake.start_flags, ==, 0);
	g_assert_cmpint(undo(fixture, "save", "{\"paused\":true}", NULL), ==, DONE);
	g_assert_cmpuint(fake.start_flags, ==, VIR_DOMAIN_START_PAUSED);
	g_test_assert_expected_messages();
}

static void test_stopped_guest_stays_so(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainDestroy(fixture->host.domain), ==, 0);
	g_assert_cmpint(undo(fixture, "save", "{}", NULL), ==, DONE);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
}

/* libvirt goes on saving without us. */
static void test_save_is_waited_for(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.job = "ooooo-";
	g_assert_cmpint(undo(fixture, "save", "{}", NULL), ==, DONE);
	g_assert_cmpuint(host_naps, ==, 5);
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
	fake.job = "o";
	g_assert_cmpint(undo(fixture, "save", "{}", "after 600 s"), ==, VIRT_ERROR_TIMEOUT);
	fake.failure = VIR_ERR_INVALID_CONN;
	fake.job = "x";
	g_assert_cmpint(undo(fixture, "save", "{}", "guest's jobs"), ==, VIRT_ERROR_DISCONNECTED);
}

/* The next start would restore it over a disk that is newer. */
static void test_half_a_save_is_removed(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainManagedSave(fixture->host.domain, 0), ==, 0);
	fake.state = VIR_DOMAIN_RUNNING;
	g_assert_cmpint(undo(fixture, "save", "{}", NULL), ==, DONE);
	g_assert_cmpint(virDomainHasManagedSaveImage(fixture->host.domain, 0), ==, 0);
	fake.state = 0;
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_SHUTOFF);
}

/* Thawing twice is nothing; a guest that does not run has no agent that could. */
static void test_frozen_guest_is_thawed(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(undo(fixture, "freeze", "{}", NULL), ==, DONE);
	g_assert_cmpuint(fake.thaws, ==, 1);
	fake.failure = VIR_ERR_AGENT_UNRESPONSIVE;
	g_assert_cmpint(undo(fixture, "freeze", "{}", "thawing"), ==, VIRT_ERROR_FREEZE);
	fake.failure = 0;
	fake.state = VIR_DOMAIN_PAUSED;
	g_assert_cmpint(undo(fixture, "freeze", "{}", NULL), ==, DONE);
	g_assert_cmpuint(fake.thaws, ==, 2);
}

/* --- a snapshot inside a disk ------------------------------------------------------------------
 */

#define INTERNAL "novasnap-1"

/* As method-internal.c writes it; freed by cJSON_free. */
static char *internal_text(const char *path)
{
	struct disk_layer top = {.path = (char *)path, .format = (char *)"qcow2"};
	struct disk disk = {.layers = g_ptr_array_new()};
	cJSON *what = cJSON_CreateObject();
	g_autofree char *name = NULL;
	char *text;

	g_ptr_array_add(disk.layers, &top);
	name = disk_json_name(&disk, 0);
	cJSON_AddStringToObject(what, "disk", name);
	cJSON_AddStringToObject(what, "name", INTERNAL);
	text = cJSON_PrintUnformatted(what);
	g_ptr_array_unref(disk.layers);
	cJSON_Delete(what);
	return text;
}

static void test_internal_is_deleted(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *path = g_build_filename(fixture->host.tmp, "disk", NULL);
	char *what = internal_text(path);

	(void)unused;
	g_assert_cmpint(qemu_img_create_delta(path, 1 << 20, NULL, NULL, NULL), ==, 0);
	g_assert_cmpint(qemu_img_snapshot(path, true, INTERNAL, NULL, NULL), ==, 0);
	/* Somebody started it, and QEMU has the disk. */
	g_assert_cmpint(undo(fixture, "internal", what, "somebody started the guest"), ==,
			VIRT_ERROR_BUSY);
	g_assert_cmpint(qemu_img_has_snapshot(path, INTERNAL, NULL), ==, 1);
	g_assert_cmpint(virDomainDestroy(fixture->host.domain), ==, 0);
	g_assert_cmpint(undo(fixture, "internal", what, NULL), ==, DONE);
	g_assert_cmpint(qemu_img_has_snapshot(path, INTERNAL, NULL), ==, 0);
	/* Nothing is left to be done to one that runs. */
	g_assert_cmpint(virDomainCreate(fixture->host.domain), ==, 0);
	g_assert_cmpint(undo(fixture, "internal", what, NULL), ==, DONE);
	g_assert_cmpint(g_unlink(path), ==, 0);
	cJSON_free(what);
}

/* The guest was deleted, or is on another host by now; its disk may be left alone. */
static void test_internal_of_a_guest_that_is_gone(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *path = g_build_filename(fixture->host.tmp, "disk", NULL);
	char *what = internal_text(path);
	g_autofree char *plain =
		g_strdup_printf("{\"disk\":\"%s\",\"name\":\"" INTERNAL "\"}", path);
	g_autoptr(GError) error = NULL;

	(void)unused;
	(void)virt_guest_undo(fixture->host.virt, NO_UUID, "internal", what, &error);
	g_assert_no_error(error);
	(void)virt_guest_undo(fixture->host.virt, NO_UUID, "internal", plain, &error);
	g_assert_no_error(error);
	/* Where it is there its storage may be mounted later. */
	g_assert_cmpint(undo(fixture, "internal", what, "No such file"), ==, VIRT_ERROR_PROCESS);

	g_assert_cmpint(qemu_img_create_delta(path, 1 << 20, NULL, NULL, NULL), ==, 0);
	g_assert_cmpint(qemu_img_snapshot(path, true, INTERNAL, NULL, NULL), ==, 0);
	(void)virt_guest_undo(fixture->host.virt, NO_UUID, "internal", what, &error);
	g_assert_no_error(error);
	g_assert_cmpint(qemu_img_has_snapshot(path, INTERNAL, NULL), ==, 0);
	g_assert_cmpint(g_unlink(path), ==, 0);
	cJSON_free(what);
}

static void test_guest_is_gone(struct fixture *fixture, gconstpointer unused)
{
	static const char *const steps[] = {"save", "freeze", "copy"};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
		g_autoptr(GError) error = NULL;

		(void)virt_guest_undo(fixture->host.virt, NO_UUID, steps[i], COPY, &error);
		g_assert_no_error(error);
	}
	g_assert_cmpuint(fake.ended + fake.thaws, ==, 0);
}

static void test_undefined_guest_is_defined(struct fixture *fixture, gconstpointer unused)
{
	char *xml = virDomainGetXMLDesc(fixture->host.domain, VIR_DOMAIN_XML_INACTIVE);
	cJSON *what = cJSON_CreateObject();
	char *text;

	(void)unused;
	cJSON_AddStringToObject(what, "xml", xml);
	text = cJSON_PrintUnformatted(what);
	g_assert_cmpint(undo(fixture, "undefine", text, NULL), ==, DONE);
	g_assert_cmpint(virDomainUndefine(fixture->host.domain), ==, 0);
	g_assert_cmpint(undo(fixture, "undefine", "{\"xml\":\"none\"}", "defining"), ==,
			VIRT_ERROR_FAILED);
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*is defined again");
	g_assert_cmpint(undo(fixture, "undefine", text, NULL), ==, DONE);
	g_test_assert_expected_messages();
	g_assert_cmpint(virDomainIsPersistent(fixture->host.domain), ==, 1);
	cJSON_free(text);
	cJSON_Delete(what);
	free(xml);
}

static void test_folder_that_is_not_ours(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *ours = g_build_filename(fixture->host.tmp, "novasnap-1", NULL);
	g_autofree char *what = g_strdup_printf("{\"folder\":\"%s\"}", ours);
	g_autofree char *delta = g_build_filename(ours, "delta", NULL);
	g_autofree char *other = g_strdup_printf("{\"folder\":\"%s\"}", fixture->folder);

	(void)unused;
	/* [libvirt]snapshots_directory may have been another when it was made. */
	fixture->host.config.snapshots_directory = "/none/such";
	g_assert_cmpint(g_mkdir(ours, 0700), ==, 0);
	g_assert_true(g_file_set_contents(delta, "", 0, NULL));
	g_assert_cmpint(undo(fixture, "folder", what, NULL), ==, DONE);
	g_assert_false(g_file_test(ours, G_FILE_TEST_EXISTS));
	g_assert_cmpint(undo(fixture, "folder", other, "does not tell"), ==, VIRT_ERROR_FAILED);
	g_assert_true(is_left(fixture));
}

static void test_what_the_journal_does_not_tell(struct fixture *fixture, gconstpointer unused)
{
	static const char *const steps[] = {"backup", "copy", "undefine", "internal", "folder"};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
		g_assert_cmpint(undo(fixture, steps[i], "{}", "does not tell"), ==,
				VIRT_ERROR_FAILED);
		g_assert_cmpint(undo(fixture, steps[i], "no JSON", "does not tell"), ==,
				VIRT_ERROR_FAILED);
	}
	/* Of a newer novasnapd. */
	g_assert_cmpint(undo(fixture, "none-such", "{}", "knows no step none-such"), ==,
			VIRT_ERROR_FAILED);
}

#define TEST(name)                                                                                 \
	g_test_add("/recover/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(backup_that_shows_late);
	TEST(backup_that_never_began);
	TEST(job_that_goes_before_it_shows);
	TEST(backup_of_somebody_else);
	TEST(backup_that_cannot_be_looked_for);
	TEST(backup_that_does_not_end);
	TEST(guest_that_its_backup_stopped);
	TEST(backup_of_a_guest_that_is_gone);
	TEST(copy_is_ended_once);
	TEST(copy_of_somebody_else);
	TEST(copy_that_does_not_end);
	TEST(saved_guest_comes_back);
	TEST(stopped_guest_stays_so);
	TEST(save_is_waited_for);
	TEST(half_a_save_is_removed);
	TEST(frozen_guest_is_thawed);
	TEST(internal_is_deleted);
	TEST(internal_of_a_guest_that_is_gone);
	TEST(guest_is_gone);
	TEST(undefined_guest_is_defined);
	TEST(folder_that_is_not_ours);
	TEST(what_the_journal_does_not_tell);
	return g_test_run();
}
