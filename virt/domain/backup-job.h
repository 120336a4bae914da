/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A backup job of a running guest, which exports its disk over NBD at a socket (pull mode).
 */
#ifndef NOVASNAP_VIRT_DOMAIN_BACKUP_JOB_H
#define NOVASNAP_VIRT_DOMAIN_BACKUP_JOB_H

#include "virt/domain/guest-query.h"

/* Whether the guest's backup job serves this socket. */
enum guest_answer backup_job_serves(struct guest *guest, const char *socket, GError **error);

/* Waits until a backup job that was just started is visible. libvirt reports it as a job of the
 * guest before it reports it as a backup. Returns 0 once the job serves the socket, once the guest
 * has no job any more, or after 40 seconds; -1 with an error of guest_has_job. */
int backup_job_wait_visible(struct guest *guest, const char *socket, GError **error);

/* Ends the backup job that serves this socket, if there is one, and waits until it is gone. Returns
 * 0, or -1 with an error: VIRT_ERROR_TIMEOUT if the job did not end. */
int backup_job_end(struct guest *guest, const char *socket, GError **error);

/* The index that libvirt assigned to the scratch file, as in "vda[5]"; the caller frees it. NULL if
 * it is unknown. */
char *backup_job_scratch_index(virDomainPtr domain);
/* The path of the scratch file; the caller frees it. NULL if it is unknown. */
char *backup_job_scratch_file(virDomainPtr domain);

#endif
