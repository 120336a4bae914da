/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk as a QEMU json: filename.
 */
#include "virt/domain/disk-filename.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define JSON_PREFIX "json:"

static cJSON *build_layers(const struct disk *disk, guint from)
{
	const struct disk_layer *layer;
	cJSON *node, *file;

	if (from >= disk->layers->len)
		return cJSON_CreateNull();
	layer = g_ptr_array_index(disk->layers, from);
	node = cJSON_CreateObject();
	cJSON_AddStringToObject(node, "driver", layer->format);
	file = cJSON_AddObjectToObject(node, "file");
	cJSON_AddStringToObject(file, "driver", layer->block ? "host_device" : "file");
	cJSON_AddStringToObject(file, "filename", layer->path);
	/* A JSON null: QEMU then does not open the backing file named in the header. */
	if (g_str_equal(layer->format, "qcow2") || g_str_equal(layer->format, "vmdk"))
		cJSON_AddItemToObject(node, "backing", build_layers(disk, from + 1));
	return node;
}

/* Takes ownership of `node`. */
static char *print_filename(cJSON *node)
{
	char *text = cJSON_PrintUnformatted(node);
	char *filename = g_strconcat(JSON_PREFIX, text, NULL);

	cJSON_free(text);
	cJSON_Delete(node);
	return filename;
}

char *disk_json_filename(const struct disk *disk, guint from)
{
	return print_filename(build_layers(disk, from));
}

/* The disk is read at most twice, so caching it would only evict the data of other processes. */
bool disk_supports_direct(const struct disk *disk)
{
	for (guint i = 0; i < disk->layers->len; i++) {
		const struct disk_layer *layer = g_ptr_array_index(disk->layers, i);
		int fd = open(layer->path, O_RDONLY | O_DIRECT | O_CLOEXEC);

		if (fd < 0)
			return false;
		(void)close(fd);
	}
	return true;
}

char *disk_json_filename_shared(const struct disk *disk, bool direct)
{
	cJSON *node = build_layers(disk, 0);

	cJSON_AddTrueToObject(node, "force-share");
	if (direct && disk_supports_direct(disk)) {
		cJSON_AddTrueToObject(cJSON_AddObjectToObject(node, "cache"), "direct");
		for (cJSON *at = node; cJSON_IsObject(at);
		     at = cJSON_GetObjectItemCaseSensitive(at, "backing"))
			cJSON_AddStringToObject(cJSON_GetObjectItemCaseSensitive(at, "file"), "aio",
						"native");
	}
	return print_filename(node);
}

char *disk_json_filename_over(const struct disk *disk, guint from, const char *qcow2)
{
	cJSON *node = cJSON_CreateObject();
	cJSON *file;

	cJSON_AddStringToObject(node, "driver", "qcow2");
	file = cJSON_AddObjectToObject(node, "file");
	cJSON_AddStringToObject(file, "driver", "file");
	cJSON_AddStringToObject(file, "filename", qcow2);
	cJSON_AddItemToObject(node, "backing", build_layers(disk, from));
	return print_filename(node);
}

bool disk_json_filename_is_gone(const char *filename)
{
	cJSON *node = g_str_has_prefix(filename, JSON_PREFIX)
			      ? cJSON_Parse(filename + strlen(JSON_PREFIX))
			      : NULL;
	const cJSON *file = cJSON_GetObjectItemCaseSensitive(node, "file");
	const char *path =
		node ? cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(file, "filename"))
		     : filename;
	bool gone = path && access(path, F_OK) < 0 && errno == ENOENT;

	cJSON_Delete(node);
	return gone;
}
