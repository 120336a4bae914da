/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The room that a snapshot asks for: by what the files of the disk take on the host, and beside
 * what other streams may still take.
 */
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/unit/host.h"
#include "virt/method/room.h"

#define MIB ROOM_MIB
#define TIB (MIB << 20)

static uint64_t free_bytes; /* of each filesystem */

__typeof__(statvfs) __real_statvfs, __wrap_statvfs;

int __wrap_statvfs(const char *path, struct statvfs *fs)
{
	int rc = __real_statvfs(path, fs);

	fs->f_bavail = free_bytes / fs->f_frsize;
	return rc;
}

static char *make_file(const struct host *host, const char *name, uint64_t size, uint64_t data)
{
	char *path = g_build_filename(host->tmp, name, NULL);
	g_autofree char *content = g_malloc0(data);

	memset(content, 'x', data);
	g_assert_true(g_file_set_contents(path, content, (gssize)data, NULL));
	if (size > data)
		g_assert_cmpint(truncate(path, (off_t)size), ==, 0);
	return path;
}

static struct disk *make_disk(const char *top, const char *base)
{
	g_autofree char *store =
		g_strdup_printf("<backingStore type='file'><format type='raw'/>"
				"<source file='%s'/><backingStore/></backingStore>",
				base ? base : "");
	g_autofree char *xml = g_strdup_printf(
		"<domain><devices><disk type='file'><driver type='qcow2'/><source file='%s'/>"
		"%s<target dev='vda'/></disk></devices></domain>",
		top, base ? store : "<backingStore/>");
	struct disk *disk = root_disk_find(xml, NULL);

	g_assert_nonnull(disk);
	return disk;
}

/* A thin disk takes little, however large it is. */
static void test_allocated(void)
{
	struct host host = {.tmp = g_dir_make_tmp("novasnap-test-XXXXXX", NULL)};
	g_autofree char *top = make_file(&host, "top", 7 * TIB, 2 * MIB);
	g_autofree char *base = make_file(&host, "base", 0, 3 * MIB);
	struct disk *thin = make_disk(top, NULL);
	struct disk *chain = make_disk(top, base);
	struct disk *unknown = make_disk(top, "/nonexistent");
	struct disk *device = make_disk("/dev/null", NULL);

	g_assert_cmpuint(room_allocated(thin, 7 * TIB), >=, 2 * MIB);
	g_assert_cmpuint(room_allocated(thin, 7 * TIB), <, 3 * MIB);
	g_assert_cmpuint(room_allocated(chain, 7 * TIB), >=, 5 * MIB);
	g_assert_cmpuint(room_allocated(chain, 7 * TIB), <, 6 * MIB);
	g_assert_cmpuint(room_allocated_top(chain, 7 * TIB), <, 3 * MIB);
	/* No more than the disk. */
	g_assert_cmpuint(room_allocated(chain, MIB), ==, MIB);
	/* Unknown is not nothing. */
	g_assert_cmpuint(room_allocated(unknown, 7 * TIB), ==, 7 * TIB);
	g_assert_cmpuint(room_allocated(device, TIB), ==, TIB);
	chain->complete = false;
	g_assert_cmpuint(room_allocated(chain, 7 * TIB), ==, 7 * TIB);
	disk_free(thin);
	disk_free(chain);
	disk_free(unknown);
	disk_free(device);
	(void)g_unlink(top);
	(void)g_unlink(base);
	g_assert_cmpint(g_rmdir(host.tmp), ==, 0);
	g_free(host.tmp);
}

static struct scratch_claim *claim(struct host *host, const char *scratch, uint64_t data,
				   const char *words)
{
	g_autoptr(GError) error = NULL;
	struct scratch_claim *claim = scratch_claim_new(host->virt, scratch, data, &error);

	if (words) {
		g_assert_null(claim);
		g_assert_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS);
		host_assert_message(error, words);
	} else {
		g_assert_no_error(error);
	}
	return claim;
}

static void test_claims(void)
{
	struct host host;
	struct scratch_claim *first, *second;
	g_autoptr(GError) error = NULL;
	g_autofree char *scratch = NULL;

	host_open(&host);
	host.config.scratch_dir = host.tmp;
	host.config.scratch_percent = 50;
	host.config.scratch_reserve_mib = 10;
	free_bytes = 59 * MIB;
	(void)claim(&host, "/a", 100 * MIB, "59 MiB free, but 60 MiB are needed");
	free_bytes = 60 * MIB;
	first = claim(&host, "/a", 100 * MIB, NULL);
	/* The first stream may still take its 50 MiB. */
	(void)claim(&host, "/b", 2 * MIB, "60 MiB free, but 61 MiB are needed");
	(void)claim(&host, "/b", 2 * MIB, "50 MiB for other streams");
	free_bytes = 61 * MIB;
	second = claim(&host, "/b", 2 * MIB, NULL);
	scratch_claim_free(second);
	scratch_claim_free(first);
	/* What a stream has taken is no longer free, and is not counted twice. */
	scratch = make_file(&host, "scratch", 0, 40 * MIB);
	free_bytes = 100 * MIB;
	first = claim(&host, scratch, 100 * MIB, NULL);
	free_bytes = 60 * MIB;
	second = claim(&host, "/b", 79 * MIB, NULL);
	scratch_claim_free(second);
	(void)claim(&host, "/b", 82 * MIB, "but 61 MiB are needed");
	scratch_claim_free(first);
	(void)g_unlink(scratch);
	host.config.scratch_dir = "/nonexistent/scratch";
	g_assert_null(scratch_claim_new(host.virt, "/a", 0, &error));
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FAILED);
	host_close(&host);
}

static void test_free(void)
{
	free_bytes = 5 * MIB;
	g_assert_cmpint(room_free("/"), ==, 5 * MIB);
	/* It is created later. */
	g_assert_cmpint(room_free("/nonexistent/folder"), ==, 5 * MIB);
	g_assert_cmpint(room_free("/dev/null/folder"), ==, -1);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/room/allocated", test_allocated);
	g_test_add_func("/room/claims", test_claims);
	g_test_add_func("/room/free", test_free);
	return g_test_run();
}
