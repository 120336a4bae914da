/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap-thaw: novasnapd starts it before it freezes a guest. Operators do not run it.
 */
#include <glib.h>
#include <stdio.h>

#include "agent/command/command.h"
#include "virt/virt.h"

/* The longest time that a key of the configuration may have. */
#define SECONDS_MAX (7 * 24 * 3600)

static const char help[] =
	"Usage:\n"
	"  novasnap-thaw URI UUID SECONDS AGENT_SECONDS\n\n"
	"Only novasnapd runs this program, before it freezes the filesystems of the guest UUID at "
	"the "
	"libvirt URI.\nIt thaws them when novasnapd has not done so after SECONDS, or has died. An "
	"answer of the guest's agent\nmay take AGENT_SECONDS.\n\n"
	"Options:\n"
	"  -h, --help                 Print this help\n\n"
	"Exit status:\n"
	"  0  the guest's filesystems are thawed, or the guest is off\n"
	"  1  they could not be thawed, or libvirt or another watchdog is in the way\n"
	"  2  wrong argument\n";

int main(int argc, char **argv)
{
	guint64 limit, agent_timeout;

	if (argc == 2 && (g_str_equal(argv[1], "--help") || g_str_equal(argv[1], "-h"))) {
		(void)fputs(help, stdout);
		return 0;
	}

	if (argc != 5 || !g_ascii_string_to_unsigned(argv[3], 10, 1, SECONDS_MAX, &limit, NULL) ||
	    !g_ascii_string_to_unsigned(argv[4], 10, 1, SECONDS_MAX, &agent_timeout, NULL)) {
		(void)fprintf(stderr, "novasnap-thaw: only novasnapd runs this program: "
				      "novasnap-thaw URI UUID SECONDS AGENT_SECONDS\n");
		return EXIT_USAGE;
	}
	return virt_thaw_watch(argv[1], argv[2], (unsigned)limit, (unsigned)agent_timeout);
}
