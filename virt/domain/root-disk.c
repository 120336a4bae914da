/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's root disk, and the backing files that the domain's XML lists. Formats are taken from
 * the XML and never probed, since a guest can write any header to its disk.
 */
#include "virt/domain/root-disk.h"

#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <string.h>

#include "virt/libvirt/xml.h"
#include "virt/virt.h"

#define MAX_LAYERS 200

static void layer_free(gpointer data)
{
	struct disk_layer *layer = data;

	g_free(layer->path);
	g_free(layer->format);
	g_free(layer->rbd_pool);
	g_free(layer->rbd_image);
	g_free(layer);
}

static struct disk *disk_new(char *target)
{
	struct disk *disk = g_new0(struct disk, 1);

	disk->target = target;
	disk->layers = g_ptr_array_new_with_free_func(layer_free);
	return disk;
}

void disk_free(struct disk *disk)
{
	if (!disk)
		return;
	g_free(disk->target);
	g_ptr_array_unref(disk->layers);
	g_free(disk);
}

struct disk_layer *disk_top(const struct disk *disk)
{
	return g_ptr_array_index(disk->layers, 0);
}

bool disk_is_rbd(const struct disk *disk)
{
	return disk_top(disk)->rbd_pool != NULL;
}

static xmlNode *find_child(const xmlNode *node, const char *name)
{
	for (xmlNode *at = node ? node->children : NULL; at; at = at->next) {
		if (at->type == XML_ELEMENT_NODE && g_str_equal((const char *)at->name, name))
			return at;
	}
	return NULL;
}

static char *read_attribute(const xmlNode *node, const char *name)
{
	xmlChar *value = node ? xmlGetProp(node, (const xmlChar *)name) : NULL;
	char *copy = g_strdup((const char *)value);

	xmlFree(value);
	return copy;
}

static char *read_source_path(const xmlNode *disk, const char *type)
{
	const xmlNode *source = find_child(disk, "source");

	if (g_strcmp0(type, "file") == 0)
		return read_attribute(source, "file");
	if (g_strcmp0(type, "block") == 0)
		return read_attribute(source, "dev");
	return NULL;
}

int disk_refuse(const struct disk *disk, const char *why, GError **error)
{
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED, "the disk %s %s", disk->target, why);
	return -1;
}

/* Why a disk or a backing file of that type of libvirt's is not read. */
static char *describe_type(const char *type)
{
	if (g_strcmp0(type, "network") == 0)
		return g_strdup("it is a network disk, which is not supported (of network disks, "
				"only a root disk in Ceph, protocol='rbd', is)");
	if (g_strcmp0(type, "volume") == 0)
		return g_strdup("it is a volume of a storage pool of libvirt (type='volume'), "
				"which is not supported: define the disk by its path");
	return g_strdup_printf("it is neither a file nor a block device, but of the type %s",
			       type ? type : "(none)");
}

/* Formats that reference no other files, or whose other files are in the chain. */
static bool is_backing_format(const char *format)
{
	static const char *const formats[] = {"raw", "qcow2", "vmdk", "vdi", "vpc", "vhdx", NULL};

	return g_strv_contains(formats, format);
}

int disk_add_layer(struct disk *disk, const char *type, char *path, char *format, GError **error)
{
	bool is_backing = disk->layers->len > 0;
	g_autofree char *message = NULL;
	g_autofree char *why = NULL;
	struct disk_layer *layer;

	if (g_strcmp0(type, "file") != 0 && g_strcmp0(type, "block") != 0)
		why = describe_type(type);
	else if (!path)
		why = g_strdup("it has no source");
	else if (!format)
		why = g_strdup("libvirt does not report its format");
	else if (is_backing && !is_backing_format(format))
		why = g_strdup_printf("its format %s is not supported", format);
	else if (disk->layers->len >= MAX_LAYERS)
		why = g_strdup("its backing chain is too long");
	if (why) {
		message = g_strdup_printf(
			"%s: %s", is_backing ? "has an unusable backing file" : "is unusable", why);
		g_free(path);
		g_free(format);
		return disk_refuse(disk, message, error);
	}
	layer = g_new0(struct disk_layer, 1);
	layer->path = path;
	layer->format = format;
	layer->block = g_str_equal(type, "block");
	g_ptr_array_add(disk->layers, layer);
	return 0;
}

/* Adds an image in Ceph, which nova names "POOL/IMAGE" (nova.virt.libvirt.imagebackend.Rbd). */
static int add_rbd_layer(struct disk *disk, const xmlNode *node, GError **error)
{
	const xmlNode *source = find_child(node, "source");
	g_autofree char *name = read_attribute(source, "name");
	g_autofree char *format = read_attribute(find_child(node, "driver"), "type");
	g_auto(GStrv) parts = g_strsplit(name ? name : "", "/", -1);
	struct disk_layer *layer;

	if (g_strv_length(parts) != 2 || !*parts[0] || !*parts[1]) {
		g_autofree char *why = g_strdup_printf(
			"is unusable: it is in Ceph, and its name \"%s\" is not POOL/IMAGE",
			name ? name : "");

		return disk_refuse(disk, why, error);
	}
	if (find_child(source, "snapshot"))
		return disk_refuse(disk, "is unusable: it is a snapshot in Ceph", error);
	if (g_strcmp0(format, "raw") != 0)
		return disk_refuse(disk, "is unusable: it is in Ceph, and its format is not raw",
				   error);
	layer = g_new0(struct disk_layer, 1);
	layer->path = g_strconcat("rbd:", name, NULL);
	layer->format = g_steal_pointer(&format);
	layer->rbd_pool = g_steal_pointer(&parts[0]);
	layer->rbd_image = g_steal_pointer(&parts[1]);
	g_ptr_array_add(disk->layers, layer);
	disk->complete = true;
	return 0;
}

static bool is_rbd(const xmlNode *disk, const char *type)
{
	g_autofree char *protocol = read_attribute(find_child(disk, "source"), "protocol");

	return g_strcmp0(type, "network") == 0 && g_strcmp0(protocol, "rbd") == 0;
}

static int read_layers(struct disk *disk, const xmlNode *node, GError **error)
{
	const xmlNode *store;
	g_autofree char *type = read_attribute(node, "type");

	if (is_rbd(node, type))
		return add_rbd_layer(disk, node, error);
	if (disk_add_layer(disk, type, read_source_path(node, type),
			   read_attribute(find_child(node, "driver"), "type"), error) < 0)
		return -1;
	for (store = find_child(node, "backingStore"); store;
	     store = find_child(store, "backingStore")) {
		g_autofree char *kind = read_attribute(store, "type");

		/* An empty element ends the chain. */
		if (!kind) {
			disk->complete = true;
			return 0;
		}
		if (find_child(find_child(store, "source"), "encryption"))
			return disk_refuse(disk, "has an encrypted backing file", error);
		if (disk_add_layer(disk, kind, read_source_path(store, kind),
				   read_attribute(find_child(store, "format"), "type"), error) < 0)
			return -1;
	}
	/* Only qcow2 and VMDK files can have a backing file. */
	if (!g_str_equal(disk_top(disk)->format, "qcow2") &&
	    !g_str_equal(disk_top(disk)->format, "vmdk"))
		disk->complete = disk->layers->len == 1;
	return 0;
}

static int read_disk(struct disk *disk, const xmlNode *node, GError **error)
{
	static const char *const formats[] = {"raw", "qcow2", "vmdk", "vdi", NULL};

	if (find_child(node, "encryption") || find_child(find_child(node, "source"), "encryption"))
		return disk_refuse(disk,
				   "is encrypted: its snapshot would be stored without encryption",
				   error);
	if (read_layers(disk, node, error) < 0)
		return -1;
	if (!g_strv_contains(formats, disk_top(disk)->format)) {
		g_autofree char *why = g_strdup_printf("has the format %s, which is not supported",
						       disk_top(disk)->format);

		return disk_refuse(disk, why, error);
	}
	return 0;
}

/* The first disk with that target; NULL: the first disk. */
static const xmlNode *choose_disk(const xmlNodeSet *nodes, const char *wanted)
{
	for (int i = 0; nodes && i < nodes->nodeNr; i++) {
		const xmlNode *node = nodes->nodeTab[i];
		g_autofree char *target = read_attribute(find_child(node, "target"), "dev");

		if (!wanted || g_strcmp0(target, wanted) == 0)
			return node;
	}
	return NULL;
}

static struct disk *new_from_node(const xmlNode *node, GError **error)
{
	char *target = read_attribute(find_child(node, "target"), "dev");
	struct disk *disk;

	if (!target) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_NO_ROOT_DISK,
				    "the domain's first disk has no target");
		return NULL;
	}
	disk = disk_new(target);
	if (read_disk(disk, node, error) < 0)
		g_clear_pointer(&disk, disk_free);
	return disk;
}

static struct disk *find_disk(const char *xml, const char *target, GError **error)
{
	xmlDoc *document = virt_xml_parse(xml);
	xmlXPathContext *context = document ? xmlXPathNewContext(document) : NULL;
	xmlXPathObject *disks =
		context ? xmlXPathEvalExpression((const xmlChar *)"/domain/devices/disk", context)
			: NULL;
	const xmlNode *chosen = disks ? choose_disk(disks->nodesetval, target) : NULL;
	struct disk *disk = chosen ? new_from_node(chosen, error) : NULL;

	if (!chosen)
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_NO_ROOT_DISK,
			    "the domain has no disk%s%s", target ? " with the target " : "",
			    target ? target : "");
	xmlXPathFreeObject(disks);
	xmlXPathFreeContext(context);
	xmlFreeDoc(document);
	return disk;
}

struct disk *root_disk_find(const char *xml, GError **error)
{
	return find_disk(xml, NULL, error);
}

struct disk *disk_find_by_target(const char *xml, const char *target, GError **error)
{
	struct disk *disk = find_disk(xml, target, error);

	if (disk && disk_is_rbd(disk)) {
		(void)disk_refuse(disk, "is in Ceph: it is no file", error);
		g_clear_pointer(&disk, disk_free);
	}
	return disk;
}

struct disk *root_disk_find_of_container(const char *xml, const char *format, GError **error)
{
	g_autofree char *root = virt_xml_text(xml, "/domain/devices/filesystem[1]/source/@dir");
	g_autofree char *folder = NULL;
	struct disk *disk;

	if (!root || !g_str_has_suffix(root, "/rootfs")) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_NO_ROOT_DISK,
				    "the container's first filesystem is not a directory named "
				    "rootfs, beside which nova keeps its disk");
		return NULL;
	}
	folder = g_path_get_dirname(root);
	disk = disk_new(g_strdup("(container)"));
	(void)disk_add_layer(disk, "file", g_build_filename(folder, "disk", NULL), g_strdup(format),
			     NULL);
	return disk;
}
