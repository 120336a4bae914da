/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * External snapshots of a disk that Cinder stores in a file
 * (nova.virt.libvirt.driver._volume_snapshot_create).
 */
#include "virt/domain/freeze.h"
#include "virt/domain/guest-agent.h"
#include "virt/domain/guest-query.h"
#include "virt/domain/volume-disk.h"

/* As long as Cinder waits for the result. */
#define ASK_TIMEOUT_S ((gint64)600)
#define ASK_PAUSE_US (2 * G_USEC_PER_SEC)

struct request {
	const char *xml;
	const char *path; /* of the new file */
	bool quiesces;
};

static char *snapshot_xml(const struct volume_disk *disk, const char *path)
{
	g_autoptr(GString) xml = g_string_new("<domainsnapshot><disks>");
	g_autofree char *chosen =
		g_markup_printf_escaped("<disk name='%s' snapshot='external' type='file'>"
					"<driver type='qcow2'/><source file='%s'/></disk>",
					disk->disk->target, path);

	g_string_append(xml, chosen);
	for (guint i = 0; i < disk->disks->len; i++) {
		const struct domain_disk *other = disk->disks->pdata[i];
		g_autofree char *excluded =
			g_markup_printf_escaped("<disk name='%s' snapshot='no'/>", other->target);

		if (other != disk->disk)
			g_string_append(xml, excluded);
	}
	g_string_append(xml, "</disks></domainsnapshot>");
	return g_strdup(xml->str);
}

/* Returns what virDomainSnapshotCreateXML returns. */
static int request_snapshot(const struct volume_disk *disk, const char *xml, unsigned more_flags,
			    GError **error)
{
	virDomainSnapshotPtr created = virDomainSnapshotCreateXML(
		disk->guest.domain, xml,
		VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA | VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY |
			VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT | more_flags);

	if (!created) {
		virt_set_error(error, "taking the volume's snapshot");
		return -1;
	}
	(void)virDomainSnapshotFree(created);
	return 0;
}

static bool is_unanswered(const GError *error)
{
	return g_error_matches(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED) ||
	       g_error_matches(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT);
}

/* Whether the guest writes to the new file nevertheless, after a request that failed because of
 * `why`. Without an answer libvirt may have taken the snapshot, and it also fails if it cannot thaw
 * the guest afterwards. libvirtd may be restarting: it is asked again. */
static enum guest_answer is_taken(struct volume_disk *disk, const struct virt_volume *volume,
				  const char *path, const GError *why, GError **error)
{
	gint64 until = g_get_monotonic_time() + ASK_TIMEOUT_S * G_USEC_PER_SEC;

	for (;;) {
		g_autoptr(GError) local = NULL;

		if ((!is_unanswered(why) || guest_wait_idle(&disk->guest, &local) == 0) &&
		    volume_disk_read_again(disk, volume, &local) == 0)
			return g_str_equal(disk->disk->file, path) ? GUEST_YES : GUEST_NO;
		if (!is_unanswered(local) || g_get_monotonic_time() > until ||
		    (volume->cancel && atomic_load(volume->cancel) != 0)) {
			g_propagate_prefixed_error(error, g_steal_pointer(&local),
						   "%s; it is unknown whether the guest writes to "
						   "%s: ",
						   why->message, path);
			return GUEST_UNKNOWN;
		}
		g_usleep(ASK_PAUSE_US);
	}
}

/* Whether the snapshot was taken; sets an error if not. */
static enum guest_answer create_snapshot(struct volume_disk *disk, const struct virt_volume *volume,
					 const struct request *request, GError **error)
{
	unsigned flags = request->quiesces ? VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE : 0;
	g_autoptr(GError) why = NULL;
	enum guest_answer taken;

	if (guest_connect(&disk->guest, error) < 0)
		return GUEST_NO;
	if (request_snapshot(disk, request->xml, flags, &why) == 0)
		return GUEST_YES;
	taken = is_taken(disk, volume, request->path, why, error);
	/* libvirt thaws the guest after a failure, but may have been restarted. */
	if (request->quiesces && (taken == GUEST_YES || is_unanswered(why)))
		guest_thaw_left_frozen(&disk->guest);
	if (taken == GUEST_YES)
		g_message("guest %s: volume %s: %s; but the snapshot was taken", volume->uuid,
			  volume->volume_id, why->message);
	if (taken == GUEST_NO)
		g_propagate_error(error, g_steal_pointer(&why));
	return taken;
}

/* libvirt freezes the guest's filesystems, and thaws them. */
static enum guest_answer create_frozen(struct volume_disk *disk, const struct virt_volume *volume,
				       const struct request *request, GError **error)
{
	enum guest_answer taken;

	guest_agent_begin_limit(&disk->guest);
	taken = create_snapshot(disk, volume, request, error);
	guest_agent_end_limit(&disk->guest);
	return taken;
}

/* Freezes the guest's filesystems if possible. */
static int create_quiesced(struct volume_disk *disk, const struct virt_volume *volume,
			   const char *path, GError **error)
{
	g_autofree char *xml = snapshot_xml(disk, path);
	const struct request frozen = {xml, path, true}, unfrozen = {xml, path, false};
	g_autoptr(GError) local = NULL;
	enum guest_answer taken = GUEST_NO;

	if (!volume->guest_agent)
		g_set_error_literal(&local, VIRT_ERROR, VIRT_ERROR_NO_AGENT,
				    "the image lacks the property hw_qemu_guest_agent");
	else
		taken = create_frozen(disk, volume, &frozen, &local);
	if (taken == GUEST_YES)
		return 0;
	if (taken == GUEST_UNKNOWN || volume->require_quiesce) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (volume->guest_agent)
		g_message("guest %s: the snapshot of volume %s is taken without freezing the "
			  "guest's filesystems: %s",
			  volume->uuid, volume->volume_id, local->message);
	return create_snapshot(disk, volume, &unfrozen, error) == GUEST_YES ? 0 : -1;
}

int virt_volume_snapshot_create(struct virt_host *host, const struct virt_volume *volume,
				const char *new_file, GError **error)
{
	struct volume_disk disk;
	g_autofree char *path = NULL;
	int rc = volume_disk_open(&disk, host, volume, error);

	if (rc == 0)
		path = volume_disk_path(&disk, new_file);
	/* libvirtd may have died, too, while the guest was frozen. */
	if (rc == 0 && volume->resuming && volume->guest_agent)
		guest_thaw_left_frozen(&disk.guest);
	if (rc == 0 && volume->resuming && g_str_equal(disk.disk->file, path)) {
		g_message("guest %s: volume %s is already writing to %s", volume->uuid,
			  volume->volume_id, path);
		guest_agent_end_limit(&disk.guest);
	} else if (rc == 0) {
		rc = create_quiesced(&disk, volume, path, error);
	}
	volume_disk_close(&disk);
	return rc;
}
