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

static void test_methods(void)
{
	g_autoptr(GError) error = NULL;

	g_assert_true(method_find("rebase", true, NULL) == &method_rebase);
	g_assert_true(method_find("extract", false, NULL) == &method_extract);
	g_assert_null(method_find("extract", true, &error));
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_CONFIG);
	g_assert_nonnull(strstr(error->message, "rebase"));
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
	g_test_add_func("/virt/methods", test_methods);
	g_test_add_func("/virt/process", test_process);
	return g_test_run();
}
