/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RPC API versions: parsed and compared as oslo does.
 */
#include "rpc/version.h"

#include <glib.h>

struct version {
	guint64 part[3]; /* major, minor, revision */
};

static bool parse_version(const char *text, struct version *ret_version)
{
	*ret_version = (struct version){{0}};
	for (int i = 0; i < 3; i++) {
		char *end;

		if (!g_ascii_isdigit(*text))
			return false;
		ret_version->part[i] = g_ascii_strtoull(text, &end, 10);
		if (*end == '\0')
			return i > 0;
		if (*end != '.')
			return false;
		text = end + 1;
	}
	return false;
}

static bool is_compatible(const struct version *served, const struct version *wanted)
{
	if (served->part[0] != wanted->part[0])
		return false;
	return wanted->part[1] < served->part[1] ||
	       (wanted->part[1] == served->part[1] && wanted->part[2] <= served->part[2]);
}

bool rpc_version_is_served(const char *const *versions, const char *wanted)
{
	struct version wanted_version, served;

	if (!parse_version(wanted, &wanted_version))
		return false;
	for (; *versions; versions++) {
		if (parse_version(*versions, &served) && is_compatible(&served, &wanted_version))
			return true;
	}
	return false;
}
