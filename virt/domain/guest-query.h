/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Questions about a guest. Every decision about a guest asks here, and gets yes, no or unknown.
 *
 * A question that meets a broken connection is asked again on a new one, on at most
 * GUEST_QUERY_CONNECTIONS of them; each takes at most [novasnap]libvirt_connect_timeout to open. A
 * question that libvirt did not answer within its time limit is not repeated. GUEST_UNKNOWN comes
 * with an error: VIRT_ERROR_DISCONNECTED, VIRT_ERROR_TIMEOUT, or VIRT_ERROR_FAILED where libvirt
 * answered, but not the question. It must never be taken for a no, nor for a yes.
 *
 * About a guest that libvirt does not know every answer is GUEST_NO.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_GUEST_QUERY_H
#define NOVASNAP_VIRT_DOMAIN_GUEST_QUERY_H

#include "virt/domain/guest.h"

#define GUEST_QUERY_CONNECTIONS 3

enum guest_answer {
	GUEST_NO,
	GUEST_YES,
	GUEST_UNKNOWN,
};

/* Whether libvirt knows the domain; looks it up again in every case. */
enum guest_answer guest_exists(struct guest *guest, GError **error);

/* Whether QEMU runs; the guest itself may be paused. */
enum guest_answer guest_is_active(struct guest *guest, GError **error);

/* Whether the domain stays defined when it is shut off. */
enum guest_answer guest_is_persistent(struct guest *guest, GError **error);

/* Whether it has a managed save image, from which its next start restores it. */
enum guest_answer guest_has_managed_save(struct guest *guest, GError **error);

/* Whether a job of the whole guest runs: a save, a backup, a migration; also where another
 * program started it. */
enum guest_answer guest_has_job(struct guest *guest, GError **error);

/* Whether the disk `target` has a block job; *ret_info (may be NULL) describes it. A guest that
 * does not run has none. */
enum guest_answer guest_has_block_job(struct guest *guest, const char *target,
				      virDomainBlockJobInfo *ret_info, GError **error);

/* Whether the disk `target` has a block job that copies it into the file `path`. */
enum guest_answer guest_has_copy_into(struct guest *guest, const char *target, const char *path,
				      GError **error);

/* Whether a backup job runs. *ret_place is the socket that it serves, or a file that it writes; ""
 * where libvirt names neither. The caller frees it. */
enum guest_answer guest_has_backup(struct guest *guest, char **ret_place, GError **error);

/* The guest's state (VIR_DOMAIN_*), and its reason where `ret_reason` is not NULL. -1 with an
 * error: VIRT_ERROR_NO_DOMAIN where libvirt does not know the guest, else one of GUEST_UNKNOWN. */
int guest_state(struct guest *guest, int *ret_reason, GError **error);
/* Whether QEMU runs in that state. */
bool guest_state_is_active(int state);

/* The XML of the domain, with virDomainXMLFlags; the caller frees it with free(). NULL with an
 * error as that of guest_state. */
char *guest_xml(struct guest *guest, unsigned flags, GError **error);

/* The size of the disk `target` in bytes. Returns 0, or -1 with an error as that of guest_state. */
int guest_disk_size(struct guest *guest, const char *target, uint64_t *ret_bytes, GError **error);

/* Waits for changes of the guest that libvirt is still making for a client that is gone: a question
 * about a disk is answered only after them. Returns 0, or -1 with VIRT_ERROR_TIMEOUT or
 * VIRT_ERROR_DISCONNECTED where libvirt is not done yet. */
int guest_wait_changes(struct guest *guest, const char *target, GError **error);

/* Waits until no job of the whole guest runs, at most ten minutes; libvirt goes on with a save when
 * the client that asked for it is gone. Returns 0, also where it does not know the guest, or -1
 * with an error. */
int guest_wait_idle(struct guest *guest, GError **error);

#endif
