/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The snapshot of a volume when libvirt does not answer: Cinder must not get an error while the
 * guest writes to the new file, and the guest must not stay frozen. On a guest of libvirt's test
 * driver; the test takes the snapshots.
 */
#include "tests/unit/snapshot-fixture.h"

#define VOLUME "volume-1"
#define DISK                                                                                       \
	"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"                       \
	"<source file='/volumes/volume'/><target dev='vdb'/><serial>" VOLUME "</serial></disk>"

static struct {
	unsigned snapshots, lost_answers, refusals;
	bool takes;  /* a snapshot whose answer is lost is taken */
	bool is_new; /* the guest writes to the new file */
	bool is_frozen, leaves_frozen;
	unsigned xml_unanswered; /* how many times the definition cannot be read after a snapshot */
	unsigned jobs;		 /* how many times libvirt is still working */
} fake;

__typeof__(virDomainSnapshotCreateXML) __wrap_virDomainSnapshotCreateXML;
__typeof__(virDomainFSThaw) __wrap_virDomainFSThaw;
__typeof__(virDomainAgentSetResponseTimeout) __wrap_virDomainAgentSetResponseTimeout;
__typeof__(virDomainGetXMLDesc) __real_virDomainGetXMLDesc, __wrap_virDomainGetXMLDesc;
__typeof__(virDomainGetJobInfo) __wrap_virDomainGetJobInfo;
__typeof__(virDomainGetBlockJobInfo) __wrap_virDomainGetBlockJobInfo;
__typeof__(virDomainSnapshotFree) __wrap_virDomainSnapshotFree;

virDomainSnapshotPtr __wrap_virDomainSnapshotCreateXML(virDomainPtr domain, const char *xml,
						       unsigned flags)
{
	bool quiesces = flags & VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE;

	g_assert_nonnull(strstr(xml, "/volumes/new"));
	/* QEMU would put the file over itself. */
	g_assert_false(fake.is_new);
	fake.snapshots++;
	if (fake.refusals > 0) {
		fake.refusals--;
		(void)host_fail(VIR_ERR_INTERNAL_ERROR);
		return NULL;
	}
	if (fake.lost_answers == 0) {
		fake.is_new = true;
		return (virDomainSnapshotPtr)domain;
	}
	fake.lost_answers--;
	fake.is_new = fake.takes;
	fake.is_frozen = quiesces && fake.leaves_frozen;
	host_is_broken = true;
	(void)host_fail(VIR_ERR_INVALID_CONN);
	return NULL;
}

int __wrap_virDomainGetBlockJobInfo(virDomainPtr domain, const char *disk,
				    virDomainBlockJobInfoPtr info, unsigned flags)
{
	(void)domain;
	(void)disk;
	(void)info;
	(void)flags;
	return 0;
}

int __wrap_virDomainSnapshotFree(virDomainSnapshotPtr snapshot)
{
	(void)snapshot;
	return 0;
}

int __wrap_virDomainFSThaw(virDomainPtr domain, const char **mounts, unsigned count, unsigned flags)
{
	(void)domain;
	(void)mounts;
	(void)count;
	(void)flags;
	return fake.is_frozen ? (fake.is_frozen = false, 1) : 0;
}

int __wrap_virDomainAgentSetResponseTimeout(virDomainPtr domain, int seconds, unsigned flags)
{
	(void)domain;
	(void)seconds;
	(void)flags;
	return 0;
}

char *__wrap_virDomainGetXMLDesc(virDomainPtr domain, unsigned flags)
{
	g_autoptr(GString) xml = NULL;
	char *real;

	if (fake.snapshots > 0 && fake.xml_unanswered > 0) {
		fake.xml_unanswered--;
		(void)host_fail(VIR_ERR_INVALID_CONN);
		return NULL;
	}
	real = __real_virDomainGetXMLDesc(domain, flags);
	if (!fake.is_new)
		return real;
	xml = g_string_new(real);
	free(real);
	g_string_replace(xml, "/volumes/volume", "/volumes/new", 0);
	return strdup(xml->str);
}

int __wrap_virDomainGetJobInfo(virDomainPtr domain, virDomainJobInfoPtr info)
{
	(void)domain;
	info->type = VIR_DOMAIN_JOB_NONE;
	if (fake.snapshots == 0 || fake.jobs == 0)
		return 0;
	info->type = VIR_DOMAIN_JOB_UNBOUNDED;
	/* libvirt, which did not answer, is done. */
	if (--fake.jobs == 0)
		fake.is_new = fake.takes;
	return 0;
}

struct volume_fixture {
	struct fixture guest;
	struct virt_volume volume;
};

static void set_up(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fixture_open(&fixture->guest, DISK);
	fixture->volume = (struct virt_volume){
		.uuid = FIXTURE_UUID, .volume_id = VOLUME, .guest_agent = true};
}

static void tear_down(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fixture_close(&fixture->guest);
}

/* DONE, or the code of the error. */
static int create(struct volume_fixture *fixture)
{
	g_autoptr(GError) error = NULL;

	if (virt_volume_snapshot_create(fixture->guest.host.virt, &fixture->volume, "new",
					&error) == 0)
		return -1;
	return error->code;
}
#define DONE (-1)

static void test_answered(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(create(fixture), ==, DONE);
	g_assert_cmpuint(fake.snapshots, ==, 1);
}

static void test_refused(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.refusals = 2;
	g_assert_cmpint(create(fixture), ==, VIRT_ERROR_FAILED);
	g_assert_cmpuint(fake.snapshots, ==, 2);
	fake.refusals = 1;
	g_assert_cmpint(create(fixture), ==, DONE);
}

/* libvirtd was restarted after it had taken the snapshot, and before it had thawed the guest. */
static void test_taken(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.lost_answers = 1;
	fake.takes = fake.leaves_frozen = true;
	g_assert_cmpint(create(fixture), ==, DONE);
	g_assert_cmpuint(fake.snapshots, ==, 1);
	g_assert_false(fake.is_frozen);
}

static void test_taken_without_agent(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture->volume.guest_agent = false;
	fake.lost_answers = 1;
	fake.takes = true;
	g_assert_cmpint(create(fixture), ==, DONE);
	g_assert_cmpuint(fake.snapshots, ==, 1);
}

/* libvirtd was restarted before it had taken the snapshot. */
static void test_not_taken(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.lost_answers = 2;
	fake.leaves_frozen = true;
	g_assert_cmpint(create(fixture), ==, VIRT_ERROR_DISCONNECTED);
	g_assert_cmpuint(fake.snapshots, ==, 2);
	g_assert_false(fake.is_new || fake.is_frozen);
}

/* libvirt is still working, or restarting, when it is asked. */
static void test_asked_again(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.lost_answers = 1;
	fake.takes = true;
	fake.jobs = 20;
	fake.xml_unanswered = 20;
	g_assert_cmpint(create(fixture), ==, DONE);
	g_assert_cmpuint(fake.snapshots, ==, 1);
}

/* The process that took the snapshot has died, and libvirtd with it. */
static void test_resumed(struct volume_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture->volume.resuming = true;
	fake.is_new = fake.is_frozen = true;
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*is already writing to*");
	g_assert_cmpint(create(fixture), ==, DONE);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.snapshots, ==, 0);
	g_assert_false(fake.is_frozen);
}

#define TEST(name)                                                                                 \
	g_test_add("/volume-create/" #name, struct volume_fixture, NULL, set_up, test_##name,      \
		   tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(answered);
	TEST(refused);
	TEST(taken);
	TEST(taken_without_agent);
	TEST(not_taken);
	TEST(asked_again);
	TEST(resumed);
	return g_test_run();
}
