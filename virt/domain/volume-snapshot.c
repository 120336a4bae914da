/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * External snapshots of a disk that Cinder stores in a file
 * (nova.virt.libvirt.driver._volume_snapshot_create).
 */
#include "virt/domain/guest-agent.h"
#include "virt/domain/volume-disk.h"

static char *snapshot_xml(const struct volume_disk *disk, const char *new_file)
{
	g_autofree char *path = volume_disk_path(disk, new_file);
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

static int create_snapshot(const struct volume_disk *disk, const char *xml, unsigned more_flags,
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

/* libvirt freezes the guest's filesystems, and always thaws them. */
static int create_frozen(struct volume_disk *disk, const char *xml, GError **error)
{
	int rc;

	guest_agent_begin_limit(&disk->guest);
	rc = guest_connect(&disk->guest, error);
	if (rc == 0)
		rc = create_snapshot(disk, xml, VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE, error);
	guest_agent_end_limit(&disk->guest);
	return rc;
}

/* Freezes the guest's filesystems if possible. */
static int create_quiesced(struct volume_disk *disk, const struct virt_volume *volume,
			   const char *xml, GError **error)
{
	g_autoptr(GError) local = NULL;

	if (!volume->guest_agent)
		g_set_error_literal(&local, VIRT_ERROR, VIRT_ERROR_NO_AGENT,
				    "the image lacks the property hw_qemu_guest_agent");
	else if (create_frozen(disk, xml, &local) == 0)
		return 0;
	if (volume->require_quiesce) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (volume->guest_agent)
		g_message("guest %s: the snapshot of volume %s is taken without freezing the "
			  "guest's filesystems: %s",
			  volume->uuid, volume->volume_id, local->message);
	return create_snapshot(disk, xml, 0, error);
}

int virt_volume_snapshot_create(struct virt_host *host, const struct virt_volume *volume,
				const char *new_file, GError **error)
{
	struct volume_disk disk;
	g_autofree char *xml = NULL;
	g_autofree char *path = NULL;
	int rc = volume_disk_open(&disk, host, volume, error);

	if (rc == 0)
		path = volume_disk_path(&disk, new_file);
	if (rc == 0 && volume->resuming && g_str_equal(disk.disk->file, path)) {
		g_message("guest %s: volume %s is already writing to %s", volume->uuid,
			  volume->volume_id, path);
		guest_agent_end_limit(&disk.guest);
	} else if (rc == 0) {
		xml = snapshot_xml(&disk, new_file);
		rc = create_quiesced(&disk, volume, xml, error);
	}
	volume_disk_close(&disk);
	return rc;
}
