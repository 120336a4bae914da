/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Live, by block copy (nova's _live_snapshot): QEMU mirrors the top of the chain into a delta with
 * the same backing file; once it has caught up, the job is ended without a switch, and the delta
 * holds that instant. The domain stays defined: the copy is a transient job.
 */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "virt/internal.h"

#define END_TIMEOUT_S 60

static int job_info(struct snapshot *snapshot, virDomainBlockJobInfo *info)
{
	memset(info, 0, sizeof(*info));
	return virDomainGetBlockJobInfo(snapshot->domain, snapshot->disk->target, info, 0);
}

static uint64_t job_progress(void *opaque)
{
	virDomainBlockJobInfo info;

	return job_info(opaque, &info) == 1 ? info.cur : 0;
}

static char *mirror_xml(const struct snapshot *snapshot)
{
	return g_markup_printf_escaped("<disk type='file'><source file='%s'/>"
				       "<driver type='qcow2'/></disk>",
				       snapshot->delta);
}

/* What is defined again later. A password in it would have to be kept, in the journal too. */
static char *read_definition(struct snapshot *snapshot, GError **error)
{
	char *xml = virDomainGetXMLDesc(snapshot->domain, VIR_DOMAIN_XML_INACTIVE);
	char *whole = virDomainGetXMLDesc(snapshot->domain,
					  VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
	char *definition = NULL;

	if (!xml || !whole)
		virt_set_error(error, "reading the guest's definition, to undefine it");
	else if (g_str_equal(xml, whole))
		definition = g_strdup(xml);
	else
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
				    "the guest would have to be undefined for the time of the "
				    "copy, and its definition has a password, which is kept "
				    "nowhere: set [novasnap]live_method = stream");
	free(xml);
	free(whole);
	return definition;
}

/* Where the copy must not be on a persistent domain: it is made transient until the copy has ended.
 */
static int undefine(struct snapshot *snapshot, GError **error)
{
	unsigned flags = VIR_DOMAIN_UNDEFINE_KEEP_NVRAM;
	g_autofree char *tpm = NULL;
	cJSON *undo;

	snapshot->definition = read_definition(snapshot, error);
	if (!snapshot->definition)
		return -1;
	/* A libvirt that takes no transient copy does not know this flag either. */
	tpm = domain_text(snapshot->definition, "/domain/devices/tpm/backend/@type");
	if (tpm)
		flags |= VIR_DOMAIN_UNDEFINE_KEEP_TPM;
	undo = cJSON_CreateObject();
	cJSON_AddStringToObject(undo, "xml", snapshot->definition);
	step_note_boot(undo);
	if (step_begin(snapshot, "undefine", undo, error) < 0)
		return -1;
	snapshot->undefined = true;
	if (virDomainUndefineFlags(snapshot->domain, flags) == 0)
		return step_end(snapshot, "undefine", error);
	virt_set_error(error, "undefining the guest for the time of the copy");
	return -1;
}

static int copy(struct snapshot *snapshot, unsigned flags)
{
	g_autofree char *xml = mirror_xml(snapshot);

	watch_reset(snapshot->watch);
	snapshot->job_started = true;
	if (virDomainBlockCopy(snapshot->domain, snapshot->disk->target, xml, NULL, 0, flags) == 0)
		return 0;
	snapshot->job_started = false;
	return -1;
}

/* That of a libvirt which takes no transient copy. */
static bool is_not_known(int code)
{
	return code == VIR_ERR_INVALID_ARG || code == VIR_ERR_ARGUMENT_UNSUPPORTED ||
	       code == VIR_ERR_OPERATION_UNSUPPORTED;
}

static int start_copy(struct snapshot *snapshot, GError **error)
{
	unsigned flags = VIR_DOMAIN_BLOCK_COPY_SHALLOW | VIR_DOMAIN_BLOCK_COPY_REUSE_EXT;
	cJSON *undo = cJSON_CreateObject();
	g_autoptr(GError) refused = NULL;
	int code;

	cJSON_AddStringToObject(undo, "target", snapshot->disk->target);
	cJSON_AddStringToObject(undo, "delta", snapshot->delta);
	if (step_begin(snapshot, "copy", undo, error) < 0)
		return -1;
	/* A fault here stands for a libvirt that does not know it. */
	if (step_begin(snapshot, "transient", NULL, &refused) < 0) {
		code = VIR_ERR_ARGUMENT_UNSUPPORTED;
	} else if (copy(snapshot, flags | VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB) == 0) {
		return step_end(snapshot, "copy", error);
	} else {
		/* Each further call forgets what libvirt said. */
		code = virGetLastErrorCode();
		virt_set_error(&refused, "starting the block copy");
	}
	if (!is_not_known(code) || virDomainIsPersistent(snapshot->domain) != 1) {
		g_propagate_error(error, g_steal_pointer(&refused));
		return -1;
	}
	g_info("guest %s: no transient copy here (%s): it is undefined meanwhile", snapshot->uuid,
	       refused->message);
	if (undefine(snapshot, error) < 0)
		return -1;
	if (copy(snapshot, flags) == 0)
		return step_end(snapshot, "copy", error);
	virt_set_error(error, "starting the block copy");
	return -1;
}

static int wait_error(const struct snapshot *snapshot, enum watch_end end, const char *what,
		      GError **error)
{
	const char *target = snapshot->disk->target;

	switch (end) {
	case WATCH_GUEST_STOPPED:
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_JOB,
			    "%s: the guest stopped, and the block job of disk %s with it", what,
			    target);
		break;
	case WATCH_DISCONNECTED:
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED, "%s: libvirt is gone",
			    what);
		break;
	case WATCH_CANCELLED:
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_CANCELLED, "%s: cancelled", what);
		break;
	case WATCH_TIMEOUT:
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
			    "%s: the block job of disk %s made no progress for %u s", what, target,
			    host_config(snapshot->host)->job_timeout_s);
		break;
	case WATCH_ENDED:
	case WATCH_FAILED:
	case WATCH_READY:
	default:
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_JOB,
			    "%s: the block job of disk %s failed, or somebody ended it", what,
			    target);
		break;
	}
	return -1;
}

/* A guest whose CPUs are stopped tells of readiness like any other: the mirror is QEMU's own work.
 */
static int wait_ready(struct snapshot *snapshot, GError **error)
{
	unsigned timeout = host_config(snapshot->host)->job_timeout_s;
	enum watch_end end = watch_wait(snapshot->watch, false, timeout, snapshot->cancel,
					job_progress, snapshot);
	virDomainBlockJobInfo info;

	if (end != WATCH_READY)
		return wait_error(snapshot, end, "copying the disk", error);
	if (job_info(snapshot, &info) != 1)
		return wait_error(snapshot, WATCH_FAILED, "copying the disk", error);
	return 0;
}

/* Ends the job where it is: from here on the delta is of one instant. */
static int switch_off(struct snapshot *snapshot, GError **error)
{
	enum watch_end end;

	if (quiesce_begin(snapshot, error) < 0)
		return -1;
	if (step_begin(snapshot, "switch", NULL, error) < 0)
		return -1;
	if (virDomainBlockJobAbort(snapshot->domain, snapshot->disk->target, 0) < 0) {
		virt_set_error(error, "ending the block copy");
		return -1;
	}
	end = watch_wait(snapshot->watch, true, END_TIMEOUT_S, NULL, NULL, NULL);
	if (end != WATCH_ENDED)
		return wait_error(snapshot, end, "ending the block copy", error);
	snapshot->job_started = false;
	step_over(snapshot, "copy");
	if (step_end(snapshot, "switch", error) < 0)
		return -1;
	return quiesce_end(snapshot, error);
}

static int end_copy(struct snapshot *snapshot, GError **error)
{
	virDomainBlockJobInfo info;
	int there;

	snapshot->job_started = false;
	if (step_begin(snapshot, "abort", NULL, error) < 0)
		return -1;
	there = job_info(snapshot, &info);
	if (there < 0 && snapshot_is_cut_off(snapshot)) {
		virt_set_error(error, "asking for the block copy that failed");
		return -1;
	}
	if (there == 1 && virDomainBlockJobAbort(snapshot->domain, snapshot->disk->target, 0) < 0) {
		virt_set_error(error, "ending the block copy that failed");
		return -1;
	}
	step_over(snapshot, "copy");
	return step_end(snapshot, "abort", error);
}

static int define(struct snapshot *snapshot, GError **error)
{
	virDomainPtr defined;

	snapshot->undefined = false;
	if (step_begin(snapshot, "define", NULL, error) < 0)
		return -1;
	defined = virDomainDefineXML(snapshot->connection, snapshot->definition);
	if (!defined) {
		virt_set_error(error, "the guest could not be defined again, which is tried again");
		return -1;
	}
	(void)virDomainFree(defined);
	step_over(snapshot, "undefine");
	return step_end(snapshot, "define", error);
}

/* The first thing that went wrong is told. */
static int undo(struct snapshot *snapshot, GError **error)
{
	int rc = quiesce_end(snapshot, error);

	if (snapshot->job_started && end_copy(snapshot, rc == 0 ? error : NULL) < 0)
		rc = -1;
	if (snapshot->undefined && define(snapshot, rc == 0 ? error : NULL) < 0)
		rc = -1;
	return rc;
}

static int take(struct snapshot *snapshot, GError **error)
{
	virDomainBlockInfo size;
	const struct disk_layer *backing = NULL;
	g_autofree char *source = NULL;

	if (jobs_clear(snapshot, error) < 0)
		return -1;
	if (virDomainGetBlockInfo(snapshot->domain, snapshot->disk->target, &size, 0) < 0) {
		virt_set_error(error, "asking for the disk's size");
		return -1;
	}
	if (disk_complete_chain(snapshot->disk, host_config(snapshot->host)->backing_dirs,
				snapshot->cancel, error) < 0)
		return -1;
	if (snapshot->disk->layers->len > 1)
		backing = g_ptr_array_index(snapshot->disk->layers, 1);
	if (step_begin(snapshot, "delta", NULL, error) < 0 ||
	    qemu_img_create_delta(snapshot->delta, size.capacity, backing, snapshot->cancel,
				  error) < 0 ||
	    step_end(snapshot, "delta", error) < 0)
		return -1;
	if (start_copy(snapshot, error) < 0 || wait_ready(snapshot, error) < 0 ||
	    switch_off(snapshot, error) < 0 || undo(snapshot, error) < 0)
		return -1;
	source = disk_json_name_over(snapshot->disk, 1, snapshot->delta);
	return snapshot_copy_out(snapshot, source, NULL, error);
}

const struct snapshot_method method_rebase = {
	.name = "rebase",
	.live = true,
	.take = take,
	.undo = undo,
};
