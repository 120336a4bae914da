/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the guests of this host.
 */
#include "agent/check/guests.h"

/* The most guests that are named. */
#define NAMES_MAX 20

struct unstreamed {
	struct check *check;
	unsigned count;
};

static void report_unstreamed(const char *name, const char *why, void *opaque)
{
	struct unstreamed *unstreamed = opaque;

	if (++unstreamed->count <= NAMES_MAX)
		check_report(unstreamed->check, CHECK_WARN, "live_method",
			     "guest %s: %s; with such a QEMU the method rebase is used instead of "
			     "stream, until QEMU is upgraded and the guest is started again",
			     name, why);
}

void check_guests(struct check *check)
{
	struct unstreamed unstreamed = {.check = check};
	g_autoptr(GError) error = NULL;

	if (!check->host || !g_str_equal(check->config->virt.live_method, "stream"))
		return;
	if (virt_host_find_unstreamed(check->host, report_unstreamed, &unstreamed, &error) < 0)
		check_report(check, CHECK_FAIL, "live_method", "%s", error->message);
	else if (unstreamed.count > NAMES_MAX)
		check_report(check, CHECK_WARN, "live_method", "the same for %u more guests",
			     unstreamed.count - NAMES_MAX);
	else if (unstreamed.count == 0 && check->bad_stream_folder)
		check_report(check, CHECK_WARN, "live_method",
			     "stream, which needs %s: see its line above; until it is corrected, "
			     "running guests may be taken by rebase, through a local copy",
			     check->bad_stream_folder);
	else if (unstreamed.count == 0)
		check_report(check, CHECK_OK, "live_method",
			     "stream; it can take every running guest");
}
