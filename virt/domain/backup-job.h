/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A backup job of a running guest, which exports its disk over NBD at a socket (pull mode).
 */
#ifndef NOVASNAP_VIRT_DOMAIN_BACKUP_JOB_H
#define NOVASNAP_VIRT_DOMAIN_BACKUP_JOB_H

#include "virt/domain/guest-query.h"

/* Whether the guest's backup job serves this socket. */
enum guest_answer backup_job_serves(struct guest *guest, const char *socket, GError **error);

/* Waits until a backup job that was just begun is visible: it shows as a job of the guest before it
 * shows as a backup. Returns 0 once it serves the socket, once no job runs any more, or after the
 * time that libvirt lets a job wait; -1 with an error of guest_has_job. */
int backup_job_wait_visible(struct guest *guest, const char *socket, GError **error);

/* Ends the backup job that serves this socket, where there is one, and waits until it is gone.
 * Returns 0, or -1 with an error: VIRT_ERROR_TIMEOUT where it did not end. */
int backup_job_end(struct guest *guest, const char *socket, GError **error);

/* Resumes a guest that an I/O error paused, as a full scratch file does; a guest in any other state
 * is left as it is. Returns 0, or -1 with an error. */
int backup_job_resume_guest(struct guest *guest, GError **error);

/* The index that libvirt gives the scratch file, as in "vda[5]"; the caller frees it. NULL where it
 * is not known. */
char *backup_job_scratch_index(virDomainPtr domain);

#endif
