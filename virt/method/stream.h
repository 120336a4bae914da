/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the two files of the method stream share.
 */
#ifndef NOVASNAP_VIRT_STREAM_H
#define NOVASNAP_VIRT_STREAM_H

#include "virt/internal.h"

/* A stream under way: the backup job of a guest that runs, or nothing but the program that serves a
 * disk at rest, which belongs to the source. */
struct stream {
	char *folder;	  /* of the socket, ours alone; NULL: none */
	char *socket;	  /* in it */
	char *scratch;	  /* the file; NULL: none */
	int lock;	  /* the folder's, while we live; -1: none */
	bool job_started; /* our backup job may run */
	struct guard *guard;
};

/* --- stream-places.c ---------------------------------------------------------------------------
 */

/* The names of what is to be there. VIRT_ERROR_CONFIG where QEMU's user, which is told, and ours
 * could not meet in run_dir. */
int stream_choose_places(struct snapshot *snapshot, struct stream *stream,
			 struct virt_user *ret_user, GError **error);
/* A socket's folder, ours alone; `ret_lock` as that of jobs_make_folder. */
int stream_make_folder(const char *folder, int *ret_lock, GError **error);
/* From now on QEMU's user may make its socket in it. */
int stream_share_folder(const char *folder, const struct virt_user *user, GError **error);

/* --- guard.c: no guest is hurt by a stream ---------------------------------------------------- */

/* A thread that looks after the room for the scratch file and ends the job while there is some
 * left; a guest that was paused on our account all the same goes on. */
struct guard;
struct guard *guard_start(struct snapshot *snapshot, GError **error);
/* Waits for the thread. Takes NULL. */
void guard_stop(struct guard *guard);
/* Whether it ended the job. */
bool guard_fired(struct guard *guard);
/* VIRT_ERROR_PROCESS when there is too little room to begin with. `size`: of the disk, in bytes. */
int guard_check_room(const struct virt_config *config, uint64_t size, GError **error);

#endif
