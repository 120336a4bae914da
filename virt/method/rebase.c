/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The live method rebase, by a block copy (nova's _live_snapshot): QEMU mirrors the top of the
 * chain to a delta with the same backing file. When the copy is complete, the job is ended without
 * a pivot, and the delta holds the disk at that point in time. The job is transient, so that the
 * domain stays defined; a libvirt without transient jobs needs the domain undefined during the
 * copy.
 */
#include <cjson/cJSON.h>
#include <limits.h>
#include <stdlib.h>

#include "virt/domain/disk-chain.h"
#include "virt/domain/disk-filename.h"
#include "virt/domain/guest-query.h"
#include "virt/libvirt/xml.h"
#include "virt/method/copy-out.h"
#include "virt/method/left-jobs.h"
#include "virt/method/quiesce.h"
#include "virt/method/room.h"
#include "virt/qemu-img.h"
#include "virt/steps.h"

#define END_TIMEOUT_S 60
/* From this version of libvirt on, no guest is undefined. Transient jobs exist since 3.5.0. */
#define TRANSIENT_VERSION 9000000

static int make_delta(struct snapshot *snapshot, GError **error)
{
	const struct disk_layer *backing = NULL;
	uint64_t size;

	if (guest_disk_size(&snapshot->guest, snapshot->disk->target, &size, error) < 0 ||
	    disk_complete_chain(snapshot->disk, snapshot->config->backing_dirs, snapshot->cancel,
				error) < 0)
		return -1;
	if (snapshot->disk->layers->len > 1)
		backing = g_ptr_array_index(snapshot->disk->layers, 1);
	if (step_begin(snapshot, "delta", NULL, error) < 0 ||
	    qemu_img_create_delta(snapshot->delta, size, backing ? backing->path : NULL,
				  backing ? backing->format : NULL, snapshot->cancel, error) < 0)
		return -1;
	return step_end(snapshot, "delta", error);
}

/* The definition is journaled, so that the guest can be defined again. A password in it would be
 * journaled, too. */
static char *read_definition(struct snapshot *snapshot, GError **error)
{
	char *xml = guest_xml(&snapshot->guest, VIR_DOMAIN_XML_INACTIVE, error);
	char *secure = NULL;
	char *definition = NULL;

	if (xml)
		secure = guest_xml(&snapshot->guest,
				   VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE, error);
	if (secure && g_str_equal(xml, secure))
		definition = g_strdup(xml);
	else if (secure)
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
				    "the guest would have to be undefined during the copy, and its "
				    "definition has a password, which must not be written to the "
				    "journal: set [novasnap]live_method = stream");
	free(xml);
	free(secure);
	return definition;
}

static int undefine_guest(struct snapshot *snapshot, GError **error)
{
	unsigned flags = VIR_DOMAIN_UNDEFINE_KEEP_NVRAM;
	g_autofree char *definition = read_definition(snapshot, error);
	g_autofree char *tpm = NULL;
	cJSON *undo;

	if (!definition)
		return -1;
	/* Only if it is needed: a libvirt without transient jobs may not know this flag. */
	tpm = virt_xml_text(definition, "/domain/devices/tpm/backend/@type");
	if (tpm)
		flags |= VIR_DOMAIN_UNDEFINE_KEEP_TPM;
	undo = cJSON_CreateObject();
	cJSON_AddStringToObject(undo, "xml", definition);
	step_note_process(undo);
	if (step_begin(snapshot, "undefine", undo, error) < 0)
		return -1;
	if (virDomainUndefineFlags(snapshot->guest.domain, flags) == 0)
		return step_end(snapshot, "undefine", error);
	virt_set_error(error, "undefining the guest for the duration of the copy");
	return -1;
}

/* Returns what virDomainBlockCopy returns. */
static int begin_block_copy(struct snapshot *snapshot, unsigned more_flags)
{
	unsigned flags = VIR_DOMAIN_BLOCK_COPY_SHALLOW | VIR_DOMAIN_BLOCK_COPY_REUSE_EXT;
	g_autofree char *xml = g_markup_printf_escaped("<disk type='file'><source file='%s'/>"
						       "<driver type='qcow2'/></disk>",
						       snapshot->delta);

	domain_events_forget_block_job(snapshot->events);
	return virDomainBlockCopy(snapshot->guest.domain, snapshot->disk->target, xml, NULL, 0,
				  flags | more_flags);
}

/* Whether libvirt's last error says that it does not know the flag of transient jobs: virCheckFlags
 * names the argument. Other invalid arguments have the same code. */
static bool is_flag_unknown(void)
{
	const virError *last = virGetLastError();

	return last && last->code == VIR_ERR_INVALID_ARG && g_strcmp0(last->str2, "flags") == 0;
}

/* Whether this libvirt may lack transient jobs. False if its version is unknown. */
static bool is_libvirt_old(const struct guest *guest)
{
	unsigned long version = ULONG_MAX;

	return virConnectGetLibVersion(guest->connection, &version) == 0 &&
	       version < TRANSIENT_VERSION;
}

/* Returns 0, -1 with an error, or 1 if libvirt has no transient jobs. */
static int start_transient_copy(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) refused = NULL;
	bool is_missing = true;

	/* An injected fault at this step simulates a libvirt without transient jobs. */
	if (step_begin(snapshot, "transient", NULL, &refused) == 0) {
		if (begin_block_copy(snapshot, VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB) == 0)
			return 0;
		is_missing = is_flag_unknown();
		virt_set_error(&refused, "starting the block copy");
		is_missing = is_missing && is_libvirt_old(&snapshot->guest);
	}
	if (is_missing) {
		enum guest_answer persistent = guest_is_persistent(&snapshot->guest, error);

		if (persistent == GUEST_UNKNOWN)
			return -1;
		if (persistent == GUEST_YES) {
			g_info("guest %s: libvirt has no transient block copy (%s): undefining the "
			       "guest during the copy",
			       snapshot->guest.uuid, refused->message);
			return 1;
		}
	}
	g_propagate_error(error, g_steal_pointer(&refused));
	return -1;
}

static int begin_copy_step(struct snapshot *snapshot, GError **error)
{
	cJSON *undo = cJSON_CreateObject();

	cJSON_AddStringToObject(undo, "target", snapshot->disk->target);
	cJSON_AddStringToObject(undo, "delta", snapshot->delta);
	return step_begin(snapshot, "copy", undo, error);
}

/* Steps are rolled back in the opposite order: the guest is undefined before the copy begins, so
 * that it is defined again after the copy has ended. */
static int copy_while_undefined(struct snapshot *snapshot, GError **error)
{
	if (undefine_guest(snapshot, error) < 0 || begin_copy_step(snapshot, error) < 0)
		return -1;
	if (begin_block_copy(snapshot, 0) == 0)
		return step_end(snapshot, "copy", error);
	virt_set_error(error, "starting the block copy");
	return -1;
}

static int start_copy(struct snapshot *snapshot, GError **error)
{
	int rc;

	if (begin_copy_step(snapshot, error) < 0)
		return -1;
	rc = start_transient_copy(snapshot, error);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return step_end(snapshot, "copy", error);
	step_clear(snapshot, "copy");
	return copy_while_undefined(snapshot, error);
}

static int set_copy_error(const struct snapshot *snapshot, enum block_job_outcome outcome,
			  const char *what, GError **error)
{
	const char *target = snapshot->disk->target;
	g_autofree char *why = domain_events_copy_error(snapshot->events);

	switch (outcome) {
	case BLOCK_JOB_GUEST_STOPPED:
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_JOB,
			    "%s: the block job of disk %s ended, because the guest stopped", what,
			    target);
		break;
	case BLOCK_JOB_DISCONNECTED:
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED,
			    "%s: the connection to libvirt broke", what);
		break;
	case BLOCK_JOB_CANCELLED:
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_CANCELLED, "%s: cancelled", what);
		break;
	case BLOCK_JOB_TIMEOUT:
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
			    "%s: the block job of disk %s made no progress for %u s", what, target,
			    snapshot->config->job_timeout_s);
		break;
	case BLOCK_JOB_ENDED:
	case BLOCK_JOB_FAILED:
	case BLOCK_JOB_ABORTED:
	case BLOCK_JOB_READY:
	default:
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_JOB, "%s: the block job of disk %s %s%s",
			    what, target, why ? "failed: " : "failed, or another program ended it",
			    why ? why : "");
		break;
	}
	return -1;
}

static uint64_t read_copy_progress(void *opaque)
{
	struct snapshot *snapshot = opaque;
	virDomainBlockJobInfo info;

	return guest_has_block_job(&snapshot->guest, snapshot->disk->target, &info, NULL) ==
			       GUEST_YES
		       ? info.cur
		       : 0;
}

/* The copy of a paused guest becomes ready, too, since QEMU copies without the guest. */
static int wait_copy_ready(struct snapshot *snapshot, GError **error)
{
	static const char what[] = "copying the disk";
	enum block_job_outcome outcome = domain_events_wait_block_job(
		snapshot->events, false, snapshot->config->job_timeout_s, snapshot->cancel,
		read_copy_progress, snapshot);
	enum guest_answer running;

	if (outcome != BLOCK_JOB_READY)
		return set_copy_error(snapshot, outcome, what, error);
	running = guest_has_block_job(&snapshot->guest, snapshot->disk->target, NULL, error);
	if (running == GUEST_NO)
		return set_copy_error(snapshot, BLOCK_JOB_FAILED, what, error);
	return running == GUEST_YES ? 0 : -1;
}

/* Ends the job at its current state: from then on the delta belongs to a single point in time. */
static int end_block_copy(struct snapshot *snapshot, GError **error)
{
	static const char what[] = "ending the block copy";
	enum block_job_outcome outcome;

	/* QEMU still copies what the guest has just written: that may fail after the abort. */
	if (domain_events_watch_copy_end(snapshot->events, &snapshot->guest, error) < 0 ||
	    quiesce_begin(snapshot, error) < 0 || step_begin(snapshot, "switch", NULL, error) < 0)
		return -1;
	if (virDomainBlockJobAbort(snapshot->guest.domain, snapshot->disk->target, 0) < 0) {
		virt_set_error(error, what);
		return -1;
	}
	outcome = domain_events_wait_block_job(snapshot->events, true, END_TIMEOUT_S, NULL, NULL,
					       NULL);
	if (outcome != BLOCK_JOB_ENDED)
		return set_copy_error(snapshot, outcome, what, error);
	step_clear(snapshot, "copy");
	if (step_end(snapshot, "switch", error) < 0)
		return -1;
	return quiesce_end(snapshot, error);
}

/* The delta takes a copy of the top file, and the image a copy of the whole chain. */
static int rebase_check_room(struct snapshot *snapshot, GError **error)
{
	const struct virt_config *config = snapshot->config;
	int64_t room = room_free(config->snapshots_directory);
	uint64_t size, wanted;

	if (guest_disk_size(&snapshot->guest, snapshot->disk->target, &size, error) < 0)
		return -1;
	wanted = room_allocated(snapshot->disk, size) + room_allocated_top(snapshot->disk, size) +
		 config->scratch_reserve_mib * ROOM_MIB;
	if (room >= 0 && (uint64_t)room >= wanted)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS,
		    "[libvirt]snapshots_directory %s has %" G_GINT64_FORMAT
		    " MiB free, but %" G_GUINT64_FORMAT
		    " MiB may be needed for a copy of the disk: make room, or set another folder",
		    config->snapshots_directory, MAX(room, 0) / (int64_t)ROOM_MIB,
		    (wanted + ROOM_MIB - 1) / ROOM_MIB);
	return -1;
}

static int rebase_take(struct snapshot *snapshot, GError **error)
{
	g_autofree char *source = NULL;

	if (left_jobs_end(snapshot, error) < 0 || make_delta(snapshot, error) < 0 ||
	    start_copy(snapshot, error) < 0 || wait_copy_ready(snapshot, error) < 0 ||
	    end_block_copy(snapshot, error) < 0 || step_close(snapshot, "undefine", error) < 0)
		return -1;
	source = disk_json_filename_over(snapshot->disk, 1, snapshot->delta);
	return snapshot_copy_out(snapshot, source, NULL, error);
}

const struct snapshot_method method_rebase = {
	.name = "rebase",
	.live = true,
	.check_room = rebase_check_room,
	.take = rebase_take,
};
