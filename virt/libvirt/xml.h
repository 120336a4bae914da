/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading libvirt's XML.
 */
#ifndef NOVASNAP_VIRT_LIBVIRT_XML_H
#define NOVASNAP_VIRT_LIBVIRT_XML_H

#include <stdbool.h>

struct _xmlDoc;
struct _xmlXPathContext;

/* Parses XML; the caller frees the document with xmlFreeDoc. NULL if it is not XML, is larger than
 * 4 MiB, or has a document type declaration: libvirt never writes one, and its entities could
 * expand without bound. */
struct _xmlDoc *virt_xml_parse(const char *xml);

/* Whether virt_xml_parse can parse it. */
bool virt_xml_is_valid(const char *xml);

/* The text at an XPath of a document; the caller frees it with g_free. NULL if there is none. */
char *virt_xml_text_at(struct _xmlXPathContext *context, const char *path);
/* As virt_xml_text_at, for XML that is not parsed yet. */
char *virt_xml_text(const char *xml, const char *path);

#endif
