/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chains that are refused before any program of QEMU opens them: what their headers name is
 * encrypted, not a file, or not there. qemu-img makes the files.
 */
#include <glib/gstdio.h>
#include <string.h>

#include "virt/domain/disk-chain.h"
#include "virt/process.h"
#include "virt/virt.h"

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

static void run_qemu_img(const char *const *argv)
{
	g_autoptr(GError) error = NULL;

	(void)process_run(argv, 60, NULL, NULL, &error);
	g_assert_no_error(error);
}

/* A qcow2 whose backing file need not exist. */
static void make_top(const struct fixture *fixture, const char *backing, const char *format)
{
	const char *const argv[] = {"qemu-img", "create",     "-q",   "-u", "-f",
				    "qcow2",	"-F",	      format, "-b", backing,
				    "--",	fixture->top, "1M",   NULL};

	run_qemu_img(argv);
}

/* The XML names only the top. */
static void assert_refused(const struct fixture *fixture, const char *words)
{
	g_autofree char *xml = g_strdup_printf(DISK(""), fixture->top);
	struct disk *disk = root_disk_find(xml, NULL);
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(disk_complete_chain(disk, NULL, NULL, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED);
	if (!strstr(error->message, words))
		g_error("the error is \"%s\"", error->message);
	disk_free(disk);
}

static void test_encrypted(struct fixture *fixture, gconstpointer unused)
{
	const char *const argv[] = {
		"qemu-img", "create", "-q", "--object", "secret,id=s,data=secret",
		"-f",	    "qcow2",  "-o", AES,	fixture->base,
		"1M",	    NULL};

	(void)unused;
	run_qemu_img(argv);
	make_top(fixture, fixture->base, "qcow2");
	assert_refused(fixture, "encrypted file in its chain");
}

static void test_not_a_path(struct fixture *fixture, gconstpointer unused)
{
	static const char *const names[] = {
		"json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}",
		"nbd://127.0.0.1/x",
		"nbd:unix:/run/socket",
	};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		make_top(fixture, names[i], "raw");
		assert_refused(fixture, "not a plain path");
	}
}

static void test_missing(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	assert_refused(fixture, "reading the disk's file");
	make_top(fixture, fixture->base, "raw");
	assert_refused(fixture, "is missing or in none");
	/* A format whose files may name other files. */
	g_assert_true(g_file_set_contents(fixture->base, "", 0, NULL));
	make_top(fixture, fixture->base, "vvfat");
	assert_refused(fixture, "its format vvfat is not supported");
}

/* Replaces the extension of the header that names the backing format by one that nobody knows. */
static void forget_backing_format(const char *path)
{
	static const char known[] = "\xe2\x79\x2a\xca", unknown[] = "\x0b\xad\xf0\x0d";
	g_autofree char *bytes = NULL;
	gsize length;
	char *at;

	g_assert_true(g_file_get_contents(path, &bytes, &length, NULL));
	at = memmem(bytes, MIN(length, 4096), known, 4);
	g_assert_nonnull(at);
	memcpy(at, unknown, 4);
	g_assert_true(g_file_set_contents(path, bytes, (gssize)length, NULL));
}

static void make_base(const struct fixture *fixture, const char *format)
{
	const char *const argv[] = {"qemu-img", "create",      "-q", "-f", format,
				    "--",	fixture->base, "1M", NULL};

	(void)g_unlink(fixture->base);
	run_qemu_img(argv);
}

/* What libvirt takes such a backing file for. */
static void test_format_is_not_named(struct fixture *fixture, gconstpointer unused)
{
	static const struct {
		const char *made, *detected;
	} cases[] = {{"raw", "raw"},  {"qcow2", "qcow2"},  {"vmdk", "vmdk"}, {"vdi", "vdi"},
		     {"vhdx", "raw"}, {"parallels", NULL}, {"qed", NULL},    {"qcow", NULL}};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *xml = g_strdup_printf(DISK(""), fixture->top);
		struct disk *disk = root_disk_find(xml, NULL);
		g_autoptr(GError) error = NULL;
		const struct disk_layer *base;

		make_base(fixture, cases[i].made);
		make_top(fixture, fixture->base, "raw");
		forget_backing_format(fixture->top);
		if (cases[i].detected) {
			(void)disk_complete_chain(disk, NULL, NULL, &error);
			g_assert_no_error(error);
			g_assert_cmpuint(disk->layers->len, ==, 2);
			base = g_ptr_array_index(disk->layers, 1);
			g_assert_cmpstr(base->format, ==, cases[i].detected);
			g_assert_true(base->assumed && !disk_top(disk)->assumed);
		} else {
			assert_refused(fixture, "is not supported");
		}
		disk_free(disk);
	}
}

/* Nor does libvirt start such a guest. */
static void test_format_is_not_named_of_a_chain(struct fixture *fixture, gconstpointer unused)
{
	const char *const argv[] = {"qemu-img",	   "create", "-q",  "-u", "-f",
				    "qcow2",	   "-F",     "raw", "-b", "/etc/passwd",
				    fixture->base, "1M",     NULL};

	(void)unused;
	run_qemu_img(argv);
	make_top(fixture, fixture->base, "qcow2");
	forget_backing_format(fixture->top);
	assert_refused(fixture, "whose format no header names");
}

/* The XML names the backing files, too. */
static void test_backing_files_in_the_xml(struct fixture *fixture, gconstpointer unused)
{
	static const struct {
		const char *xml, *words;
	} cases[] = {
		{DISK("<backingStore type='file'><format type='qcow2'/><source file='/b'>"
		      "<encryption format='luks'/></source></backingStore>"),
		 "encrypted backing file"},
		{DISK("<backingStore type='network'><format type='raw'/><source protocol='rbd' "
		      "name='x'/></backingStore>"),
		 "it is a network disk"},
		{DISK("<backingStore type='file'><source file='/b'/></backingStore>"),
		 "does not report its format"},
	};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *xml = g_strdup_printf(cases[i].xml, fixture->top);
		g_autoptr(GError) error = NULL;

		g_assert_null(root_disk_find(xml, &error));
		g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED);
		if (!strstr(error->message, cases[i].words))
			g_error("the error is \"%s\"", error->message);
	}
}

#define TEST(name)                                                                                 \
	g_test_add("/disk-chain/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(encrypted);
	TEST(not_a_path);
	TEST(missing);
	TEST(format_is_not_named);
	TEST(format_is_not_named_of_a_chain);
	TEST(backing_files_in_the_xml);
	return g_test_run();
}
