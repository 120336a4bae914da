/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the disks of the guests of this host.
 */
#include "agent/check/guest-disks.h"

/* Seconds: each file of a backing chain takes a run of qemu-img. */
#define LIMIT_S 60
/* After so many refused guests, the others are only counted. */
#define SHOWN_MAX 20

struct refusals {
	struct check *check;
	unsigned count;
};

static void report_refused(const char *name, const char *uuid, const char *why, void *opaque)
{
	struct refusals *refusals = opaque;
	g_autofree char *subject = g_strdup_printf("guest %s", name);

	if (++refusals->count <= SHOWN_MAX)
		check_report(refusals->check, CHECK_WARN, subject,
			     "a snapshot of it (%s) would be refused: %s", uuid, why);
}

void check_guest_disks(struct check *check)
{
	struct refusals refusals = {.check = check};
	struct virt_guest_count guests;
	g_autoptr(GError) error = NULL;

	if (!check->host)
		return;
	if (virt_host_find_refused(check->host, LIMIT_S, report_refused, &refusals, &guests,
				   &error) < 0)
		check_report(check, CHECK_WARN, "disks", "%u of %u guests checked: %s",
			     guests.checked, guests.total, error->message);
	else if (guests.checked < guests.total)
		check_report(
			check, CHECK_WARN, "disks",
			"%u of %u guests checked within %d s, snapshots of %u would be refused",
			guests.checked, guests.total, LIMIT_S, refusals.count);
	else
		check_report(check, refusals.count > 0 ? CHECK_WARN : CHECK_OK, "disks",
			     "%u guests checked, snapshots of %u would be refused because of their "
			     "disks",
			     guests.checked, refusals.count);
}
