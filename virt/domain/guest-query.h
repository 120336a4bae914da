/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queries about a guest's state. All decisions about a guest use them. The answer is yes, no or
 * unknown.
 *
 * If the connection is broken, the query is repeated on a new one, at most GUEST_QUERY_CONNECTIONS
 * times; opening each takes at most [novasnap]libvirt_connect_timeout. A query that exceeded its
 * time limit is not repeated. GUEST_UNKNOWN comes with an error: VIRT_ERROR_DISCONNECTED,
 * VIRT_ERROR_TIMEOUT, or VIRT_ERROR_FAILED if libvirt reported another error, or XML that cannot be
 * parsed. Callers must treat it
 * neither as no nor as yes.
 *
 * For a guest that libvirt does not know, every answer is GUEST_NO.
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

/* Whether libvirt knows the domain; always looks it up again. */
enum guest_answer guest_exists(struct guest *guest, GError **error);

/* Whether the guest's QEMU process is running; the guest itself may be paused. */
enum guest_answer guest_is_active(struct guest *guest, GError **error);

/* Whether the domain stays defined when it is shut off. */
enum guest_answer guest_is_persistent(struct guest *guest, GError **error);

/* Whether the guest has a managed save image, from which its next start restores it. */
enum guest_answer guest_has_managed_save(struct guest *guest, GError **error);

/* Whether a job of the whole guest is running (a save, a backup or a migration), including jobs of
 * other programs. */
enum guest_answer guest_has_job(struct guest *guest, GError **error);

/* Whether the disk `target` has a block job; *ret_info (may be NULL) describes it. A guest that is
 * not running has none. */
enum guest_answer guest_has_block_job(struct guest *guest, const char *target,
				      virDomainBlockJobInfo *ret_info, GError **error);

/* Whether the disk `target` has a block job that mirrors it to a file, which is stored in
 * *ret_path; the caller frees it. */
enum guest_answer guest_has_mirror_file(struct guest *guest, const char *target, char **ret_path,
					GError **error);

/* Whether the disk `target` has a block job that copies it into the file `path`. */
enum guest_answer guest_has_copy_into(struct guest *guest, const char *target, const char *path,
				      GError **error);

/* Whether a backup job is running. *ret_place is the socket that it serves, or a file that it
 * writes; "" if libvirt reports neither. The caller frees it. */
enum guest_answer guest_has_backup(struct guest *guest, char **ret_place, GError **error);

/* The guest's state (VIR_DOMAIN_*); its reason is stored if `ret_reason` is not NULL. -1 with an
 * error: VIRT_ERROR_NO_DOMAIN if libvirt does not know the guest, else one of those of
 * GUEST_UNKNOWN. */
int guest_state(struct guest *guest, int *ret_reason, GError **error);
/* Whether the guest has a QEMU process in that state. */
bool guest_state_is_active(int state);

/* The domain's XML, with virDomainXMLFlags; the caller frees it with free(). NULL with an error as
 * from guest_state. */
char *guest_xml(struct guest *guest, unsigned flags, GError **error);

/* The size of the disk `target` in bytes. Returns 0, or -1 with an error as from guest_state. */
int guest_disk_size(struct guest *guest, const char *target, uint64_t *ret_bytes, GError **error);

/* Waits for changes of the guest that libvirt is still making for a client that has disconnected:
 * libvirt answers a question about a disk only after them. Returns 0, or -1 with VIRT_ERROR_TIMEOUT
 * or VIRT_ERROR_DISCONNECTED if libvirt has not finished. */
int guest_wait_changes(struct guest *guest, const char *target, GError **error);

/* Waits until no job of the whole guest is running, at most ten minutes. libvirt continues a save
 * even when the client that requested it has disconnected. Returns 0, also if libvirt does not know
 * the guest, or -1 with an error. */
int guest_wait_idle(struct guest *guest, GError **error);

#endif
