/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files of a disk's backing chain that the domain's XML does not list.
 */
#include "virt/domain/disk-chain.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "virt/domain/image-header.h"
#include "virt/process.h"

#define INFO_TIMEOUT_S 60

static bool is_inside_folder(const char *real_path, const char *folder)
{
	char *real_folder = realpath(folder, NULL);
	size_t length = real_folder ? strlen(real_folder) : 0;
	bool inside =
		length > 0 && g_str_has_prefix(real_path, real_folder) && real_path[length] == '/';

	free(real_folder);
	return inside;
}

/* The image's author, who is not trusted, wrote the header. Only files in the image folders may be
 * opened. */
static int check_backing_path(const struct disk *disk, const char *const *dirs, const char *path,
			      GError **error)
{
	g_autofree char *own = g_path_get_dirname(disk_top(disk)->path);
	char *real_path = realpath(path, NULL);
	bool found = real_path && is_inside_folder(real_path, own);
	g_autofree char *why = NULL;

	for (; !found && real_path && dirs && *dirs; dirs++)
		found = is_inside_folder(real_path, *dirs);
	free(real_path);
	if (found)
		return 0;
	why = g_strdup_printf("has the backing file %s, which is missing or in none of "
			      "[novasnap]backing_dirs: it is not opened",
			      path);
	return disk_refuse(disk, why, error);
}

static struct disk_layer *last_layer(const struct disk *disk)
{
	return g_ptr_array_index(disk->layers, disk->layers->len - 1);
}

/* Adds a backing file whose format the overlay does not name (`format` NULL), or names. */
static int add_layer(struct disk *disk, const char *path, const char *format, GError **error)
{
	bool assumed = format == NULL;

	if (assumed)
		format = image_header_detect(path, error);
	if (!format || disk_add_layer(disk, "file", g_strdup(path), g_strdup(format), error) < 0)
		return -1;
	last_layer(disk)->assumed = assumed;
	return 0;
}

/* libvirt does not start such a guest, either: its backing chain could lead anywhere. */
static int refuse_assumed(const struct disk *disk, GError **error)
{
	g_autofree char *why = g_strdup_printf(
		"has the backing file %s, whose format no header names, and which has a backing "
		"file itself: libvirt does not start such a guest; name the format with qemu-img "
		"rebase -u -F FORMAT -b FILE",
		last_layer(disk)->path);

	return disk_refuse(disk, why, error);
}

/* Adds the backing file named in `info`, qemu-img's description of the last layer. */
static int add_backing_file(struct disk *disk, const char *const *dirs, const cJSON *info,
			    bool *ret_added, GError **error)
{
	const cJSON *backing = cJSON_GetObjectItemCaseSensitive(info, "full-backing-filename");
	const cJSON *format = cJSON_GetObjectItemCaseSensitive(info, "backing-filename-format");
	const char *path;

	*ret_added = false;
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(info, "encrypted")))
		return disk_refuse(disk, "has an encrypted file in its chain", error);
	if (!cJSON_IsString(backing))
		backing = cJSON_GetObjectItemCaseSensitive(info, "backing-filename");
	if (!cJSON_IsString(backing))
		return 0;
	if (last_layer(disk)->assumed)
		return refuse_assumed(disk, error);
	path = backing->valuestring;
	if (!g_path_is_absolute(path))
		return disk_refuse(disk,
				   "has a backing file that is not a plain path: it is not opened",
				   error);
	if (check_backing_path(disk, dirs, path, error) < 0)
		return -1;
	*ret_added = true;
	return add_layer(disk, path, cJSON_GetStringValue(format), error);
}

static int check_layer_header(const struct disk *disk, guint layer, GError **error)
{
	const char *why;

	if (image_header_check(g_ptr_array_index(disk->layers, layer), &why, error) < 0)
		return -1;
	return why ? disk_refuse(disk, why, error) : 0;
}

int disk_complete_chain(struct disk *disk, const char *const *dirs, const atomic_int *cancel,
			GError **error)
{
	bool more = !disk->complete;

	/* Ceph's own chain is not QEMU's: no program of QEMU opens it. */
	if (disk_is_rbd(disk))
		return 0;
	for (guint i = 0; i < disk->layers->len; i++) {
		if (check_layer_header(disk, i, error) < 0)
			return -1;
	}
	while (more) {
		const struct disk_layer *last = last_layer(disk);
		const char *argv[] = {"qemu-img",   "info", "--output=json", "-f",
				      last->format, "--",   last->path,	     NULL};
		g_autofree char *output = NULL;
		cJSON *info;
		int rc;

		if (g_str_equal(last->format, "raw"))
			break;
		if (process_run(argv, INFO_TIMEOUT_S, cancel, &output, error) < 0)
			return -1;
		info = cJSON_Parse(output);
		rc = add_backing_file(disk, dirs, info, &more, error);
		cJSON_Delete(info);
		if (rc < 0 || (more && check_layer_header(disk, disk->layers->len - 1, error) < 0))
			return -1;
	}
	disk->complete = true;
	return 0;
}
