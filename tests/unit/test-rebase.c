/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The method rebase: on a libvirt without transient block copies, where a block copy fails, and in
 * place of a stream that is not possible. On a guest of libvirt's test driver; the test makes the
 * jobs.
 */
#include "tests/unit/snapshot-fixture.h"
#include "virt/libvirt/xml.h"

#define TPM "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>"

static struct {
	int transient_code;    /* why no transient copy starts; 0: it starts */
	bool no_transient;     /* libvirt does not know the flag of transient copies */
	unsigned long version; /* of libvirt */
	int copy_code;	       /* the same of any other */
	int export_code;       /* the same of an export */
	uint64_t size;	       /* of the disk in bytes; 0: that of its file */
	enum block_job_outcome outcomes[2];
	unsigned waits, copies, aborts, undefines, undefine_flags, exports;
	bool is_copying;
	bool define_fails;
	bool has_foreign_job;	   /* another program's job, for which an export is refused */
	bool silent_while_copying; /* questions about block jobs are not answered then */
	char *delta;		   /* the target of the copy */
	bool is_watched;	   /* QEMU's own report of the end of the copy is recorded */
	bool watch_fails;
	const char *copy_error; /* of that report */
} fake;

__typeof__(virDomainGetBlockInfo) __wrap_virDomainGetBlockInfo;
__typeof__(virDomainGetBlockJobInfo) __wrap_virDomainGetBlockJobInfo;
__typeof__(virDomainGetJobInfo) __wrap_virDomainGetJobInfo;
__typeof__(virDomainBlockCopy) __wrap_virDomainBlockCopy;
__typeof__(virConnectGetLibVersion) __wrap_virConnectGetLibVersion;
__typeof__(virDomainBlockJobAbort) __wrap_virDomainBlockJobAbort;
__typeof__(virDomainUndefineFlags) __real_virDomainUndefineFlags, __wrap_virDomainUndefineFlags;
__typeof__(virDomainDefineXML) __real_virDomainDefineXML, __wrap_virDomainDefineXML;
__typeof__(virDomainGetXMLDesc) __real_virDomainGetXMLDesc, __wrap_virDomainGetXMLDesc;
__typeof__(virDomainBackupGetXMLDesc) __wrap_virDomainBackupGetXMLDesc;
__typeof__(virDomainBackupBegin) __wrap_virDomainBackupBegin;
__typeof__(domain_events_watch_copy_end) __wrap_domain_events_watch_copy_end;
__typeof__(domain_events_copy_error) __wrap_domain_events_copy_error;
__typeof__(domain_events_wait_block_job) __wrap_domain_events_wait_block_job;

int __wrap_virDomainGetBlockInfo(virDomainPtr domain, const char *disk, virDomainBlockInfoPtr info,
				 unsigned flags)
{
	(void)domain;
	(void)disk;
	(void)flags;
	info->capacity = fake.size ? fake.size : 1 << 20;
	return 0;
}

int __wrap_virDomainGetBlockJobInfo(virDomainPtr domain, const char *disk,
				    virDomainBlockJobInfoPtr info, unsigned flags)
{
	(void)domain;
	(void)disk;
	(void)flags;
	info->type = VIR_DOMAIN_BLOCK_JOB_TYPE_COPY;
	if (fake.silent_while_copying && fake.is_copying)
		return host_fail(VIR_ERR_INVALID_CONN);
	return fake.is_copying;
}

int __wrap_virDomainGetJobInfo(virDomainPtr domain, virDomainJobInfoPtr info)
{
	(void)domain;
	info->type = fake.has_foreign_job ? VIR_DOMAIN_JOB_UNBOUNDED : VIR_DOMAIN_JOB_NONE;
	return 0;
}

int __wrap_virConnectGetLibVersion(virConnectPtr connection, unsigned long *version)
{
	(void)connection;
	*version = fake.version;
	return fake.version > 0 ? 0 : host_fail(VIR_ERR_NO_SUPPORT);
}

int __wrap_virDomainBlockCopy(virDomainPtr domain, const char *disk, const char *xml,
			      virTypedParameterPtr parameters, int count, unsigned flags)
{
	bool transient = flags & VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB;
	int code = transient ? fake.transient_code : fake.copy_code;

	(void)disk;
	(void)parameters;
	(void)count;
	g_free(fake.delta);
	fake.delta = virt_xml_text(xml, "/disk/source/@file");
	g_assert_true(g_str_has_suffix(fake.delta, "/delta"));
	g_assert_cmpint(virDomainIsPersistent(domain), ==, transient);
	fake.copies++;
	if (transient && fake.no_transient)
		return host_fail_unknown_flag();
	fake.is_copying = code == 0;
	return code ? host_fail(code) : 0;
}

int __wrap_virDomainBlockJobAbort(virDomainPtr domain, const char *disk, unsigned flags)
{
	(void)domain;
	(void)disk;
	g_assert_cmpuint(flags, ==, 0);
	fake.is_copying = false;
	fake.aborts++;
	return 0;
}

int __wrap_virDomainUndefineFlags(virDomainPtr domain, unsigned flags)
{
	fake.undefines++;
	fake.undefine_flags = flags;
	return __real_virDomainUndefineFlags(domain, 0);
}

virDomainPtr __wrap_virDomainDefineXML(virConnectPtr connection, const char *xml)
{
	/* A libvirt that has no transient copies refuses to define a guest that has a copy. */
	g_assert_false(fake.is_copying);
	if (!fake.define_fails)
		return __real_virDomainDefineXML(connection, xml);
	(void)host_fail(VIR_ERR_OPERATION_FAILED);
	return NULL;
}

/* With the copy that runs, as libvirt shows it. */
char *__wrap_virDomainGetXMLDesc(virDomainPtr domain, unsigned flags)
{
	char *xml = __real_virDomainGetXMLDesc(domain, flags);
	g_autofree char *mirror = NULL;
	g_autoptr(GString) text = NULL;

	if (!xml || !fake.is_copying || (flags & VIR_DOMAIN_XML_INACTIVE))
		return xml;
	mirror = g_strdup_printf("<mirror type='file'><source file='%s'/></mirror></disk>",
				 fake.delta);
	text = g_string_new(xml);
	free(xml);
	g_assert_cmpuint(g_string_replace(text, "</disk>", mirror, 0), ==, 1);
	return strdup(text->str);
}

char *__wrap_virDomainBackupGetXMLDesc(virDomainPtr domain, unsigned flags)
{
	(void)domain;
	(void)flags;
	(void)host_fail(VIR_ERR_NO_DOMAIN_BACKUP);
	return NULL;
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

int __wrap_domain_events_watch_copy_end(struct domain_events *events, const struct guest *guest,
					GError **error)
{
	(void)events;
	(void)guest;
	g_assert_true(fake.is_copying);
	fake.is_watched = true;
	if (!fake.watch_fails)
		return 0;
	(void)host_fail(VIR_ERR_ACCESS_DENIED);
	virt_set_error(error, "made up");
	return -1;
}

char *__wrap_domain_events_copy_error(struct domain_events *events)
{
	(void)events;
	return g_strdup(fake.copy_error);
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
	/* It may be called at any time. */
	if (progress)
		(void)progress(opaque);
	g_assert_cmpint(ended, ==, fake.waits == 1);
	g_assert_cmpint(ended, ==, fake.is_watched);
	return fake.outcomes[fake.waits++];
}

static void begin(struct fixture *fixture)
{
	fixture_begin(fixture, fixture->host.config.live_method);
	fake.waits = fake.aborts = 0;
	fake.is_watched = false;
}

static void set_up(struct fixture *fixture, gconstpointer devices)
{
	memset(&fake, 0, sizeof(fake));
	fake.outcomes[1] = BLOCK_JOB_ENDED;
	fake.version = 3004000;
	fixture_open(fixture, devices ? (const char *)devices : "");
	fixture->host.config.live_method = "rebase";
	fixture->note_ends = true;
	begin(fixture);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture_close(fixture);
	g_free(fake.delta);
}

/* As fixture_take. The guest is as before in every case, except where defining it fails. */
static int take(struct fixture *fixture, const char *words)
{
	int code = fixture_take(fixture, words);

	g_assert_cmpint(virDomainIsPersistent(fixture->host.domain), ==, !fake.define_fails);
	g_assert_false(fake.is_copying);
	return code;
}

static void test_transient_copy(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(take(fixture, ""), ==, FIXTURE_DONE);
	g_assert_cmpuint(fake.undefines, ==, 0);
	g_assert_cmpstr(fixture->steps->str, ==,
			"folder folder. delta delta. copy transient copy. switch -copy switch. "
			"copy-out copy-out. clean clean. -folder ");
}

static void test_no_transient_copy(struct fixture *fixture, gconstpointer devices)
{
	fake.no_transient = true;
	g_assert_cmpint(take(fixture, ""), ==, FIXTURE_DONE);
	g_assert_cmpuint(fake.copies, ==, 2);
	g_assert_cmpuint(fake.undefine_flags, ==,
			 VIR_DOMAIN_UNDEFINE_KEEP_NVRAM |
				 (devices ? (unsigned)VIR_DOMAIN_UNDEFINE_KEEP_TPM : 0));
	g_assert_cmpstr(
		fixture->steps->str, ==,
		"folder folder. delta delta. copy transient -copy undefine undefine. "
		"copy copy. switch -copy switch. define define. -undefine copy-out copy-out. "
		"clean clean. -folder ");
}

static void test_no_copy_at_all(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.no_transient = true;
	fake.copy_code = VIR_ERR_OPERATION_FAILED;
	g_assert_cmpint(take(fixture, "starting the block copy"), ==, VIRT_ERROR_FAILED);
	g_assert_cmpuint(fake.undefines, ==, 1);
	g_assert_nonnull(
		strstr(fixture->steps->str, "abort abort. -copy define define. -undefine "));
}

/* The guest is undefined only where that can help. */
static void test_copy_is_refused(struct fixture *fixture, gconstpointer unused)
{
	static const int codes[] = {VIR_ERR_OPERATION_FAILED, VIR_ERR_INVALID_ARG,
				    VIR_ERR_ARGUMENT_UNSUPPORTED, VIR_ERR_OPERATION_UNSUPPORTED};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(codes); i++) {
		begin(fixture);
		fake.transient_code = codes[i];
		g_assert_cmpint(take(fixture, "starting the block copy"), ==, VIRT_ERROR_FAILED);
	}
	g_assert_cmpuint(fake.undefines, ==, 0);
	g_assert_cmpuint(fake.copies, ==, G_N_ELEMENTS(codes));
}

/* 0: the version is unknown. */
static void test_new_libvirt(struct fixture *fixture, gconstpointer unused)
{
	static const unsigned long versions[] = {9000000, 12000000, 0};

	(void)unused;
	fake.no_transient = true;
	for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
		begin(fixture);
		fake.version = versions[i];
		g_assert_cmpint(take(fixture, "starting the block copy"), ==, VIRT_ERROR_FAILED);
	}
	g_assert_cmpuint(fake.undefines, ==, 0);
}

static void test_copy_fails(struct fixture *fixture, gconstpointer unused)
{
	static const struct {
		enum block_job_outcome outcome;
		int code;
		const char *words;
	} cases[] = {
		{BLOCK_JOB_FAILED, VIRT_ERROR_JOB, "failed, or another program ended it"},
		{BLOCK_JOB_ENDED, VIRT_ERROR_JOB, "failed, or another program ended it"},
		{BLOCK_JOB_GUEST_STOPPED, VIRT_ERROR_JOB, "the guest stopped"},
		{BLOCK_JOB_DISCONNECTED, VIRT_ERROR_DISCONNECTED, "the connection to libvirt"},
		{BLOCK_JOB_CANCELLED, VIRT_ERROR_CANCELLED, "cancelled"},
		{BLOCK_JOB_TIMEOUT, VIRT_ERROR_TIMEOUT, "made no progress for 60 s"},
	};

	(void)unused;
	fake.no_transient = true;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		begin(fixture);
		fake.outcomes[0] = cases[i].outcome;
		g_assert_cmpint(take(fixture, cases[i].words), ==, cases[i].code);
		g_assert_cmpuint(fake.aborts, ==, 1);
		begin(fixture);
		fake.outcomes[0] = BLOCK_JOB_READY;
		fake.outcomes[1] =
			cases[i].outcome == BLOCK_JOB_ENDED ? BLOCK_JOB_FAILED : cases[i].outcome;
		g_assert_cmpint(take(fixture, "ending the block copy"), ==, cases[i].code);
	}
}

/* After its abort, QEMU copies what the guest has just written. Without its report of the end, the
 * delta is not taken for complete. */
static void test_end_fails(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.outcomes[0] = BLOCK_JOB_READY;
	fake.outcomes[1] = BLOCK_JOB_FAILED;
	fake.copy_error = "No space left on device";
	g_assert_cmpint(take(fixture, "ending the block copy: the block job of disk vda failed: "
				      "No space left on device"),
			==, VIRT_ERROR_JOB);
	begin(fixture);
	fake.watch_fails = true;
	g_assert_cmpint(take(fixture, "made up"), ==, VIRT_ERROR_FAILED);
	g_assert_cmpuint(fake.waits, ==, 1);
}

/* Whether the copy still runs is unknown: the delta is not taken for complete. */
static void test_copy_is_unknown(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.outcomes[0] = BLOCK_JOB_READY;
	fake.silent_while_copying = true;
	g_assert_cmpint(take(fixture, "asking for the disk's block job"), ==,
			VIRT_ERROR_DISCONNECTED);
}

/* The step stays open, and recovery tries again. */
static void test_guest_is_not_defined_again(struct fixture *fixture, gconstpointer unused)
{
	char *xml;

	(void)unused;
	fake.no_transient = true;
	fake.define_fails = true;
	g_test_expect_message("virt", G_LOG_LEVEL_INFO, "*no transient block copy*");
	for (int i = 1; i < 3; i++)
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*defining*; retrying");
	g_assert_cmpint(take(fixture, "defining the guest again"), ==, VIRT_ERROR_FAILED);
	g_test_assert_expected_messages();
	g_assert_null(strstr(fixture->steps->str, "-undefine"));
	fake.define_fails = false;
	xml = __real_virDomainGetXMLDesc(fixture->host.domain, 0);
	(void)virDomainFree(virDomainDefineXML(fixture->host.connection, xml));
	free(xml);
}

static void begin_stream(struct fixture *fixture)
{
	fixture->host.config.live_method = "stream";
	fixture->host.config.scratch_dir = fixture->host.tmp;
	begin(fixture);
	g_string_truncate(fixture->steps, 0);
}

/* A libvirt that has no exports, a QEMU that may not reach the socket, a folder of scratch files in
 * which libvirt may not write, and whatever else libvirt refuses. */
static void test_stream_is_not_possible(struct fixture *fixture, gconstpointer unused)
{
	static const int codes[] = {VIR_ERR_INTERNAL_ERROR,	   VIR_ERR_NO_SUPPORT,
				    VIR_ERR_OPERATION_UNSUPPORTED, VIR_ERR_OPERATION_FAILED,
				    VIR_ERR_SYSTEM_ERROR,	   VIR_ERR_ACCESS_DENIED};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(codes); i++) {
		begin_stream(fixture);
		fake.export_code = codes[i];
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING,
				      "*stream is not possible here*made up*using rebase instead");
		g_assert_cmpint(take(fixture, ""), ==, FIXTURE_DONE);
		g_test_assert_expected_messages();
		g_assert_cmpstr(snapshot_method(fixture->snapshot), ==, "rebase");
		/* Nothing is left of the first method when the second begins. */
		g_assert_true(g_str_has_prefix(fixture->steps->str,
					       "backup serve -backup serve. "
					       "unserve unserve. -serve folder "));
	}
	g_assert_cmpuint(fake.exports, ==, G_N_ELEMENTS(codes));
}

/* What libvirt has refused need not be waited for, even if the guest has a job. */
static void test_stream_is_refused_at_once(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	begin_stream(fixture);
	fake.has_foreign_job = true;
	fake.export_code = VIR_ERR_OPERATION_INVALID;
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*using rebase instead");
	g_assert_cmpint(take(fixture, ""), ==, FIXTURE_DONE);
	g_test_assert_expected_messages();
	g_assert_cmpint(host_clock_us / G_USEC_PER_SEC, <, 2);
}

/* Without an answer the job may run. */
static void test_stream_fails(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	begin_stream(fixture);
	fake.export_code = VIR_ERR_OPERATION_TIMEOUT;
	g_assert_cmpint(take(fixture, "starting the disk's export"), ==, VIRT_ERROR_TIMEOUT);
	g_assert_cmpuint(fake.copies, ==, 0);
	g_assert_cmpstr(fixture->steps->str, ==, "backup end end. -backup ");
}

/* Nothing of the export is created. */
static void test_stream_is_too_large(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	begin_stream(fixture);
	fake.size = IMAGE_QCOW2_MAX + 1;
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*larger than 8 TiB*using rebase*");
	g_assert_cmpint(take(fixture, ""), ==, FIXTURE_DONE);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.exports, ==, 0);
	g_assert_true(g_str_has_prefix(fixture->steps->str, "folder "));
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
	TEST(new_libvirt, NULL);
	TEST(copy_fails, NULL);
	TEST(end_fails, NULL);
	TEST(copy_is_unknown, NULL);
	TEST(guest_is_not_defined_again, NULL);
	TEST(stream_is_not_possible, NULL);
	TEST(stream_is_refused_at_once, NULL);
	TEST(stream_fails, NULL);
	TEST(stream_is_too_large, NULL);
	return g_test_run();
}
