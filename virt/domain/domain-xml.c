/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Properties of a guest, and its disks, from the domain's XML.
 */
#include "virt/domain/domain-xml.h"

#include <libxml/parser.h>
#include <libxml/xpath.h>

#include "virt/libvirt/xml.h"

struct domain_document {
	xmlDoc *document;
	xmlXPathContext *context; /* NULL: the XML could not be parsed */
};

static void domain_document_open(struct domain_document *domain, const char *xml)
{
	domain->document = virt_xml_parse(xml);
	domain->context = domain->document ? xmlXPathNewContext(domain->document) : NULL;
}

static void domain_document_close(struct domain_document *domain)
{
	xmlXPathFreeContext(domain->context);
	xmlFreeDoc(domain->document);
}

void domain_traits_read(const char *xml, struct domain_traits *ret)
{
	struct domain_document domain;

	*ret = (struct domain_traits){0};
	domain_document_open(&domain, xml);
	if (domain.context) {
		g_autofree char *type = virt_xml_text_at(domain.context, "/domain/@type");
		/* A virtio network interface on a hostdev is passed through, too. */
		g_autofree char *device = virt_xml_text_at(
			domain.context, "/domain/devices/hostdev/@mode"
					"|/domain/devices/interface[@type='hostdev']/@type");

		ret->container = g_strcmp0(type, "lxc") == 0;
		ret->host_devices = device != NULL;
	}
	domain_document_close(&domain);
}

static void domain_disk_free(gpointer data)
{
	struct domain_disk *disk = data;

	g_free(disk->target);
	g_free(disk->type);
	g_free(disk->serial);
	g_free(disk->file);
	g_free(disk->format);
	g_free(disk);
}

GPtrArray *domain_disks(const char *xml)
{
	GPtrArray *disks = g_ptr_array_new_with_free_func(domain_disk_free);
	struct domain_document domain;
	xmlXPathObject *found = NULL;

	domain_document_open(&domain, xml);
	if (domain.context)
		found = xmlXPathEvalExpression((const xmlChar *)"/domain/devices/disk",
					       domain.context);
	for (int i = 0; found && found->nodesetval && i < found->nodesetval->nodeNr; i++) {
		struct domain_disk *disk = g_new0(struct domain_disk, 1);

		(void)xmlXPathSetContextNode(found->nodesetval->nodeTab[i], domain.context);
		disk->target = virt_xml_text_at(domain.context, "target/@dev");
		disk->type = virt_xml_text_at(domain.context, "@type");
		disk->serial = virt_xml_text_at(domain.context, "serial");
		disk->file = virt_xml_text_at(domain.context, "source/@file");
		disk->format = virt_xml_text_at(domain.context, "driver/@type");
		/* libvirt's calls identify a disk by its target. */
		if (disk->target)
			g_ptr_array_add(disks, disk);
		else
			domain_disk_free(disk);
	}
	xmlXPathFreeObject(found);
	domain_document_close(&domain);
	return disks;
}

const char *domain_disk_iothread(const char *xml, const char *target)
{
	/* One iothread, or several (libvirt 10.0 and later). */
	g_autofree char *of_disk =
		g_strdup_printf("/domain/devices/disk[target/@dev='%s']/driver/@iothread"
				"|/domain/devices/disk[target/@dev='%s']/driver/iothreads/"
				"iothread/@id",
				target, target);
	g_autofree char *controller =
		g_strdup_printf("/domain/devices/controller[@type='scsi' and "
				"@index=/domain/devices/disk[target/@dev='%s' and "
				"target/@bus='scsi']/address/@controller]/driver",
				target);
	g_autofree char *of_controller =
		g_strdup_printf("%s/@iothread|%s/iothreads/iothread/@id", controller, controller);
	const char *words = NULL;
	struct domain_document domain;

	domain_document_open(&domain, xml);
	if (domain.context) {
		g_autofree char *disk_thread = virt_xml_text_at(domain.context, of_disk);
		g_autofree char *controller_thread =
			virt_xml_text_at(domain.context, of_controller);
		/* Options of QEMU that libvirt passes on unread. */
		g_autofree char *option = virt_xml_text_at(
			domain.context,
			"//@*[namespace-uri(..)='http://libvirt.org/schemas/domain/qemu/1.0' and "
			"contains(., 'iothread')]");

		if (disk_thread)
			words = "has an iothread";
		else if (controller_thread)
			words = "has a virtio-scsi controller that has an iothread";
		else if (option)
			words = "may have an iothread, by an option of QEMU in the definition";
	}
	domain_document_close(&domain);
	return words;
}
