/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading libvirt's XML.
 */
#include "virt/libvirt/xml.h"

#include <glib.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <string.h>

#define XML_MAX_BYTES ((size_t)4 * 1024 * 1024)

xmlDoc *virt_xml_parse(const char *xml)
{
	size_t length = strlen(xml);
	xmlDoc *document = NULL;

	if (length <= XML_MAX_BYTES)
		document = xmlReadMemory(xml, (int)length, "libvirt.xml", NULL,
					 XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (document && xmlGetIntSubset(document)) {
		xmlFreeDoc(document);
		return NULL;
	}
	return document;
}

bool virt_xml_is_valid(const char *xml)
{
	xmlDoc *document = virt_xml_parse(xml);
	bool is_valid = document != NULL;

	xmlFreeDoc(document);
	return is_valid;
}

char *virt_xml_text_at(xmlXPathContext *context, const char *path)
{
	g_autofree char *expression = g_strdup_printf("string(%s)", path);
	xmlXPathObject *found = xmlXPathEvalExpression((const xmlChar *)expression, context);
	char *text = NULL;

	if (found && found->stringval && *found->stringval)
		text = g_strdup((const char *)found->stringval);
	xmlXPathFreeObject(found);
	return text;
}

char *virt_xml_text(const char *xml, const char *path)
{
	xmlDoc *document = virt_xml_parse(xml);
	xmlXPathContext *context = document ? xmlXPathNewContext(document) : NULL;
	char *text = context ? virt_xml_text_at(context, path) : NULL;

	xmlXPathFreeContext(context);
	xmlFreeDoc(document);
	return text;
}
