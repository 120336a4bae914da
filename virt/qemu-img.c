/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calls of qemu-img; every format is named.
 */
#include <string.h>

#include "virt/internal.h"

#define CREATE_TIMEOUT_S 60
/* Its time grows with the tables of the disk, not with its data. */
#define SNAPSHOT_TIMEOUT_S 600
/* A disk of 8 TiB at 100 MB/s takes a day. */
#define CONVERT_TIMEOUT_S (24 * 3600)

int qemu_img_create_delta(const char *path, uint64_t size, const struct disk_layer *backing,
			  const atomic_int *cancel, GError **error)
{
	g_autofree char *bytes = g_strdup_printf("%" G_GUINT64_FORMAT, size);
	g_autoptr(GPtrArray) argv = g_ptr_array_new();

	g_ptr_array_add(argv, (char *)"qemu-img");
	g_ptr_array_add(argv, (char *)"create");
	g_ptr_array_add(argv, (char *)"-q");
	g_ptr_array_add(argv, (char *)"-f");
	g_ptr_array_add(argv, (char *)"qcow2");
	if (backing) {
		/* -u: the size is known, so there is no need to open it. */
		g_ptr_array_add(argv, (char *)"-u");
		g_ptr_array_add(argv, (char *)"-F");
		g_ptr_array_add(argv, backing->format);
		g_ptr_array_add(argv, (char *)"-b");
		g_ptr_array_add(argv, backing->path);
	}
	g_ptr_array_add(argv, (char *)"--");
	g_ptr_array_add(argv, (char *)path);
	g_ptr_array_add(argv, bytes);
	g_ptr_array_add(argv, NULL);
	return process_run((const char *const *)argv->pdata, CREATE_TIMEOUT_S, cancel, NULL, error);
}

int qemu_img_snapshot(const char *source, bool create, const char *name, const atomic_int *cancel,
		      GError **error)
{
	const char *argv[] = {"qemu-img", "snapshot", "-q",   create ? "-c" : "-d",
			      name,	  "--",	      source, NULL};

	return process_run(argv, SNAPSHOT_TIMEOUT_S, cancel, NULL, error);
}

int qemu_img_has_snapshot(const char *source, const char *name, GError **error)
{
	const char *argv[] = {"qemu-img", "snapshot", "-U", "-l", "--", source, NULL};
	g_autofree char *output = NULL;

	if (process_run(argv, SNAPSHOT_TIMEOUT_S, NULL, &output, error) < 0)
		return -1;
	/* Our names are random, so that no other can be a part of the table by chance. */
	return strstr(output, name) != NULL;
}

int qemu_img_rebase(const char *path, const struct disk_layer *base, const atomic_int *cancel,
		    GError **error)
{
	g_autoptr(GPtrArray) argv = g_ptr_array_new();

	g_ptr_array_add(argv, (char *)"qemu-img");
	g_ptr_array_add(argv, (char *)"rebase");
	g_ptr_array_add(argv, (char *)"-f");
	g_ptr_array_add(argv, (char *)"qcow2");
	if (base) {
		g_ptr_array_add(argv, (char *)"-F");
		g_ptr_array_add(argv, base->format);
	}
	g_ptr_array_add(argv, (char *)"-b");
	g_ptr_array_add(argv, base ? base->path : (char *)"");
	g_ptr_array_add(argv, (char *)"--");
	g_ptr_array_add(argv, (char *)path);
	g_ptr_array_add(argv, NULL);
	return process_run((const char *const *)argv->pdata, CONVERT_TIMEOUT_S, cancel, NULL,
			   error);
}

int qemu_img_convert(const char *source, const char *internal, const char *target,
		     const char *format, bool compress, const atomic_int *cancel, GError **error)
{
	g_autofree char *chosen = internal ? g_strdup_printf("snapshot.name=%s", internal) : NULL;
	g_autoptr(GPtrArray) argv = g_ptr_array_new();

	g_ptr_array_add(argv, (char *)"qemu-img");
	g_ptr_array_add(argv, (char *)"convert");
	g_ptr_array_add(argv, (char *)"-O");
	g_ptr_array_add(argv, (char *)format);
	if (compress && g_str_equal(format, "qcow2"))
		g_ptr_array_add(argv, (char *)"-c");
	if (chosen) {
		g_ptr_array_add(argv, (char *)"-l");
		g_ptr_array_add(argv, chosen);
	}
	g_ptr_array_add(argv, (char *)"--");
	g_ptr_array_add(argv, (char *)source);
	g_ptr_array_add(argv, (char *)target);
	g_ptr_array_add(argv, NULL);
	return process_run((const char *const *)argv->pdata, CONVERT_TIMEOUT_S, cancel, NULL,
			   error);
}
