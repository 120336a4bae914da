/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ends exports that a killed novasnapd left running, because their scratch files would fill the
 * disk.
 */
#include <glib/gstdio.h>

#include "virt/domain/backup-job.h"
#include "virt/domain/guest-query.h"
#include "virt/domain/io-error.h"
#include "virt/export-folder.h"
#include "virt/libvirt/domain-list.h"

/* The guest's own disk may need its room. The name is one of stream-live.c. */
static void remove_scratch(const char *scratch)
{
	g_autofree char *name = scratch ? g_path_get_basename(scratch) : NULL;

	if (name && g_str_has_prefix(name, "novasnap-"))
		(void)g_unlink(scratch);
}

/* Only the journal knows whether an I/O error had paused the guest before the export began. */
static void report_paused(struct guest *guest)
{
	if (io_error_has_paused(guest, NULL) == GUEST_YES)
		g_message("guest %s: an I/O error has paused it; if the job of the export is not "
			  "in the journal any more, resume it with virsh resume",
			  guest->uuid);
}

/* Ends the export of one guest, if it is novasnap's and no process holds its folder. The guest is
 * not resumed: the rollback of the job does that. Returns 0, or -1 if the export may still be
 * running. */
static int sweep_guest(struct guest *guest, GError **error)
{
	g_autofree char *place = NULL;
	g_autofree char *scratch = NULL;
	enum guest_answer answer = guest_has_backup(guest, &place, error);

	if (answer != GUEST_YES)
		return answer == GUEST_NO ? 0 : -1;
	if (!export_folder_owns(guest->host->config->run_dir, place) ||
	    export_folder_is_held(place))
		return 0;
	g_message("guest %s: ending a backup job at %s that an earlier novasnapd left running",
		  guest->uuid, place);
	scratch = backup_job_scratch_file(guest->domain);
	if (backup_job_end(guest, place, error) < 0)
		return -1;
	remove_scratch(scratch);
	report_paused(guest);
	return 0;
}

static int sweep_domain(struct virt_host *host, virDomainPtr domain)
{
	char uuid[VIR_UUID_STRING_BUFLEN];
	g_autoptr(GError) error = NULL;
	struct guest guest;
	int rc;

	if (virDomainGetUUIDString(domain, uuid) < 0)
		return -1;
	guest_init(&guest, host, uuid);
	rc = sweep_guest(&guest, &error);
	guest_close(&guest);
	if (rc < 0)
		g_warning("guest %s: %s; retried at the next start", uuid, error->message);
	return rc;
}

/* Returns 0 if no leftover export is running any more, or -1 if one may be. */
static int sweep_guests(struct virt_host *host)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(domain_list_t) list =
		domain_list_new(host, VIR_CONNECT_LIST_DOMAINS_ACTIVE, &error);
	int rc = 0;

	if (!list) {
		g_warning("cannot look for exports that an earlier novasnapd left running: %s",
			  error->message);
		return -1;
	}
	for (unsigned i = 0; i < list->count; i++) {
		if (sweep_domain(host, list->domains[i]) < 0)
			rc = -1;
	}
	return rc;
}

void virt_host_sweep(struct virt_host *host)
{
	g_autoptr(GPtrArray) sockets = export_folder_find_left(host->config->run_dir);

	/* An export keeps its folder until it is known to have ended. */
	if (sockets->len == 0 || sweep_guests(host) < 0)
		return;
	for (guint i = 0; i < sockets->len; i++) {
		g_autofree char *folder = g_path_get_dirname(sockets->pdata[i]);

		(void)g_unlink(sockets->pdata[i]);
		(void)g_rmdir(folder);
	}
}
