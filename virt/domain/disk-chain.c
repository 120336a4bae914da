/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The root disk in a domain's XML, and the chain of files below it. Formats come from the XML, or
 * from the header of the file above; nothing is ever probed, for a guest can write any header it
 * likes.
 */
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "virt/internal.h"

#define MAX_LAYERS 200
#define INFO_TIMEOUT_S 60

static void layer_free(gpointer data)
{
	struct disk_layer *layer = data;

	g_free(layer->path);
	g_free(layer->format);
	g_free(layer);
}

void disk_free(struct disk *disk)
{
	if (!disk)
		return;
	g_free(disk->target);
	g_free(disk->mirror);
	g_ptr_array_unref(disk->layers);
	g_free(disk);
}

struct disk_layer *disk_top(const struct disk *disk)
{
	return g_ptr_array_index(disk->layers, 0);
}

static xmlNode *child(const xmlNode *node, const char *name)
{
	for (xmlNode *at = node ? node->children : NULL; at; at = at->next) {
		if (at->type == XML_ELEMENT_NODE && g_str_equal((const char *)at->name, name))
			return at;
	}
	return NULL;
}

static char *attribute(const xmlNode *node, const char *name)
{
	xmlChar *value = node ? xmlGetProp(node, (const xmlChar *)name) : NULL;
	char *copy = g_strdup((const char *)value);

	xmlFree(value);
	return copy;
}

/* nova's names of the disks that are no root disk (nova.virt.libvirt.blockinfo). */
static bool is_auxiliary(const char *path)
{
	static const char *const prefixes[] = {"disk.config", "disk.local", "disk.eph", "disk.swap",
					       "disk.rescue"};
	g_autofree char *base = path ? g_path_get_basename(path) : NULL;

	for (size_t i = 0; base && i < G_N_ELEMENTS(prefixes); i++) {
		if (g_str_has_prefix(base, prefixes[i]) ||
		    (strchr(base, '_') && g_str_has_prefix(strrchr(base, '_') + 1, prefixes[i])))
			return true;
	}
	return false;
}

static char *source_path(const xmlNode *disk, const char *type)
{
	const xmlNode *source = child(disk, "source");

	if (g_strcmp0(type, "file") == 0)
		return attribute(source, "file");
	if (g_strcmp0(type, "block") == 0)
		return attribute(source, "dev");
	return NULL;
}

static bool may_be_root(const xmlNode *node)
{
	g_autofree char *device = attribute(node, "device");
	g_autofree char *type = attribute(node, "type");
	g_autofree char *path = source_path(node, type);

	if (device && !g_str_equal(device, "disk") && !g_str_equal(device, "lun"))
		return false;
	return !is_auxiliary(path);
}

static int refuse(GError **error, const char *target, const char *why)
{
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED, "the root disk %s %s", target, why);
	return -1;
}

/* Formats whose files name no others, or whose others are told here. */
static bool is_known_format(const char *format)
{
	static const char *const formats[] = {"raw", "qcow2", "vmdk", "vdi", "vpc", "vhdx", NULL};

	return g_strv_contains(formats, format);
}

static int add_layer(struct disk *disk, const char *type, char *path, char *format, GError **error)
{
	struct disk_layer *layer;
	bool known = g_strcmp0(type, "file") == 0 || g_strcmp0(type, "block") == 0;
	bool below = disk->layers->len > 0;

	if (!known || !path || !format || (below && !is_known_format(format)) ||
	    disk->layers->len >= MAX_LAYERS) {
		g_autofree char *why = g_strdup_printf(
			"%s: %s",
			below ? "has a backing file that cannot be used" : "cannot be used",
			!known	  ? "it is neither a file nor a block device (network disks are "
				    "not supported yet)"
			: !path	  ? "it has no source"
			: !format ? "libvirt does not name its format, and it is never probed"
			: below && !is_known_format(format) ? "its format is not supported"
							    : "its chain is too long");
		g_free(path);
		g_free(format);
		return refuse(error, disk->target, why);
	}
	layer = g_new0(struct disk_layer, 1);
	layer->path = path;
	layer->format = format;
	layer->block = g_str_equal(type, "block");
	g_ptr_array_add(disk->layers, layer);
	return 0;
}

static int read_chain(struct disk *disk, const xmlNode *node, GError **error)
{
	const xmlNode *store;
	g_autofree char *type = attribute(node, "type");

	if (add_layer(disk, type, source_path(node, type), attribute(child(node, "driver"), "type"),
		      error) < 0)
		return -1;
	for (store = child(node, "backingStore"); store; store = child(store, "backingStore")) {
		g_autofree char *kind = attribute(store, "type");

		if (!kind) {
			disk->complete = true;
			return 0;
		}
		if (child(store, "source") && child(child(store, "source"), "encryption"))
			return refuse(error, disk->target, "has an encrypted backing file");
		if (add_layer(disk, kind, source_path(store, kind),
			      attribute(child(store, "format"), "type"), error) < 0)
			return -1;
	}
	/* A VMDK may have a parent. */
	if (!g_str_equal(disk_top(disk)->format, "qcow2") &&
	    !g_str_equal(disk_top(disk)->format, "vmdk"))
		disk->complete = disk->layers->len == 1;
	return 0;
}

static struct disk *read_disk(const xmlNode *node, GError **error)
{
	static const char *const formats[] = {"raw", "qcow2", "vmdk", "vdi", NULL};
	struct disk *disk = g_new0(struct disk, 1);
	const xmlNode *source = child(node, "source");
	const xmlNode *mirror = child(node, "mirror");

	disk->layers = g_ptr_array_new_with_free_func(layer_free);
	disk->target = attribute(child(node, "target"), "dev");
	if (child(node, "encryption") || (source && child(source, "encryption"))) {
		(void)refuse(error, disk->target,
			     "is encrypted: its snapshot would be stored in the clear");
		goto failed;
	}
	if (read_chain(disk, node, error) < 0)
		goto failed;
	if (!g_strv_contains(formats, disk_top(disk)->format)) {
		g_autofree char *why = g_strdup_printf("has the format %s, which is not supported",
						       disk_top(disk)->format);
		(void)refuse(error, disk->target, why);
		goto failed;
	}
	if (mirror) {
		disk->mirror = attribute(child(mirror, "source"), "file");
		if (!disk->mirror)
			disk->mirror = g_strdup("(somebody's block job)");
	}
	return disk;

failed:
	disk_free(disk);
	return NULL;
}

static const xmlNode *choose(const xmlNodeSet *nodes, const char *root_device_name)
{
	g_autofree char *wanted = root_device_name && *root_device_name
					  ? g_path_get_basename(root_device_name)
					  : NULL;
	const xmlNode *first = NULL;

	for (int i = 0; nodes && i < nodes->nodeNr; i++) {
		const xmlNode *node = nodes->nodeTab[i];
		g_autofree char *target = attribute(child(node, "target"), "dev");

		if (!may_be_root(node) || !target)
			continue;
		if (wanted && g_str_equal(target, wanted))
			return node;
		if (!first)
			first = node;
	}
	return first;
}

struct disk *disk_find_container(const char *xml, const char *format, GError **error)
{
	g_autofree char *root =
		domain_text(xml, "/domain/devices/filesystem[target/@dir='/']/source/@dir");
	struct disk *disk = NULL;

	if (root && g_str_has_suffix(root, "/rootfs")) {
		g_autofree char *folder = g_path_get_dirname(root);

		disk = g_new0(struct disk, 1);
		disk->target = g_strdup("(container)");
		disk->layers = g_ptr_array_new_with_free_func(layer_free);
		(void)add_layer(disk, "file", g_build_filename(folder, "disk", NULL),
				g_strdup(format), NULL);
	} else {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_NO_ROOT_DISK,
				    "the container has no root filesystem in a directory named "
				    "rootfs, beside which nova keeps its disk");
	}
	return disk;
}

struct disk *disk_find_root(const char *xml, const char *root_device_name, GError **error)
{
	xmlDoc *document = domain_parse(xml);
	xmlXPathContext *context = document ? xmlXPathNewContext(document) : NULL;
	xmlXPathObject *disks =
		context ? xmlXPathEvalExpression((const xmlChar *)"/domain/devices/disk", context)
			: NULL;
	const xmlNode *chosen = disks ? choose(disks->nodesetval, root_device_name) : NULL;
	struct disk *disk = NULL;

	if (chosen)
		disk = read_disk(chosen, error);
	else
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_NO_ROOT_DISK,
			    "the domain has no disk that can be its root disk%s%s",
			    root_device_name ? ", asked for was " : "",
			    root_device_name ? root_device_name : "");
	xmlXPathFreeObject(disks);
	xmlXPathFreeContext(context);
	xmlFreeDoc(document);
	return disk;
}

static const struct disk_layer *last_layer(const struct disk *disk)
{
	return g_ptr_array_index(disk->layers, disk->layers->len - 1);
}

static bool lies_in(const char *real, const char *folder)
{
	char *real_folder = realpath(folder, NULL);
	size_t length = real_folder ? strlen(real_folder) : 0;
	bool in = length > 0 && g_str_has_prefix(real, real_folder) && real[length] == '/';

	free(real_folder);
	return in;
}

/* What a header names was written by whoever made the image: it is followed only where images are.
 */
static int check_place(const struct disk *disk, const char *const *dirs, const char *path,
		       GError **error)
{
	g_autofree char *own = g_path_get_dirname(disk_top(disk)->path);
	char *real = realpath(path, NULL);
	bool found = real && lies_in(real, own);
	g_autofree char *why = NULL;

	for (; !found && real && dirs && *dirs; dirs++)
		found = lies_in(real, *dirs);
	free(real);
	if (found)
		return 0;
	why = g_strdup_printf("has the backing file %s, which is missing or lies in none of "
			      "[novasnap]backing_dirs: it is not followed",
			      path);
	return refuse(error, disk->target, why);
}

/* The name of the backing file and its format, of a header that was read with its known format. */
static int read_backing(struct disk *disk, const char *const *dirs, const cJSON *info,
			bool *ret_more, GError **error)
{
	const cJSON *backing = cJSON_GetObjectItemCaseSensitive(info, "full-backing-filename");
	const cJSON *format = cJSON_GetObjectItemCaseSensitive(info, "backing-filename-format");
	const char *path;

	*ret_more = false;
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(info, "encrypted")))
		return refuse(error, disk->target, "has an encrypted file in its chain");
	if (!cJSON_IsString(backing))
		backing = cJSON_GetObjectItemCaseSensitive(info, "backing-filename");
	if (!cJSON_IsString(backing))
		return 0;
	path = backing->valuestring;
	if (!g_path_is_absolute(path))
		return refuse(error, disk->target,
			      "has a backing file that is no plain path: it is not followed");
	if (check_place(disk, dirs, path, error) < 0)
		return -1;
	*ret_more = true;
	return add_layer(disk, "file", g_strdup(path),
			 cJSON_IsString(format) ? g_strdup(format->valuestring) : NULL, error);
}

static int check_header(const struct disk *disk, guint layer, GError **error)
{
	const char *why;

	if (header_check(g_ptr_array_index(disk->layers, layer), &why, error) < 0)
		return -1;
	return why ? refuse(error, disk->target, why) : 0;
}

int disk_complete_chain(struct disk *disk, const char *const *dirs, const atomic_int *cancel,
			GError **error)
{
	bool more = !disk->complete;

	for (guint i = 0; i < disk->layers->len; i++) {
		if (check_header(disk, i, error) < 0)
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
		rc = read_backing(disk, dirs, info, &more, error);
		cJSON_Delete(info);
		if (rc < 0 || (more && check_header(disk, disk->layers->len - 1, error) < 0))
			return -1;
	}
	disk->complete = true;
	return 0;
}

static cJSON *json_layers(const struct disk *disk, guint from)
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
	if (g_str_equal(layer->format, "qcow2") || g_str_equal(layer->format, "vmdk"))
		cJSON_AddItemToObject(node, "backing", json_layers(disk, from + 1));
	return node;
}

static char *json_name(cJSON *node)
{
	char *text = cJSON_PrintUnformatted(node);
	char *name = g_strconcat("json:", text, NULL);

	cJSON_free(text);
	cJSON_Delete(node);
	return name;
}

char *disk_json_name(const struct disk *disk, guint from)
{
	return json_name(json_layers(disk, from));
}

/* Past the page cache, where the filesystems allow it: a disk is read once, and what others keep in
 * memory is worth more. */
static bool can_be_direct(const struct disk *disk)
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

char *disk_json_name_shared(const struct disk *disk, bool direct)
{
	cJSON *node = json_layers(disk, 0);

	cJSON_AddTrueToObject(node, "force-share");
	if (direct && can_be_direct(disk)) {
		cJSON_AddTrueToObject(cJSON_AddObjectToObject(node, "cache"), "direct");
		for (cJSON *at = node; cJSON_IsObject(at);
		     at = cJSON_GetObjectItemCaseSensitive(at, "backing"))
			cJSON_AddStringToObject(cJSON_GetObjectItemCaseSensitive(at, "file"), "aio",
						"native");
	}
	return json_name(node);
}

char *disk_json_name_over(const struct disk *disk, guint from, const char *qcow2)
{
	cJSON *node = cJSON_CreateObject();
	cJSON *file;

	cJSON_AddStringToObject(node, "driver", "qcow2");
	file = cJSON_AddObjectToObject(node, "file");
	cJSON_AddStringToObject(file, "driver", "file");
	cJSON_AddStringToObject(file, "filename", qcow2);
	cJSON_AddItemToObject(node, "backing", json_layers(disk, from));
	return json_name(node);
}
