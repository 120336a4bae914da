/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs that are running on a guest before a live snapshot begins.
 */
#include "virt/method/left-jobs.h"

#include "virt/domain/backup-job.h"
#include "virt/domain/guest-query.h"
#include "virt/export-folder.h"
#include "virt/staging.h"
#include "virt/steps.h"

/* A backup's block job is visible for a moment after the backup has ended. */
#define LINGER_S ((gint64)5)
#define LINGER_POLL_US (G_USEC_PER_SEC / 50)

static enum guest_answer has_lasting_block_job(struct snapshot *snapshot, GError **error)
{
	gint64 until = g_get_monotonic_time() + LINGER_S * G_USEC_PER_SEC;

	for (;;) {
		virDomainBlockJobInfo info;
		enum guest_answer answer =
			guest_has_block_job(&snapshot->guest, snapshot->disk->target, &info, error);

		if (answer != GUEST_YES || info.type != VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP ||
		    g_get_monotonic_time() > until)
			return answer;
		g_usleep(LINGER_POLL_US);
	}
}

/* novasnap's block jobs copy to a staging folder. Where the job copies to is asked now: since the
 * snapshot began, one job may have ended and another program may have started another. */
static int end_left_block_job(struct snapshot *snapshot, GError **error)
{
	const char *target = snapshot->disk->target;
	g_autofree char *mirror = NULL;
	enum guest_answer answer = has_lasting_block_job(snapshot, error);

	if (answer == GUEST_YES &&
	    guest_has_mirror_file(&snapshot->guest, target, &mirror, error) == GUEST_UNKNOWN)
		return -1;
	if (answer != GUEST_YES)
		return answer == GUEST_NO ? 0 : -1;
	if (!mirror || !staging_owns(snapshot->config->snapshots_directory, mirror)) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_BUSY,
			    "another program has started a block job of disk %s, to %s: it must "
			    "end before a snapshot can begin",
			    target, mirror ? mirror : "(no file)");
		return -1;
	}
	g_message("guest %s: ending a block job to %s that an earlier novasnap left running",
		  snapshot->guest.uuid, mirror);
	if (step_begin(snapshot, "clear", NULL, error) < 0)
		return -1;
	if (virDomainBlockJobAbort(snapshot->guest.domain, target, 0) == 0)
		return step_end(snapshot, "clear", error);
	virt_set_error(error, "ending a block job that an earlier novasnap left running");
	return -1;
}

/* novasnap's leftover backup jobs serve a socket in a folder of run_dir that no running process
 * holds. */
static int end_left_backup(struct snapshot *snapshot, GError **error)
{
	g_autofree char *place = NULL;
	enum guest_answer answer = guest_has_backup(&snapshot->guest, &place, error);

	if (answer != GUEST_YES)
		return answer == GUEST_NO ? 0 : -1;
	if (!export_folder_owns(snapshot->config->run_dir, place) || export_folder_is_held(place)) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_BUSY,
			    "another program has started a backup job of the guest, at %s: it must "
			    "end before a snapshot can begin",
			    *place ? place : "(unknown)");
		return -1;
	}
	g_message("guest %s: ending a backup job at %s that an earlier novasnap left running",
		  snapshot->guest.uuid, place);
	if (step_begin(snapshot, "clear", NULL, error) < 0 ||
	    backup_job_end(&snapshot->guest, place, error) < 0)
		return -1;
	return step_end(snapshot, "clear", error);
}

/* The backup first: libvirt also reports it as a block job. */
int left_jobs_end(struct snapshot *snapshot, GError **error)
{
	return end_left_backup(snapshot, error) < 0 ? -1 : end_left_block_job(snapshot, error);
}
