/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The macros of libraries without which cppcheck does not understand the code.
 */
#define cJSON_ArrayForEach(element, array)                                                         \
	for (element = (array) ? (array)->child : NULL; element; element = element->next)
#define G_OPTION_ENTRY_NULL                                                                        \
	{                                                                                          \
		0                                                                                  \
	}
/* As libvirt has the calls of virt/libvirt/call-timeout.h: into an expression of statements it does
 * not see. */
#define NOVASNAP_VIRT_LIMIT_H
#define G_DEFINE_EXTENDED_ERROR(Name, name)
#define G_DEFINE_QUARK(q, name)
#define G_GUINT64_FORMAT "lu"
#define G_GINT64_FORMAT "ld"
