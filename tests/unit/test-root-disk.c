/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The root disk and its chain, as a domain's XML names them, and what else is read from that XML.
 */
#include <string.h>

#include "virt/domain/disk-chain.h"
#include "virt/domain/disk-filename.h"
#include "virt/domain/domain-xml.h"
#include "virt/domain/root-disk.h"
#include "virt/virt.h"

#define DOMAIN(disks) "<domain><devices>" disks "</devices></domain>"
#define CDROM                                                                                      \
	"<disk type='file' device='cdrom'><driver type='raw'/><source file='/i/cd.iso'/>"          \
	"<target dev='sda'/></disk>"
#define CONFIG                                                                                     \
	"<disk type='file' device='disk'><driver type='raw'/><source file='/i/u/disk.config'/>"    \
	"<target dev='vda'/></disk>"
#define SWAP                                                                                       \
	"<disk type='file' device='disk'><driver type='raw'/><source file='/i/u/disk.swap'/>"      \
	"<target dev='vdb'/></disk>"
#define ROOT                                                                                       \
	"<disk type='file' device='disk'><driver type='qcow2'/><source file='/i/u/disk'/>"         \
	"<backingStore type='file'><format type='raw'/><source file='/b/base'/><backingStore/>"    \
	"</backingStore><target dev='vdc'/></disk>"
#define SECOND                                                                                     \
	"<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/loop9'/>"          \
	"<target dev='vdd'/></disk>"

static void test_chain(void)
{
	struct disk *disk = root_disk_find(DOMAIN(ROOT SECOND), NULL);
	g_autofree char *name = NULL;

	g_assert_nonnull(disk);
	g_assert_cmpstr(disk->target, ==, "vdc");
	g_assert_cmpuint(disk->layers->len, ==, 2);
	g_assert_true(disk->complete);
	name = disk_json_filename(disk, 0);
	g_assert_cmpstr(
		name, ==,
		"json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":"
		"\"/i/u/disk\"},\"backing\":{\"driver\":\"raw\",\"file\":{\"driver\":\"file\","
		"\"filename\":\"/b/base\"}}}");
	disk_free(disk);
}

/* What nova.virt.libvirt.utils.find_disk of Nova 26.2 returns for the same definitions. */
static void test_first_disk(void)
{
	static const struct {
		const char *xml, *target, *path, *format;
	} cases[] = {
		{DOMAIN(ROOT SECOND), "vdc", "/i/u/disk", "qcow2"},
		{DOMAIN(SECOND ROOT), "vdd", "/dev/loop9", "raw"},
		/* A server booted from an ISO image, with a volume. */
		{DOMAIN(CDROM SECOND), "sda", "/i/cd.iso", "raw"},
		/* An instance folder with the name of an auxiliary disk, or a root file with one.
		 */
		{DOMAIN(CONFIG ROOT), "vda", "/i/u/disk.config", "raw"},
		{DOMAIN(SWAP ROOT), "vdb", "/i/u/disk.swap", "raw"},
		{DOMAIN("<disk type='file' device='floppy'><driver type='raw'/><source "
			"file='/i/f'/><target dev='fda'/></disk>" ROOT),
		 "fda", "/i/f", "raw"},
		{DOMAIN("<disk type='block' device='lun'><driver type='raw'/><source "
			"dev='/dev/sdx'/><target dev='sdb'/></disk>" ROOT),
		 "sdb", "/dev/sdx", "raw"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GError) error = NULL;
		struct disk *disk = root_disk_find(cases[i].xml, &error);

		g_assert_no_error(error);
		g_assert_cmpstr(disk->target, ==, cases[i].target);
		g_assert_cmpstr(disk_top(disk)->path, ==, cases[i].path);
		g_assert_cmpstr(disk_top(disk)->format, ==, cases[i].format);
		disk_free(disk);
	}
}

static void test_by_target(void)
{
	struct disk *disk = disk_find_by_target(DOMAIN(ROOT SECOND), "vdd", NULL);
	g_autofree char *name = disk_json_filename(disk, 0);
	g_autoptr(GError) error = NULL;

	g_assert_cmpstr(disk->target, ==, "vdd");
	g_assert_nonnull(strstr(name, "host_device"));
	disk_free(disk);
	g_assert_null(disk_find_by_target(DOMAIN(ROOT SECOND), "sdz", &error));
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_NO_ROOT_DISK);
}

static void expect_error(const char *xml, int code, const char *words)
{
	g_autoptr(GError) error = NULL;

	g_assert_null(root_disk_find(xml, &error));
	g_assert_error(error, VIRT_ERROR, code);
	if (!strstr(error->message, words))
		g_error("\"%s\" is without \"%s\"", error->message, words);
}

static void test_refusals(void)
{
	expect_error(DOMAIN("<disk type='file' device='cdrom'><driver type='raw'/><target "
			    "dev='sda'/></disk>" ROOT),
		     VIRT_ERROR_UNSUPPORTED, "the disk sda is unusable: it has no source");
	expect_error(DOMAIN(""), VIRT_ERROR_NO_ROOT_DISK, "no disk");
	expect_error("no xml", VIRT_ERROR_NO_ROOT_DISK, "no disk");
	expect_error(DOMAIN("<disk type='network' device='disk'><driver type='raw'/><source "
			    "protocol='nbd' name='x/y'/><target dev='vda'/></disk>"),
		     VIRT_ERROR_UNSUPPORTED, "network disk");
	expect_error(DOMAIN("<disk type='volume' device='disk'><driver type='qcow2'/><source "
			    "pool='p' volume='v'/><target dev='vda'/></disk>"),
		     VIRT_ERROR_UNSUPPORTED, "volume of a storage pool");
	expect_error(DOMAIN("<disk type='vhostuser' device='disk'><driver type='raw'/><source "
			    "type='unix' path='/s'/><target dev='vda'/></disk>"),
		     VIRT_ERROR_UNSUPPORTED, "of the type vhostuser");
	expect_error(
		DOMAIN("<disk type='file' device='disk'><driver type='qcow2'/><source "
		       "file='/x'><encryption format='luks'/></source><target dev='vda'/></disk>"),
		VIRT_ERROR_UNSUPPORTED, "encrypted");
	expect_error(DOMAIN("<disk type='file' device='disk'><source file='/x'/><target "
			    "dev='vda'/></disk>"),
		     VIRT_ERROR_UNSUPPORTED, "does not report its format");
	expect_error(DOMAIN("<disk type='file' device='disk'><driver type='parallels'/><source "
			    "file='/x'/><target dev='vda'/></disk>"),
		     VIRT_ERROR_UNSUPPORTED, "parallels");
}

#define RBD_DISK(name, format, more)                                                               \
	"<disk type='network' device='disk'><driver name='qemu' type='" format "'/><auth "         \
	"username='nova'><secret type='ceph' uuid='" SECRET "'/></auth><source protocol='rbd' "    \
	"name='" name "'><host name='10.0.0.1' port='6789'/>" more "</source>"                     \
	"<target dev='vda'/></disk>"
#define SECRET "457eb676-33da-42ec-9a8c-9293d545c337"

/* As nova.virt.libvirt.imagebackend.Rbd.libvirt_info writes it. */
static void test_rbd(void)
{
	g_autoptr(GError) error = NULL;
	struct disk *disk = root_disk_find(DOMAIN(RBD_DISK("vms/i_disk", "raw", "") ROOT), &error);

	g_assert_no_error(error);
	g_assert_cmpstr(disk->target, ==, "vda");
	g_assert_true(disk_is_rbd(disk) && disk->complete);
	g_assert_cmpstr(disk_top(disk)->rbd_pool, ==, "vms");
	g_assert_cmpstr(disk_top(disk)->rbd_image, ==, "i_disk");
	g_assert_cmpstr(disk_top(disk)->path, ==, "rbd:vms/i_disk");
	g_assert_cmpstr(disk_top(disk)->format, ==, "raw");
	g_assert_false(disk_top(disk)->block);
	/* No program of QEMU is asked for a chain. */
	g_assert_cmpint(disk_complete_chain(disk, NULL, NULL, NULL), ==, 0);
	disk_free(disk);
	disk = root_disk_find(DOMAIN(ROOT), NULL);
	g_assert_false(disk_is_rbd(disk));
	disk_free(disk);

	expect_error(DOMAIN(RBD_DISK("disk", "raw", "")), VIRT_ERROR_UNSUPPORTED,
		     "its name \"disk\" is not POOL/IMAGE");
	expect_error(DOMAIN(RBD_DISK("p/namespace/i", "raw", "")), VIRT_ERROR_UNSUPPORTED,
		     "is not POOL/IMAGE");
	expect_error(DOMAIN(RBD_DISK("/i", "raw", "")), VIRT_ERROR_UNSUPPORTED,
		     "is not POOL/IMAGE");
	expect_error(DOMAIN(RBD_DISK("vms/i", "qcow2", "")), VIRT_ERROR_UNSUPPORTED,
		     "its format is not raw");
	expect_error(DOMAIN(RBD_DISK("vms/i", "raw", "<snapshot name='s'/>")),
		     VIRT_ERROR_UNSUPPORTED, "a snapshot in Ceph");
	expect_error(DOMAIN(RBD_DISK("vms/i", "raw", "<encryption format='luks'/>")),
		     VIRT_ERROR_UNSUPPORTED, "encrypted");
	/* Volumes are merged only in files. */
	g_assert_null(disk_find_by_target(DOMAIN(RBD_DISK("vms/i", "raw", "")), "vda", &error));
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED);
}

/* libvirt writes nothing of this kind. */
static void test_odd_xml(void)
{
	static const char devices[] =
		DOMAIN("<disk type='file'><target dev=''/></disk><disk type='file'><target/></disk>"
		       "<disk type='file'><target dev=''/><target dev='vdx'/></disk>" ROOT);
	g_autoptr(GString) laughs = g_string_new("<!DOCTYPE d [<!ENTITY a 'ha'>");
	g_autoptr(GString) large = g_string_new("<domain type='lxc'>");
	struct domain_traits traits;
	GPtrArray *disks = domain_disks(devices);

	g_assert_cmpuint(disks->len, ==, 1);
	g_assert_cmpstr(((const struct domain_disk *)disks->pdata[0])->target, ==, "vdc");
	g_ptr_array_unref(disks);

	for (int name = 'b'; name < 'z'; name++)
		g_string_append_printf(laughs, "<!ENTITY %c '&%c;&%c;&%c;&%c;'>", name, name - 1,
				       name - 1, name - 1, name - 1);
	g_string_append(laughs, "]><domain type='&y;'><devices>&y;</devices></domain>");
	domain_traits_read(laughs->str, &traits);
	g_assert_false(traits.container);
	expect_error(laughs->str, VIRT_ERROR_NO_ROOT_DISK, "no disk");
	domain_traits_read("<!DOCTYPE d [<!ENTITY a 'lxc'>]><domain type='&a;'/>", &traits);
	g_assert_false(traits.container);

	while (large->len < (size_t)5 * 1024 * 1024)
		g_string_append(large, "<a>aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa</a>");
	g_string_append(large, "</domain>");
	domain_traits_read(large->str, &traits);
	g_assert_false(traits.container);
}

#define CONTAINER                                                                                  \
	"<domain type='lxc'><devices><filesystem type='mount'><source dir='/i/uuid/rootfs'/>"      \
	"<target dir='/'/></filesystem></devices></domain>"

static void test_container(void)
{
	g_autoptr(GError) error = NULL;
	struct disk *disk = root_disk_find_of_container(CONTAINER, "raw", NULL);

	g_assert_nonnull(disk);
	g_assert_cmpstr(disk_top(disk)->path, ==, "/i/uuid/disk");
	g_assert_cmpstr(disk_top(disk)->format, ==, "raw");
	disk_free(disk);
	g_assert_null(root_disk_find_of_container("<domain type='lxc'><devices><filesystem><source "
						  "dir='/elsewhere'/><target dir='/'/></filesystem>"
						  "</devices></domain>",
						  "raw", &error));
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_NO_ROOT_DISK);
}

static void test_traits(void)
{
	struct domain_traits traits;
	GPtrArray *disks;

	domain_traits_read(DOMAIN("<hostdev mode='subsystem' type='pci'/>"), &traits);
	g_assert_true(traits.host_devices);
	domain_traits_read(DOMAIN("<interface type='hostdev'/>"), &traits);
	g_assert_true(traits.host_devices);
	domain_traits_read(DOMAIN("<interface type='bridge'/>"), &traits);
	g_assert_false(traits.host_devices || traits.container);
	domain_traits_read("no xml", &traits);
	g_assert_false(traits.host_devices || traits.container);

	disks = domain_disks(
		DOMAIN("<disk type='file'><source file='/a'/><target dev='vda'/></disk>"
		       "<disk type='file'><source file='/b'/><target dev='vdb'/>"
		       "<serial>volume</serial></disk>"));
	g_assert_cmpuint(disks->len, ==, 2);
	g_assert_null(((struct domain_disk *)disks->pdata[0])->serial);
	g_assert_cmpstr(((struct domain_disk *)disks->pdata[1])->serial, ==, "volume");
	g_assert_cmpstr(((struct domain_disk *)disks->pdata[1])->file, ==, "/b");
	g_assert_cmpstr(((struct domain_disk *)disks->pdata[1])->target, ==, "vdb");
	g_ptr_array_unref(disks);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/root-disk/chain", test_chain);
	g_test_add_func("/root-disk/first", test_first_disk);
	g_test_add_func("/root-disk/by-target", test_by_target);
	g_test_add_func("/root-disk/refusals", test_refusals);
	g_test_add_func("/root-disk/rbd", test_rbd);
	g_test_add_func("/root-disk/odd-xml", test_odd_xml);
	g_test_add_func("/root-disk/container", test_container);
	g_test_add_func("/root-disk/traits", test_traits);
	return g_test_run();
}
