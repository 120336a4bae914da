/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Telling the root disk and its chain from a domain's XML.
 */
#include <string.h>

#include "virt/internal.h"

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

static void test_root_is_told(void)
{
	struct disk *disk = disk_find_root(DOMAIN(CDROM CONFIG SWAP ROOT SECOND), NULL, NULL);
	g_autofree char *name = NULL;

	g_assert_nonnull(disk);
	g_assert_cmpstr(disk->target, ==, "vdc");
	g_assert_cmpuint(disk->layers->len, ==, 2);
	g_assert_true(disk->complete);
	name = disk_json_name(disk, 0);
	g_assert_cmpstr(
		name, ==,
		"json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":"
		"\"/i/u/disk\"},\"backing\":{\"driver\":\"raw\",\"file\":{\"driver\":\"file\","
		"\"filename\":\"/b/base\"}}}");
	disk_free(disk);
}

static void test_root_device_name_wins(void)
{
	struct disk *disk = disk_find_root(DOMAIN(ROOT SECOND), "/dev/vdd", NULL);
	g_autofree char *name = disk_json_name(disk, 0);

	g_assert_cmpstr(disk->target, ==, "vdd");
	g_assert_nonnull(strstr(name, "host_device"));
	disk_free(disk);
	disk = disk_find_root(DOMAIN(ROOT SECOND), "/dev/sdz", NULL);
	g_assert_cmpstr(disk->target, ==, "vdc");
	disk_free(disk);
}

static void expect_error(const char *xml, int code, const char *words)
{
	g_autoptr(GError) error = NULL;

	g_assert_null(disk_find_root(xml, NULL, &error));
	g_assert_error(error, VIRT_ERROR, code);
	if (!strstr(error->message, words))
		g_error("\"%s\" does not say \"%s\"", error->message, words);
}

static void test_refusals(void)
{
	expect_error(DOMAIN(CDROM CONFIG), VIRT_ERROR_NO_ROOT_DISK, "no disk");
	expect_error("no xml", VIRT_ERROR_NO_ROOT_DISK, "no disk");
	expect_error(DOMAIN("<disk type='network' device='disk'><driver type='raw'/><source "
			    "protocol='rbd' name='x'/><target dev='vda'/></disk>"),
		     VIRT_ERROR_UNSUPPORTED, "neither a file nor a block device");
	expect_error(
		DOMAIN("<disk type='file' device='disk'><driver type='qcow2'/><source "
		       "file='/x'><encryption format='luks'/></source><target dev='vda'/></disk>"),
		VIRT_ERROR_UNSUPPORTED, "encrypted");
	expect_error(DOMAIN("<disk type='file' device='disk'><source file='/x'/><target "
			    "dev='vda'/></disk>"),
		     VIRT_ERROR_UNSUPPORTED, "never probed");
	expect_error(DOMAIN("<disk type='file' device='disk'><driver type='parallels'/><source "
			    "file='/x'/><target dev='vda'/></disk>"),
		     VIRT_ERROR_UNSUPPORTED, "parallels");
}

/* libvirt writes none of this. */
static void test_odd_xml(void)
{
	static const char devices[] =
		DOMAIN("<disk type='file'><target dev=''/></disk><disk type='file'><target/></disk>"
		       "<disk type='file'><target dev=''/><target dev='vdx'/></disk>" ROOT);
	g_autoptr(GString) laughs = g_string_new("<!DOCTYPE d [<!ENTITY a 'ha'>");
	g_autoptr(GString) large = g_string_new("<domain type='lxc'>");
	struct domain_facts facts;
	GPtrArray *disks = domain_disks(devices);

	g_assert_cmpuint(disks->len, ==, 1);
	g_assert_cmpstr(((const struct domain_disk *)disks->pdata[0])->target, ==, "vdc");
	g_ptr_array_unref(disks);

	for (int name = 'b'; name < 'z'; name++)
		g_string_append_printf(laughs, "<!ENTITY %c '&%c;&%c;&%c;&%c;'>", name, name - 1,
				       name - 1, name - 1, name - 1);
	g_string_append(laughs, "]><domain type='&y;'><devices>&y;</devices></domain>");
	domain_facts_read(laughs->str, &facts);
	g_assert_false(facts.container);
	expect_error(laughs->str, VIRT_ERROR_NO_ROOT_DISK, "no disk");
	domain_facts_read("<!DOCTYPE d [<!ENTITY a 'lxc'>]><domain type='&a;'/>", &facts);
	g_assert_false(facts.container);

	while (large->len < (size_t)5 * 1024 * 1024)
		g_string_append(large, "<a>aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa</a>");
	g_string_append(large, "</domain>");
	domain_facts_read(large->str, &facts);
	g_assert_false(facts.container);
}

static void test_methods(void)
{
	g_autoptr(GError) error = NULL;

	g_assert_true(method_find("rebase", true, NULL) == &method_rebase);
	g_assert_true(method_find("extract", false, NULL) == &method_extract);
	g_assert_null(method_find("extract", true, &error));
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_CONFIG);
	g_assert_nonnull(strstr(error->message, "rebase"));
}

#define FILE_DISK(path, format)                                                                    \
	DOMAIN("<disk type='file' device='disk'><driver type='" format "'/><source file='" path    \
	       "'/><target dev='vda'/></disk>")
#define BLOCK_DISK                                                                                 \
	DOMAIN("<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/vg/i_disk'" \
	       "/><target dev='vda'/></disk>")
#define CONTAINER                                                                                  \
	"<domain type='lxc'><devices><filesystem type='mount'><source dir='/i/uuid/rootfs'/>"      \
	"<target dir='/'/></filesystem></devices></domain>"

static const char *chosen(const char *xml, int state, bool disabled, const char **ret_format)
{
	struct virt_config config = {.live_method = "rebase",
				     .cold_method = "extract",
				     .disable_livesnapshot = disabled,
				     .container_format = "qcow2"};
	struct domain_facts facts;
	struct disk *disk;
	const struct snapshot_method *method;

	domain_facts_read(xml, &facts);
	disk = facts.container ? disk_find_container(xml, config.container_format, NULL)
			       : disk_find_root(xml, NULL, NULL);
	g_assert_nonnull(disk);
	method = method_choose(&config, &facts, disk, state, NULL);
	g_assert_nonnull(method);
	*ret_format = g_intern_string(format_choose(&config, disk));
	disk_free(disk);
	return method->name;
}

static void expect_choice(const char *xml, int state, bool disabled, const char *method,
			  const char *format)
{
	const char *got_format;
	const char *got = chosen(xml, state, disabled, &got_format);

	g_assert_cmpstr(got, ==, method);
	g_assert_cmpstr(got_format, ==, format);
}

static void test_choice(void)
{
	const char *file = FILE_DISK("/i/disk", "qcow2");

	expect_choice(file, VIR_DOMAIN_RUNNING, false, "rebase", "qcow2");
	expect_choice(file, VIR_DOMAIN_PAUSED, false, "rebase", "qcow2");
	expect_choice(file, VIR_DOMAIN_SHUTOFF, false, "extract", "qcow2");
	expect_choice(file, VIR_DOMAIN_CRASHED, false, "extract", "qcow2");
	expect_choice(file, VIR_DOMAIN_RUNNING, true, "extract", "qcow2");
	expect_choice(FILE_DISK("/i/disk", "raw"), VIR_DOMAIN_RUNNING, false, "rebase", "raw");
	expect_choice(BLOCK_DISK, VIR_DOMAIN_RUNNING, false, "extract", "raw");
	expect_choice(CONTAINER, VIR_DOMAIN_RUNNING, false, "extract", "qcow2");
}

static const struct snapshot_method *choose_stream(const char *xml, int state, const char *format,
						   bool compress)
{
	struct virt_config config = {.live_method = "stream",
				     .cold_method = "stream",
				     .snapshot_image_format = format,
				     .snapshot_compression = compress};
	struct domain_facts facts;
	struct disk *disk;
	const struct snapshot_method *method;

	domain_facts_read(xml, &facts);
	disk = facts.container ? disk_find_container(xml, "qcow2", NULL)
			       : disk_find_root(xml, NULL, NULL);
	method = method_choose(&config, &facts, disk, state, NULL);
	disk_free(disk);
	return method;
}

static void test_choice_of_stream(void)
{
	const char *file = FILE_DISK("/i/disk", "qcow2");

	g_assert_true(choose_stream(file, VIR_DOMAIN_RUNNING, NULL, false) == &method_stream_live);
	g_assert_true(choose_stream(file, VIR_DOMAIN_PAUSED, "raw", false) == &method_stream_live);
	g_assert_true(choose_stream(file, VIR_DOMAIN_SHUTOFF, NULL, false) == &method_stream_cold);
	g_assert_true(choose_stream(BLOCK_DISK, VIR_DOMAIN_SHUTOFF, NULL, false) ==
		      &method_stream_cold);
	g_assert_true(choose_stream(file, VIR_DOMAIN_RUNNING, NULL, true) == &method_stream_live);
	/* What no stream can make is staged; a guest that would have to be saved comes back first.
	 */
	g_assert_true(choose_stream(file, VIR_DOMAIN_RUNNING, "vmdk", false) == &method_rebase);
	g_assert_true(choose_stream(file, VIR_DOMAIN_SHUTOFF, "vdi", false) == &method_extract);
	g_assert_true(choose_stream(BLOCK_DISK, VIR_DOMAIN_RUNNING, NULL, false) ==
		      &method_extract);
	g_assert_true(choose_stream(CONTAINER, VIR_DOMAIN_RUNNING, NULL, false) == &method_extract);
}

static void test_container(void)
{
	g_autoptr(GError) error = NULL;
	struct disk *disk = disk_find_container(CONTAINER, "raw", NULL);

	g_assert_nonnull(disk);
	g_assert_cmpstr(disk_top(disk)->path, ==, "/i/uuid/disk");
	g_assert_cmpstr(disk_top(disk)->format, ==, "raw");
	disk_free(disk);
	g_assert_null(disk_find_container("<domain type='lxc'><devices><filesystem><source "
					  "dir='/elsewhere'/><target dir='/'/></filesystem>"
					  "</devices></domain>",
					  "raw", &error));
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_NO_ROOT_DISK);
}

static void test_facts(void)
{
	struct domain_facts facts;
	GPtrArray *disks;

	domain_facts_read(DOMAIN("<hostdev mode='subsystem' type='pci'/>"), &facts);
	g_assert_true(facts.host_devices);
	domain_facts_read(DOMAIN("<interface type='hostdev'/>"), &facts);
	g_assert_true(facts.host_devices);
	domain_facts_read(DOMAIN("<interface type='bridge'/>"), &facts);
	g_assert_false(facts.host_devices || facts.container);
	domain_facts_read("no xml", &facts);
	g_assert_false(facts.host_devices || facts.container);

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

static void test_process(void)
{
	const char *const well[] = {"/bin/sh", "-c", "echo out; echo err >&2", NULL};
	const char *const bad[] = {"/bin/sh", "-c", "echo its own words >&2; exit 3", NULL};
	const char *const slow[] = {"/bin/sleep", "100", NULL};
	const char *const none[] = {"/nonexistent", "x", NULL};
	atomic_int cancel;
	g_autofree char *output = NULL;
	GError *error = NULL;

	g_assert_cmpint(process_run(well, 10, NULL, &output, NULL), ==, 0);
	g_assert_cmpstr(output, ==, "out\n");
	g_assert_cmpint(process_run(bad, 10, NULL, NULL, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS);
	g_assert_nonnull(strstr(error->message, "(3): its own words"));
	g_clear_error(&error);
	g_assert_cmpint(process_run(slow, 1, NULL, NULL, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT);
	g_clear_error(&error);
	atomic_init(&cancel, 1);
	g_assert_cmpint(process_run(slow, 100, &cancel, NULL, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_CANCELLED);
	g_clear_error(&error);
	g_assert_cmpint(process_run(none, 10, NULL, NULL, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS);
	g_clear_error(&error);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/virt/root-is-told", test_root_is_told);
	g_test_add_func("/virt/root-device-name", test_root_device_name_wins);
	g_test_add_func("/virt/refusals", test_refusals);
	g_test_add_func("/virt/odd-xml", test_odd_xml);
	g_test_add_func("/virt/methods", test_methods);
	g_test_add_func("/virt/choice", test_choice);
	g_test_add_func("/virt/choice-of-stream", test_choice_of_stream);
	g_test_add_func("/virt/container", test_container);
	g_test_add_func("/virt/facts", test_facts);
	g_test_add_func("/virt/process", test_process);
	return g_test_run();
}
