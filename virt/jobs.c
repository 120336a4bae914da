/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whose jobs run on a guest. One of ours that an earlier life left running is ended; anybody else's
 * is left alone, and named.
 */
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <stdlib.h>
#include <string.h>

#include "virt/internal.h"

#define END_TIMEOUT_S 30
#define END_LOOK_US (G_USEC_PER_SEC / 50)

/* Somebody else's job is left alone; one of ours that an earlier life left running is ended. */
static int clear_block_job(struct snapshot *snapshot, GError **error)
{
	const char *parent = host_config(snapshot->host)->snapshots_directory;
	g_autofree char *ours = g_build_filename(parent, "novasnap-", NULL);
	const char *target = snapshot->disk->target;
	virDomainBlockJobInfo info;

	memset(&info, 0, sizeof(info));
	if (virDomainGetBlockJobInfo(snapshot->domain, target, &info, 0) != 1)
		return 0;
	if (!snapshot->disk->mirror || !g_str_has_prefix(snapshot->disk->mirror, ours)) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_BUSY,
			    "the disk %s has a block job of somebody else's, into %s: it must end "
			    "before a snapshot can begin",
			    target, snapshot->disk->mirror ? snapshot->disk->mirror : "(unknown)");
		return -1;
	}
	g_message("guest %s: a block job that was left running into %s is ended", snapshot->uuid,
		  snapshot->disk->mirror);
	if (virDomainBlockJobAbort(snapshot->domain, target, 0) == 0)
		return 0;
	virt_set_error(error, "ending a block job that was left running");
	return -1;
}

static char *evaluate(const char *xml, const char *path)
{
	xmlDoc *document = xmlReadMemory(xml, (int)strlen(xml), "backup.xml", NULL,
					 XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	xmlXPathContext *context = document ? xmlXPathNewContext(document) : NULL;
	xmlXPathObject *found =
		context ? xmlXPathEvalExpression((const xmlChar *)path, context) : NULL;
	char *text = found && found->stringval ? g_strdup((const char *)found->stringval) : NULL;

	xmlXPathFreeObject(found);
	xmlXPathFreeContext(context);
	xmlFreeDoc(document);
	return text;
}

/* Where it serves, or writes to; NULL: there is none. */
static char *backup_place(virDomainPtr domain)
{
	char *xml = virDomainBackupGetXMLDesc(domain, 0);
	char *place = xml ? evaluate(xml, "string(/domainbackup/server/@socket | "
					  "/domainbackup/server/@name | "
					  "/domainbackup/disks/disk/target/@file)")
			  : NULL;

	free(xml);
	return place;
}

bool jobs_is_backup_at(virDomainPtr domain, const char *socket)
{
	g_autofree char *place = backup_place(domain);

	return g_strcmp0(place, socket) == 0;
}

/* libvirt answers before the job is gone, and what comes next would meet its rest. */
int jobs_end_backup(virDomainPtr domain, const char *socket, GError **error)
{
	gint64 until = g_get_monotonic_time() + END_TIMEOUT_S * G_USEC_PER_SEC;

	if (virDomainAbortJob(domain) < 0 && jobs_is_backup_at(domain, socket)) {
		virt_set_error(error, "ending the export of the disk");
		return -1;
	}
	while (jobs_is_backup_at(domain, socket)) {
		if (g_get_monotonic_time() > until) {
			g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
				    "ending the export of the disk: libvirt's job is still there "
				    "after %d s; virsh domjobabort ends it",
				    END_TIMEOUT_S);
			return -1;
		}
		g_usleep(END_LOOK_US);
	}
	return 0;
}

static int clear_backup(struct snapshot *snapshot, GError **error)
{
	g_autofree char *ours =
		g_build_filename(host_config(snapshot->host)->run_dir, "nbd-", NULL);
	g_autofree char *place = backup_place(snapshot->domain);

	if (!place)
		return 0;
	if (!g_str_has_prefix(place, ours)) {
		g_set_error(
			error, VIRT_ERROR, VIRT_ERROR_BUSY,
			"the guest has a backup job of somebody else's, at %s: it must end before "
			"a snapshot can begin",
			*place ? place : "(unknown)");
		return -1;
	}
	g_message("guest %s: a backup job that was left running at %s is ended", snapshot->uuid,
		  place);
	return jobs_end_backup(snapshot->domain, place, error);
}

/* A backup shows as a block job too, without a name. */
int jobs_clear(struct snapshot *snapshot, GError **error)
{
	return clear_backup(snapshot, error) < 0 ? -1 : clear_block_job(snapshot, error);
}

char *jobs_backup_scratch_index(virDomainPtr domain)
{
	char *xml = virDomainBackupGetXMLDesc(domain, 0);
	char *index = xml ? evaluate(xml, "string(/domainbackup/disks/disk/scratch/@index)") : NULL;

	free(xml);
	return index;
}
