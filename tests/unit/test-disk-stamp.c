/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stamp of a disk: it changes with each write, and with nothing else. The linker puts the
 * functions below in the place of those that read a device of the kernel's.
 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "virt/domain/disk-stamp.h"
#include "virt/virt.h"

#define DEVICE "/dev/vg/i_disk"
#define AT "/sys/dev/block/252:7/"

__typeof__(stat) __real_stat, __wrap_stat;
__typeof__(g_file_get_contents) __real_g_file_get_contents, __wrap_g_file_get_contents;

/* The files of the device; NULL: none. */
static struct {
	const char *stat, *inflight, *iostats, *diskseq, *parent_iostats, *parent_diskseq;
	bool is_gone;
} fake;

int __wrap_stat(const char *path, struct stat *status)
{
	if (!g_str_equal(path, DEVICE))
		return __real_stat(path, status);
	*status = (struct stat){.st_mode = S_IFBLK | 0660, .st_rdev = makedev(252, 7)};
	return fake.is_gone ? -1 : 0;
}

gboolean __wrap_g_file_get_contents(const char *path, char **text, gsize *length, GError **error)
{
	const struct {
		const char *path, *text;
	} files[] = {{AT "stat", fake.stat},
		     {AT "inflight", fake.inflight},
		     {AT "queue/iostats", fake.iostats},
		     {AT "diskseq", fake.diskseq},
		     {AT "../queue/iostats", fake.parent_iostats},
		     {AT "../diskseq", fake.parent_diskseq}};

	if (!g_str_has_prefix(path, "/sys/"))
		return __real_g_file_get_contents(path, text, length, error);
	for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
		if (g_str_equal(path, files[i].path))
			*text = g_strdup(files[i].text);
	}
	return *text != NULL;
}

static struct disk *make_disk(const char *path)
{
	g_autofree char *xml = g_strdup_printf(
		"<domain><devices><disk type='block'><driver type='raw'/><source dev='%s'/>"
		"<target dev='vda'/></disk></devices></domain>",
		path);
	struct disk *disk = root_disk_find(xml, NULL);

	g_assert_nonnull(disk);
	return disk;
}

static void reset_device(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.stat = "  5 0 40 1   7 0 56 2  0 3 3  1 0 8 0  2 1\n";
	fake.inflight = "       0        0\n";
	fake.iostats = "1\n";
	fake.diskseq = "23\n";
}

static void expect_changed(struct disk *disk, const char *before, bool changed)
{
	g_autofree char *now = disk_stamp_read(disk);
	g_autoptr(GError) error = NULL;

	g_assert_nonnull(now);
	g_assert_cmpint(g_strcmp0(now, before) != 0, ==, changed);
	g_assert_cmpint(disk_stamp_check(disk, before, &error), ==, changed ? -1 : 0);
	if (changed) {
		g_assert_error(error, VIRT_ERROR, VIRT_ERROR_BUSY);
		g_assert_nonnull(strstr(error->message, "another program wrote to " DEVICE));
	}
	reset_device();
}

static void test_device(void)
{
	struct disk *disk = make_disk(DEVICE);
	g_autofree char *before = NULL;

	reset_device();
	g_assert_true(disk_is_device(disk));
	before = disk_stamp_read(disk);
	expect_changed(disk, before, false);
	fake.stat = "  5 0 40 1   8 0 64 2  0 3 3  1 0 8 0  2 1\n"; /* 8 sectors were written */
	expect_changed(disk, before, true);
	fake.stat = "  5 0 40 1   7 0 56 2  0 3 3  2 0 16 0  2 1\n"; /* 8 were discarded */
	expect_changed(disk, before, true);
	fake.stat = "  9 0 99 4   7 0 56 2  1 9 9  1 0 8 0  2 1\n"; /* some were read */
	expect_changed(disk, before, false);
	fake.stat = "  5 0 40 1   8 0 56 2  0 3 3  1 0 8 0  3 1\n"; /* a flush */
	expect_changed(disk, before, false);
	fake.inflight = "  3 0\n"; /* reads */
	expect_changed(disk, before, false);
	fake.inflight = "  0 1\n"; /* a write that is not counted yet */
	expect_changed(disk, before, true);
	fake.diskseq = "24\n"; /* another volume, with the same counts */
	expect_changed(disk, before, true);
	fake.is_gone = true;
	g_assert_null(disk_stamp_read(disk));
	g_assert_cmpint(disk_stamp_check(disk, before, NULL), ==, -1);
	disk_free(disk);
}

/* A partition has a part of them only in the folder of its disk. */
static void test_partition(void)
{
	struct disk *disk = make_disk(DEVICE);
	g_autofree char *before = NULL;

	reset_device();
	fake.parent_iostats = fake.iostats;
	fake.parent_diskseq = fake.diskseq;
	fake.iostats = fake.diskseq = NULL;
	before = disk_stamp_read(disk);
	g_assert_nonnull(before);
	disk_free(disk);
}

static void expect_none(struct disk *disk)
{
	g_autofree char *stamp = disk_stamp_read(disk);

	g_assert_null(stamp);
	/* "Unknown" is not "unchanged". */
	g_assert_cmpint(disk_stamp_check(disk, NULL, NULL), ==, -1);
	reset_device();
}

static void test_no_proof(void)
{
	struct disk *disk = make_disk(DEVICE);

	reset_device();
	fake.iostats = "0\n";
	expect_none(disk);
	fake.iostats = NULL;
	expect_none(disk);
	fake.diskseq = NULL;
	expect_none(disk);
	fake.inflight = NULL;
	expect_none(disk);
	fake.stat = "  5 0 40 1   7 0 56 2  0 3 3\n"; /* a kernel that does not count discards */
	expect_none(disk);
	fake.stat = NULL;
	expect_none(disk);
	disk_free(disk);
}

static void test_file(void)
{
	g_autofree char *folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	g_autofree char *path = g_build_filename(folder, "disk", NULL);
	struct disk *disk = make_disk(path);
	g_autofree char *before = NULL;
	g_autoptr(GError) error = NULL;

	g_assert_null(disk_stamp_read(disk));
	g_assert_true(g_file_set_contents(path, "12345", -1, NULL));
	g_assert_false(disk_is_device(disk));
	before = disk_stamp_read(disk);
	g_assert_cmpint(disk_stamp_check(disk, before, NULL), ==, 0);
	/* As libvirt does with its owner. */
	g_assert_cmpint(g_chmod(path, 0600), ==, 0);
	g_assert_cmpint(g_chmod(path, 0640), ==, 0);
	g_assert_cmpint(disk_stamp_check(disk, before, NULL), ==, 0);
	g_assert_cmpint(truncate(path, 4), ==, 0);
	g_assert_cmpint(disk_stamp_check(disk, before, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_INSTANT_LOST);
	g_assert_cmpint(g_unlink(path), ==, 0);
	g_assert_cmpint(g_rmdir(folder), ==, 0);
	disk_free(disk);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/disk-stamp/device", test_device);
	g_test_add_func("/disk-stamp/partition", test_partition);
	g_test_add_func("/disk-stamp/no-proof", test_no_proof);
	g_test_add_func("/disk-stamp/file", test_file);
	return g_test_run();
}
