/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap-thaw: novasnapd starts it before it freezes a guest. Operators do not run it.
 */
#include <glib.h>
#include <stdio.h>

#include "agent/command/command.h"
#include "virt/virt.h"

int main(int argc, char **argv)
{
	guint64 limit;

	if (argc != 4 || !g_ascii_string_to_unsigned(argv[3], 10, 1, 24 * 3600, &limit, NULL)) {
		(void)fprintf(stderr, "novasnap-thaw: only novasnapd runs this program: "
				      "novasnap-thaw URI UUID SECONDS\n");
		return EXIT_USAGE;
	}
	return virt_thaw_watch(argv[1], argv[2], (unsigned)limit);
}
