/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which disks QEMU may export over NBD: those without an iothread, and all disks of a QEMU that
 * survives a client's disconnection. The test gives the answers of libvirt and QEMU.
 */
#include "tests/unit/host.h"
#include "virt/domain/domain-xml.h"
#include "virt/domain/iothread.h"

#define PLAIN "<disk><driver name='qemu'/><target dev='vda' bus='virtio'/></disk>"
#define OTHER                                                                                      \
	PLAIN "<disk><driver name='qemu' iothread='1'/><target dev='vdb' bus='virtio'/></disk>"
#define THREAD "<disk><driver name='qemu' iothread='1'/><target dev='vda' bus='virtio'/></disk>"
#define THREADS                                                                                    \
	"<disk><driver name='qemu'><iothreads><iothread id='2'/></iothreads></driver>"             \
	"<target dev='vda' bus='virtio'/></disk>"
#define SCSI(index)                                                                                \
	"<disk><driver name='qemu'/><target dev='vda' bus='scsi'/>"                                \
	"<address type='drive' controller='" index "' bus='0' target='0' unit='0'/></disk>"        \
	"<controller type='scsi' index='0' model='virtio-scsi'/>"                                  \
	"<controller type='scsi' index='1' model='virtio-scsi'><driver "                           \
	"iothread='1'/></controller>"
#define SATA                                                                                       \
	"<disk><driver name='qemu'/><target dev='vda' bus='sata'/>"                                \
	"<address type='drive' controller='1' bus='0' target='0' unit='0'/></disk>"                \
	"<controller type='scsi' index='1' model='virtio-scsi'><driver "                           \
	"iothread='1'/></controller>"

static char *domain(const char *machine, const char *devices, const char *more)
{
	return g_strdup_printf("<domain type='kvm' "
			       "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
			       "<os><type machine='%s'>hvm</type></os><devices>%s</devices>%s"
			       "</domain>",
			       machine, devices, more);
}

static void expect_iothread(const char *devices, const char *more, const char *words)
{
	g_autofree char *xml = domain("pc-q35-7.2", devices, more);

	g_assert_cmpstr(domain_disk_iothread(xml, "vda"), ==, words);
}

static void test_disks(void)
{
	static const char controller[] = "has a virtio-scsi controller that has an iothread";
	static const char option[] = "may have an iothread, by an option of QEMU in the definition";

	expect_iothread(PLAIN, "", NULL);
	expect_iothread(OTHER, "", NULL);
	expect_iothread(THREAD, "", "has an iothread");
	expect_iothread(THREADS, "", "has an iothread");
	expect_iothread(SCSI("0"), "", NULL);
	expect_iothread(SCSI("1"), "", controller);
	expect_iothread(SATA, "", NULL);
	expect_iothread(PLAIN,
			"<qemu:commandline><qemu:arg value='-nodefaults'/></qemu:commandline>",
			NULL);
	expect_iothread(PLAIN,
			"<qemu:commandline><qemu:arg value='-set'/>"
			"<qemu:arg value='device.virtio-disk0.iothread=t1'/></qemu:commandline>",
			option);
	expect_iothread(PLAIN,
			"<qemu:override><qemu:device alias='virtio-disk0'><qemu:frontend>"
			"<qemu:property name='iothread' type='string' value='t1'/>"
			"</qemu:frontend></qemu:device></qemu:override>",
			option);
}

/* libvirt's and QEMU's answers. */
static struct {
	unsigned long installed;
	const char *reply; /* of QEMU; NULL: none */
	unsigned asked;
} fake;

__typeof__(virConnectGetVersion) __wrap_virConnectGetVersion;
__typeof__(virDomainQemuMonitorCommand) __wrap_virDomainQemuMonitorCommand;

int __wrap_virConnectGetVersion(virConnectPtr connection, unsigned long *version)
{
	(void)connection;
	*version = fake.installed;
	return 0;
}

int __wrap_virDomainQemuMonitorCommand(virDomainPtr domain, const char *command, char **reply,
				       unsigned flags)
{
	(void)domain;
	g_assert_cmpuint(flags, ==, 0);
	g_assert_nonnull(strstr(command, "query-version"));
	fake.asked++;
	if (!fake.reply)
		return host_fail(VIR_ERR_OPERATION_FAILED);
	*reply = strdup(fake.reply);
	return 0;
}

#define REPLY(major, minor, micro)                                                                 \
	"{\"return\":{\"qemu\":{\"micro\":" micro ",\"minor\":" minor ",\"major\":" major          \
	"},\"package\":\"Debian\"},\"id\":\"libvirt-9\"}"

/* NULL words: the export is safe. `asked`: QEMU itself is asked. */
static void expect_export(const struct guest *guest, const char *machine, unsigned long installed,
			  const char *reply, bool asked, const char *words)
{
	g_autofree char *xml = domain(machine, THREAD, "");
	g_autoptr(GError) error = NULL;
	int rc;

	fake.installed = installed;
	fake.reply = reply;
	fake.asked = 0;
	rc = iothread_check_export(guest, xml, "vda", true, &error);
	g_assert_cmpuint(fake.asked, ==, asked);
	if (!words) {
		g_assert_no_error(error);
		g_assert_cmpint(rc, ==, 0);
		return;
	}
	g_assert_cmpint(rc, ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED);
	host_assert_message(error, words);
	host_assert_message(error, "disk vda has an iothread");
}

static void test_versions(void)
{
	g_autofree char *plain = domain("pc-q35-7.2", PLAIN, "");
	g_autofree char *old = domain("pc-q35-7.2", THREAD, "");
	struct host host;
	struct guest guest;

	host_open(&host);
	g_assert_cmpint(guest_open(&guest, host.virt, HOST_UUID, NULL), ==, 0);
	fake.installed = 7002022;
	g_assert_cmpint(iothread_check_export(&guest, plain, "vda", true, NULL), ==, 0);
	expect_export(&guest, "pc-q35-7.2", 7002022, NULL, false, "QEMU is 7.2.22: before 8.2.3");
	expect_export(&guest, "pc-q35-8.2", 8002002, NULL, false, "QEMU is 8.2.2:");
	expect_export(&guest, "pc-q35-8.2", 8002003, REPLY("8", "2", "3"), true, NULL);
	expect_export(&guest, "pc-q35-9.0", 9000000, NULL, false, NULL);
	expect_export(&guest, "pc-i440fx-10.0", 10000003, NULL, false, NULL);
	/* The guest was started before QEMU was upgraded. */
	expect_export(&guest, "pc-q35-7.2", 10000003, REPLY("7", "2", "22"), true,
		      "QEMU is 7.2.22:");
	expect_export(&guest, "pc-q35-7.2", 10000003, REPLY("10", "0", "3"), true, NULL);
	/* Names of distributions. */
	expect_export(&guest, "pc-q35-rhel9.4.0", 9001000, REPLY("8", "2", "0"), true,
		      "QEMU is 8.2.0:");
	expect_export(&guest, "pc-i440fx-noble", 9000000, REPLY("9", "0", "0"), true, NULL);
	/* An unknown version is not taken for a safe one. */
	expect_export(&guest, "pc-q35-7.2", 10000003, NULL, true, "unknown version");
	expect_export(&guest, "pc-q35-7.2", 10000003, "{\"return\":{}}", true, "unknown version");
	expect_export(&guest, "pc-q35-7.2", 10000003, "nonsense", true, "unknown version");
	expect_export(&guest, "pc-q35-7.2", 10000003, REPLY("1e9", "2", "0"), true,
		      "unknown version");
	/* A check must not change the guest. */
	fake.asked = 0;
	fake.reply = REPLY("10", "0", "3");
	g_assert_cmpint(iothread_check_export(&guest, old, "vda", false, NULL), ==, -1);
	g_assert_cmpuint(fake.asked, ==, 0);
	guest_close(&guest);
	host_close(&host);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/iothread/disks", test_disks);
	g_test_add_func("/iothread/versions", test_versions);
	return g_test_run();
}
