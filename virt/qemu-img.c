/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls of qemu-img.
 */
#include "virt/qemu-img.h"

#include <string.h>

#include "virt/process.h"

#define CREATE_TIMEOUT_S 60
/* The time depends on the size of the disk's tables, not on its data. */
#define SNAPSHOT_TIMEOUT_S 600
/* A disk of 8 TiB at 100 MB/s takes a day. */
#define CONVERT_TIMEOUT_S (24 * 3600)

static int run_qemu_img(GPtrArray *argv, unsigned timeout_s, const atomic_int *cancel,
			GError **error)
{
	g_ptr_array_add(argv, NULL);
	return process_run((const char *const *)argv->pdata, timeout_s, cancel, NULL, error);
}

/* The arguments end with NULL. */
static void add_arguments(GPtrArray *argv, const char *const *arguments)
{
	for (; *arguments; arguments++)
		g_ptr_array_add(argv, (char *)*arguments);
}
#define ADD_ARGUMENTS(argv, ...) add_arguments(argv, (const char *const[]){__VA_ARGS__, NULL})

int qemu_img_create_delta(const char *path, uint64_t size, const char *backing_path,
			  const char *backing_format, const atomic_int *cancel, GError **error)
{
	g_autofree char *bytes = g_strdup_printf("%" G_GUINT64_FORMAT, size);
	g_autoptr(GPtrArray) argv = g_ptr_array_new();

	ADD_ARGUMENTS(argv, "qemu-img", "create", "-q", "-f", "qcow2");
	/* -u: the size is known, so qemu-img need not open the backing file. */
	if (backing_path)
		ADD_ARGUMENTS(argv, "-u", "-F", backing_format, "-b", backing_path);
	ADD_ARGUMENTS(argv, "--", path, bytes);
	return run_qemu_img(argv, CREATE_TIMEOUT_S, cancel, error);
}

int qemu_img_snapshot_create(const char *source, const char *name, const atomic_int *cancel,
			     GError **error)
{
	const char *argv[] = {"qemu-img", "snapshot", "-q", "-c", name, "--", source, NULL};

	return process_run(argv, SNAPSHOT_TIMEOUT_S, cancel, NULL, error);
}

int qemu_img_snapshot_delete(const char *source, const char *name, GError **error)
{
	const char *argv[] = {"qemu-img", "snapshot", "-q", "-d", name, "--", source, NULL};

	return process_run(argv, SNAPSHOT_TIMEOUT_S, NULL, NULL, error);
}

int qemu_img_snapshot_exists(const char *source, const char *name, GError **error)
{
	const char *argv[] = {"qemu-img", "snapshot", "-U", "-l", "--", source, NULL};
	g_autofree char *output = NULL;

	if (process_run(argv, SNAPSHOT_TIMEOUT_S, NULL, &output, error) < 0)
		return -1;
	/* The name is random, so it cannot match another part of the table. */
	return strstr(output, name) != NULL;
}

int qemu_img_rebase(const char *path, const char *base, const char *base_format,
		    const atomic_int *cancel, GError **error)
{
	g_autoptr(GPtrArray) argv = g_ptr_array_new();

	ADD_ARGUMENTS(argv, "qemu-img", "rebase", "-f", "qcow2");
	if (base)
		ADD_ARGUMENTS(argv, "-F", base_format);
	ADD_ARGUMENTS(argv, "-b", base ? base : "", "--", path);
	return run_qemu_img(argv, CONVERT_TIMEOUT_S, cancel, error);
}

int qemu_img_convert(const char *source, const char *internal, const char *target,
		     const char *format, const char *compression, const atomic_int *cancel,
		     GError **error)
{
	g_autofree char *chosen = internal ? g_strdup_printf("snapshot.name=%s", internal) : NULL;
	g_autoptr(GPtrArray) argv = g_ptr_array_new();

	ADD_ARGUMENTS(argv, "qemu-img", "convert", "-O", format);
	if (compression && g_str_equal(format, "qcow2"))
		ADD_ARGUMENTS(argv, "-c");
	/* QEMU before 5.1 has only zlib, and not the option. */
	if (compression && g_str_equal(format, "qcow2") && !g_str_equal(compression, "zlib"))
		ADD_ARGUMENTS(argv, "-o", "compression_type=zstd");
	if (chosen)
		ADD_ARGUMENTS(argv, "-l", chosen);
	ADD_ARGUMENTS(argv, "--", source, target);
	return run_qemu_img(argv, CONVERT_TIMEOUT_S, cancel, error);
}
