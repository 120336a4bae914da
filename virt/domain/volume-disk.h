/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disk of a guest whose volume Cinder stores in a file. Shared by volume-snapshot.c and
 * volume-merge.c.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_VOLUME_DISK_H
#define NOVASNAP_VIRT_DOMAIN_VOLUME_DISK_H

#include "virt/domain/domain-xml.h"
#include "virt/domain/guest.h"

struct volume_disk {
	struct guest guest;
	char *xml; /* the domain's XML */
	GPtrArray *disks;
	const struct domain_disk *disk; /* the volume, in `disks`; its file is set */
};

/* Finds the disk whose serial is the volume's id. If the request is resumed, it first waits for
 * operations that libvirt is still running for the process that died. Always call volume_disk_close
 * afterwards. Returns 0, or -1 with VIRT_ERROR_UNSUPPORTED if there is no such disk or it is not a
 * file, VIRT_ERROR_BUSY or VIRT_ERROR_CANCELLED if another block job did not end, or an error of
 * guest_xml. */
int volume_disk_open(struct volume_disk *disk, struct virt_host *host,
		     const struct virt_volume *volume, GError **error);
/* Reads the domain's XML again. Returns 0, or -1 with VIRT_ERROR_UNSUPPORTED or an error of
 * guest_xml; then the disk is not known any more. */
int volume_disk_read_again(struct volume_disk *disk, const struct virt_volume *volume,
			   GError **error);
/* Waits for operations that libvirt is still running for a request whose answer was lost, and reads
 * the domain's XML again. Errors are those of volume_disk_open. */
int volume_disk_settle(struct volume_disk *disk, const struct virt_volume *volume, GError **error);
void volume_disk_close(struct volume_disk *disk);

/* The path of a file that Cinder names; relative names are relative to the volume's folder. The
 * caller frees it. */
char *volume_disk_path(const struct volume_disk *disk, const char *name);

#endif
