/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A backup job of a running guest.
 */
#include "virt/domain/backup-job.h"

#include <stdlib.h>

#include "virt/libvirt/xml.h"

/* Longer than the time libvirt lets a call wait for another job. */
#define VISIBLE_WAIT_S 40
#define VISIBLE_POLL_US (G_USEC_PER_SEC / 5)
#define END_TIMEOUT_S 30
#define END_POLL_US (G_USEC_PER_SEC / 50)

enum guest_answer backup_job_serves(struct guest *guest, const char *socket, GError **error)
{
	g_autofree char *place = NULL;
	enum guest_answer answer = guest_has_backup(guest, &place, error);

	return answer == GUEST_YES && g_strcmp0(place, socket) != 0 ? GUEST_NO : answer;
}

int backup_job_wait_visible(struct guest *guest, const char *socket, GError **error)
{
	gint64 until = g_get_monotonic_time() + VISIBLE_WAIT_S * G_USEC_PER_SEC;

	for (;;) {
		enum guest_answer busy = guest_has_job(guest, error);
		enum guest_answer ours =
			busy == GUEST_YES ? backup_job_serves(guest, socket, error) : GUEST_NO;

		if (busy == GUEST_UNKNOWN || ours == GUEST_UNKNOWN)
			return -1;
		if (busy == GUEST_NO || ours == GUEST_YES || g_get_monotonic_time() > until)
			return 0;
		g_usleep(VISIBLE_POLL_US);
	}
}

static int abort_backup_job(struct guest *guest, const char *socket, GError **error)
{
	g_autoptr(GError) refused = NULL;

	if (virDomainAbortJob(guest->domain) == 0)
		return 0;
	virt_set_error(&refused, "ending the disk's export");
	/* The job may have ended on its own. */
	if (backup_job_serves(guest, socket, NULL) == GUEST_NO)
		return 0;
	g_propagate_error(error, g_steal_pointer(&refused));
	return -1;
}

/* libvirt replies before the job is gone, and the next job would fail while the old one remains. */
int backup_job_end(struct guest *guest, const char *socket, GError **error)
{
	gint64 until = g_get_monotonic_time() + END_TIMEOUT_S * G_USEC_PER_SEC;
	enum guest_answer ours = backup_job_serves(guest, socket, error);

	if (ours == GUEST_YES && abort_backup_job(guest, socket, error) < 0)
		return -1;
	while (ours == GUEST_YES) {
		if (g_get_monotonic_time() > until) {
			g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
				    "ending the disk's export: libvirt's job still exists after "
				    "%d s; end it with virsh domjobabort",
				    END_TIMEOUT_S);
			return -1;
		}
		g_usleep(END_POLL_US);
		ours = backup_job_serves(guest, socket, error);
	}
	return ours == GUEST_NO ? 0 : -1;
}

static char *read_backup(virDomainPtr domain, const char *path)
{
	char *xml = virDomainBackupGetXMLDesc(domain, 0);
	char *text = xml ? virt_xml_text(xml, path) : NULL;

	free(xml);
	return text;
}

char *backup_job_scratch_index(virDomainPtr domain)
{
	return read_backup(domain, "/domainbackup/disks/disk[@backup='yes']/@index");
}

char *backup_job_scratch_file(virDomainPtr domain)
{
	return read_backup(domain, "/domainbackup/disks/disk[@backup='yes']/scratch/@file");
}
