/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a domain's XML says of the guest as a whole, and of its disks by name.
 */
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <string.h>

#include "virt/internal.h"

#define XML_MAX ((size_t)4 * 1024 * 1024)

xmlDoc *domain_parse(const char *xml)
{
	size_t length = strlen(xml);
	xmlDoc *document = NULL;

	if (length <= XML_MAX)
		document = xmlReadMemory(xml, (int)length, "domain.xml", NULL,
					 XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (document && xmlGetIntSubset(document)) {
		xmlFreeDoc(document);
		return NULL;
	}
	return document;
}

struct reader {
	xmlDoc *document;
	xmlXPathContext *context;
};

static void reader_open(struct reader *reader, const char *xml)
{
	reader->document = domain_parse(xml);
	reader->context = reader->document ? xmlXPathNewContext(reader->document) : NULL;
}

static void reader_close(struct reader *reader)
{
	xmlXPathFreeContext(reader->context);
	xmlFreeDoc(reader->document);
}

/* NULL where there is none. */
static char *text_at(xmlXPathContext *context, const char *path)
{
	g_autofree char *whole = g_strdup_printf("string(%s)", path);
	xmlXPathObject *found = xmlXPathEvalExpression((const xmlChar *)whole, context);
	char *text = NULL;

	if (found && found->stringval && *found->stringval)
		text = g_strdup((const char *)found->stringval);
	xmlXPathFreeObject(found);
	return text;
}

char *domain_text(const char *xml, const char *path)
{
	struct reader reader;
	char *text;

	reader_open(&reader, xml);
	text = reader.context ? text_at(reader.context, path) : NULL;
	reader_close(&reader);
	return text;
}

void domain_facts_read(const char *xml, struct domain_facts *ret)
{
	struct reader reader;

	*ret = (struct domain_facts){0};
	reader_open(&reader, xml);
	if (reader.context) {
		g_autofree char *type = text_at(reader.context, "/domain/@type");
		/* A virtio NIC backed by a hostdev is passed through as well. */
		g_autofree char *device = text_at(
			reader.context, "/domain/devices/hostdev/@mode"
					"|/domain/devices/interface[@type='hostdev']/@type");

		ret->container = g_strcmp0(type, "lxc") == 0;
		ret->host_devices = device != NULL;
	}
	reader_close(&reader);
}

char *domain_xml(virDomainPtr domain, GError **error)
{
	char *xml = virDomainGetXMLDesc(domain, 0);

	if (!xml)
		virt_set_error(error, "reading the guest's definition");
	return xml;
}

static void domain_disk_free(gpointer data)
{
	struct domain_disk *disk = data;

	g_free(disk->target);
	g_free(disk->serial);
	g_free(disk->file);
	g_free(disk);
}

GPtrArray *domain_disks(const char *xml)
{
	GPtrArray *disks = g_ptr_array_new_with_free_func(domain_disk_free);
	struct reader reader;
	xmlXPathObject *found = NULL;

	reader_open(&reader, xml);
	if (reader.context)
		found = xmlXPathEvalExpression((const xmlChar *)"/domain/devices/disk",
					       reader.context);
	for (int i = 0; found && found->nodesetval && i < found->nodesetval->nodeNr; i++) {
		struct domain_disk *disk = g_new0(struct domain_disk, 1);

		(void)xmlXPathSetContextNode(found->nodesetval->nodeTab[i], reader.context);
		disk->target = text_at(reader.context, "target/@dev");
		disk->serial = text_at(reader.context, "serial");
		disk->file = text_at(reader.context, "source/@file");
		/* All that is done to a disk is done by its target. */
		if (disk->target)
			g_ptr_array_add(disks, disk);
		else
			domain_disk_free(disk);
	}
	xmlXPathFreeObject(found);
	reader_close(&reader);
	return disks;
}
