/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chains that are refused before any program of QEMU opens them for good: what their headers name
 * is encrypted, no file, or not there. The files are made by qemu-img.
 */
#include <glib/gstdio.h>
#include <string.h>

#include "virt/internal.h"

#define DISK(backing)                                                                              \
	"<domain><devices><disk type='file' device='disk'><driver type='qcow2'/>"                  \
	"<source file='%s'/>" backing "<target dev='vda'/></disk></devices></domain>"
#define AES "encrypt.format=aes,encrypt.key-secret=s"

struct fixture {
	char *folder, *top, *base;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture->folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	fixture->top = g_build_filename(fixture->folder, "top", NULL);
	fixture->base = g_build_filename(fixture->folder, "base", NULL);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	(void)g_unlink(fixture->top);
	(void)g_unlink(fixture->base);
	g_assert_cmpint(g_rmdir(fixture->folder), ==, 0);
	g_free(fixture->folder);
	g_free(fixture->top);
	g_free(fixture->base);
}

static void run(const char *const *argv)
{
	g_autoptr(GError) error = NULL;

	(void)process_run(argv, 60, NULL, NULL, &error);
	g_assert_no_error(error);
}

/* A qcow2 that names another file, which need not be there. */
static void make_top(const struct fixture *fixture, const char *backing, const char *format)
{
	const char *const argv[] = {"qemu-img", "create",     "-q",   "-u", "-f",
				    "qcow2",	"-F",	      format, "-b", backing,
				    "--",	fixture->top, "1M",   NULL};

	run(argv);
}

/* What libvirt tells is merely the top. */
static void is_refused(const struct fixture *fixture, const char *words)
{
	g_autofree char *xml = g_strdup_printf(DISK(""), fixture->top);
	struct disk *disk = disk_find_root(xml, NULL, NULL);
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(disk_complete_chain(disk, NULL, NULL, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED);
	if (!strstr(error->message, words))
		g_error("it says \"%s\"", error->message);
	disk_free(disk);
}

static void test_encrypted(struct fixture *fixture, gconstpointer unused)
{
	const char *const argv[] = {
		"qemu-img", "create", "-q", "--object", "secret,id=s,data=secret",
		"-f",	    "qcow2",  "-o", AES,	fixture->base,
		"1M",	    NULL};

	(void)unused;
	run(argv);
	make_top(fixture, fixture->base, "qcow2");
	is_refused(fixture, "encrypted file in its chain");
}

static void test_no_path(struct fixture *fixture, gconstpointer unused)
{
	static const char *const names[] = {
		"json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}",
		"nbd://127.0.0.1/x",
		"nbd:unix:/run/socket",
	};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		make_top(fixture, names[i], "raw");
		is_refused(fixture, "no plain path");
	}
}

static void test_missing(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	is_refused(fixture, "reading the disk's file");
	make_top(fixture, fixture->base, "raw");
	is_refused(fixture, "is missing or lies in none");
	/* Of a format that names yet other files. */
	g_assert_true(g_file_set_contents(fixture->base, "", 0, NULL));
	make_top(fixture, fixture->base, "vvfat");
	is_refused(fixture, "its format is not supported");
}

/* What libvirt's XML says of the files below. */
static void test_told(struct fixture *fixture, gconstpointer unused)
{
	static const struct {
		const char *xml, *words;
	} told[] = {
		{DISK("<backingStore type='file'><format type='qcow2'/><source file='/b'>"
		      "<encryption format='luks'/></source></backingStore>"),
		 "encrypted backing file"},
		{DISK("<backingStore type='network'><format type='raw'/><source protocol='rbd' "
		      "name='x'/></backingStore>"),
		 "neither a file nor a block device"},
		{DISK("<backingStore type='file'><source file='/b'/></backingStore>"),
		 "never probed"},
	};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(told); i++) {
		g_autofree char *xml = g_strdup_printf(told[i].xml, fixture->top);
		g_autoptr(GError) error = NULL;

		g_assert_null(disk_find_root(xml, NULL, &error));
		g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED);
		if (!strstr(error->message, told[i].words))
			g_error("it says \"%s\"", error->message);
	}
}

/* One into a network disk is somebody's too. */
static void test_block_job_without_a_file(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *xml = g_strdup_printf(
		DISK("<mirror type='network'><source protocol='nbd' name='x'/></mirror>"),
		fixture->top);
	struct disk *disk = disk_find_root(xml, NULL, NULL);

	(void)unused;
	g_assert_nonnull(disk->mirror);
	disk_free(disk);
}

#define TEST(name) g_test_add("/chain/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(encrypted);
	TEST(no_path);
	TEST(missing);
	TEST(told);
	TEST(block_job_without_a_file);
	return g_test_run();
}
