/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Restoring a guest that novasnap has saved.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_RESTORE_H
#define NOVASNAP_VIRT_DOMAIN_RESTORE_H

#include "virt/domain/guest.h"

/* Starts the guest from its managed save image; with `paused` it stays paused. A guest without an
 * image was started or stopped meanwhile, and stays as it is. Of a guest that runs, the image is
 * removed: it is not complete. First waits for jobs of the guest, since libvirt continues a save
 * without its client. Returns 0, also if libvirt does not know the guest, or -1 with an error:
 * VIRT_ERROR_BUSY if another program is saving it. */
int guest_restore(struct guest *guest, bool paused, GError **error);

#endif
