/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that an I/O error has paused. During a backup job the cause may be the job's scratch
 * file, whose filesystem is full. The guest stays paused until somebody resumes it.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_IO_ERROR_H
#define NOVASNAP_VIRT_DOMAIN_IO_ERROR_H

#include "virt/domain/guest-query.h"

/* Whether the guest is paused by an I/O error. */
enum guest_answer io_error_has_paused(struct guest *guest, GError **error);

/* Whether it is, and libvirt reports the error for the disk `target`, or for no disk. */
enum guest_answer io_error_has_paused_at(struct guest *guest, const char *target, GError **error);

/* Resumes a guest that an I/O error of the disk `target` has paused. Call it after the backup job,
 * when its scratch file is removed. Does nothing if the guest is in another state, if another disk
 * has the error, if the file of the disk itself has no room, or if this function has resumed the
 * guest before (guest->io_error_resumed). Returns 0, or -1 with an error. */
int io_error_resume(struct guest *guest, const char *target, GError **error);

#endif
