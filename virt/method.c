/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of snapshot methods.
 */
#include "virt/internal.h"

static const struct snapshot_method *const methods[] = {&method_rebase, &method_extract,
							&method_internal};

const struct snapshot_method *method_find(const char *name, bool live, GError **error)
{
	g_autoptr(GString) known = g_string_new(NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
		if (methods[i]->live != live)
			continue;
		if (g_str_equal(methods[i]->name, name))
			return methods[i];
		g_string_append_printf(known, "%s%s", known->len > 0 ? ", " : "", methods[i]->name);
	}
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_CONFIG,
		    "[novasnap]%s_method = %s: there is no such method; there is: %s",
		    live ? "live" : "cold", name, known->str);
	return NULL;
}
