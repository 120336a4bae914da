/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The virt room: finds a guest in libvirt, and makes a snapshot of its root disk by one of several
 * methods (see method.h). Plain blocking code: a worker owns its struct snapshot, the host is
 * shared by all workers.
 */
#ifndef NOVASNAP_VIRT_VIRT_H
#define NOVASNAP_VIRT_VIRT_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "image/source.h"

#define VIRT_ERROR virt_error_quark()
GQuark virt_error_quark(void);

enum virt_error {
	VIRT_ERROR_FAILED,	 /* libvirt refused; its words are in the message */
	VIRT_ERROR_NO_DOMAIN,	 /* no domain of that uuid (nova: InstanceNotFound) */
	VIRT_ERROR_NO_ROOT_DISK, /* the domain has no disk that can be its root */
	VIRT_ERROR_UNSUPPORTED,	 /* a disk or guest that no method here can take */
	VIRT_ERROR_DISCONNECTED, /* libvirt is gone */
	VIRT_ERROR_PROCESS,	 /* qemu-img failed; its words are in the message */
	VIRT_ERROR_JOB,		 /* the block job failed, was aborted or vanished */
	VIRT_ERROR_BUSY,	 /* somebody else's job is on the disk */
	VIRT_ERROR_INSTANT_LOST, /* the instant that was read is gone: it may be tried anew */
	VIRT_ERROR_TIMEOUT,
	VIRT_ERROR_CANCELLED,
	VIRT_ERROR_CONFIG,
	VIRT_ERROR_NO_AGENT,   /* the guest agent is needed and not allowed (by the image) */
	VIRT_ERROR_NO_QUIESCE, /* such a guest cannot be frozen: a container, a paused guest */
	VIRT_ERROR_FREEZE,     /* freezing or thawing failed, or it was thawed before its time */
};

/* All strings belong to the caller and live as long as the host. */
struct virt_config {
	const char *connection_uri; /* [libvirt]connection_uri or from virt_type: qemu:///system */
	const char *snapshots_directory;   /* [libvirt]snapshots_directory, absolute */
	const char *snapshot_image_format; /* [libvirt]snapshot_image_format; NULL: the source's */
	bool snapshot_compression;	   /* [libvirt]snapshot_compression */
	bool compress_zstd;		   /* [novasnap]compression_type is zstd, not zlib */
	bool scan_zeroes;		   /* [novasnap]detect_zeroes is scan, not extents */
	bool disable_livesnapshot;	   /* [workarounds]disable_libvirt_livesnapshot */
	const char *live_method;	   /* [novasnap]live_method: a name from the table */
	const char *cold_method;	   /* [novasnap]cold_method */
	unsigned connect_timeout_s;	   /* how long the first connection is tried for */
	unsigned job_timeout_s;	 /* a block job that makes no progress for so long failed */
	unsigned call_timeout_s; /* a single call of libvirt's that takes longer has failed */
	unsigned save_timeout_s; /* the same of one that saves or restores a guest */
	unsigned keepalive_s;	 /* libvirt keepalive interval; 5 misses: gone */
	const char
		*container_format; /* of a container's disk, by [libvirt]images_type: raw, qcow2 */
	unsigned agent_timeout_s;  /* how long the guest agent may take for an answer */
	unsigned freeze_timeout_s; /* how long a snapshot may keep the guest frozen */
	const char *thaw_program;  /* novasnap-thaw, absolute */
	const char *run_dir;	   /* of sockets */
	const char *scratch_dir;   /* of what a guest overwrites while it is streamed */
	unsigned scratch_percent;  /* of a disk's size that must be free there to begin with */
	unsigned scratch_reserve_mib; /* less than so much free there ends a stream */
	unsigned nbd_timeout_s;	      /* how long any answer of an export may take */
	/* Where a file named by another file's header may lie, beside the disk's own folder. */
	const char *const *backing_dirs;
};

/* nova.compute.power_state */
enum guest_power_state {
	GUEST_NOSTATE = 0,
	GUEST_RUNNING = 1,
	GUEST_PAUSED = 3,
	GUEST_SHUTDOWN = 4,
	GUEST_CRASHED = 6,
	GUEST_SUSPENDED = 7,
};

struct virt_host;

/* Connects, and starts the thread that delivers libvirt's events. NULL with VIRT_ERROR_DISCONNECTED
 * or VIRT_ERROR_CONFIG. A connection that breaks later is opened anew by the next call that needs
 * it. `config` must outlive the host. */
struct virt_host *virt_host_open(const struct virt_config *config, GError **error);
void virt_host_close(struct virt_host *host);
typedef struct virt_host virt_host_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virt_host_t, virt_host_close)

/* Ends the exports that a process of ours left running when it was killed (jobs.c): their scratch
 * files would fill the disk, and stop the guests. What cannot be done is logged. */
void virt_host_sweep(struct virt_host *host);

/* --- for whoever checks a host (about.c, reach.c) ----------------------------------------------
 */

/* "libvirt 9.0.0, QEMU 7.2.22"; the caller frees it. */
char *virt_host_versions(struct virt_host *host, GError **error);

struct virt_user {
	uid_t uid;
	gid_t gid;
};
/* Whom libvirt runs QEMU as. */
int virt_host_qemu_user(struct virt_host *host, struct virt_user *ret_user, GError **error);
/* By its number where it has no name; the caller frees it. */
char *virt_user_name(uid_t uid);
/* Whether that user can pass through a folder and all above it; VIRT_ERROR_CONFIG names the first
 * that is in the way. */
int virt_user_check_reach(const struct virt_user *user, const char *path, GError **error);
/* Whether what this process makes in a folder can be shared with that user; VIRT_ERROR_CONFIG says
 * what it lacks. */
int virt_user_check_shared(const struct virt_user *user, const char *folder, GError **error);

/* The power state of the domain of that uuid as nova's _get_power_state gives it, or -1 with an
 * error. */
int virt_guest_power_state(struct virt_host *host, const char *uuid, GError **error);

/* The uuid of the domain of that name; the caller frees it. NULL with VIRT_ERROR_NO_DOMAIN. */
char *virt_guest_uuid_by_name(struct virt_host *host, const char *name, GError **error);

/* --- what is done to a guest as a whole (guest.c): 0, or -1 with an error --------------------- */

int virt_guest_pause(struct virt_host *host, const char *uuid, GError **error);
/* And sets the guest's clock, where its agent answers, as nova does. */
int virt_guest_unpause(struct virt_host *host, const char *uuid, GError **error);
/* Managed save. A guest with host devices is refused with VIRT_ERROR_UNSUPPORTED: they cannot be
 * saved. */
int virt_guest_suspend(struct virt_host *host, const char *uuid, GError **error);
int virt_guest_resume(struct virt_host *host, const char *uuid, GError **error);
/* Until libvirt is at no job of the guest's any more, as a save that somebody asked for who died.
 * 0 also where it does not know the guest. */
int virt_guest_wait_idle(struct virt_host *host, const char *uuid, GError **error);
/* Asks the guest to shut down, again every `retry_s`, and takes its power after `timeout_s`; 0: at
 * once (nova.virt.libvirt.driver.power_off). A guest that does not run, or that libvirt does not
 * know, is no error. */
int virt_guest_power_off(struct virt_host *host, const char *uuid, unsigned timeout_s,
			 unsigned retry_s, const atomic_int *cancel, GError **error);

/* Freezes the guest's filesystems for at most `limit_s`, whatever becomes of us: a process of its
 * own thaws them then, or when we die. VIRT_ERROR_FREEZE where they are frozen already. */
int virt_guest_freeze(struct virt_host *host, const char *uuid, unsigned limit_s, GError **error);
/* Thaws them, also where it was not we who froze them. VIRT_ERROR_FREEZE when that failed, or when
 * they were thawed before, for the time was over. */
int virt_guest_thaw(struct virt_host *host, const char *uuid, GError **error);

/* The work of novasnap-thaw: says "ready", and thaws the guest when its standard input ends or the
 * time is over; "done" on it ends the watch. Returns the process's exit status. */
int virt_thaw_watch(const char *uri, const char *uuid, unsigned limit_s);

/* --- disks that Cinder keeps in files (volume.c) ---------------------------------------------- */

struct virt_volume {
	const char *uuid;      /* of the instance */
	const char *volume_id; /* the disk's serial */
	bool guest_agent;
	bool require_quiesce;
	bool resuming; /* it may be done already, by who died since */
	const atomic_int *cancel;
};

/* From now on the disk writes to `new_file`, beside its file, which Cinder has made over it. */
int virt_volume_snapshot_create(struct virt_host *host, const struct virt_volume *volume,
				const char *new_file, GError **error);
/* Merges `file` into `target_file`; or, where that is NULL, all above `file` (NULL: the whole
 * chain) into the file that is written to. */
int virt_volume_snapshot_delete(struct virt_host *host, const struct virt_volume *volume,
				const char *file, const char *target_file, GError **error);

/* --- snapshots of the root disk ----------------------------------------------------------------
 */

/* Whoever asks for a snapshot may keep a journal of it. */
struct snapshot_steps {
	/* A step is about to have its effect. `undo`: what virt_guest_undo needs to take it back;
	 * NULL: nothing needs to be. When it fails, the step is not made. */
	int (*begin)(void *opaque, const char *step, const char *undo, GError **error);
	/* It had its effect; when this fails, so does the snapshot. */
	int (*end)(void *opaque, const char *step, GError **error);
	/* It was taken back, or nothing is left of it. */
	void (*over)(void *opaque, const char *step);
	void *opaque;
};

/* What is asked of a snapshot; strings are copied. */
struct snapshot_request {
	const char *uuid;	      /* of the instance, and so of the domain */
	const char *root_device_name; /* "/dev/vda"; NULL: the first disk */
	bool guest_agent;	  /* hw_qemu_guest_agent: the guest's filesystems may be frozen */
	bool require_quiesce;	  /* os_require_quiesce: a live snapshot without it fails */
	const atomic_int *cancel; /* looked at in every wait; may be NULL */
	const struct snapshot_steps *steps; /* outlives the snapshot; may be NULL */
};

/* In what takes a step back: the host's boot in which it was made, as virt_host_boot gives it. */
#define VIRT_UNDO_BOOT "boot"
/* The caller frees it; NULL: the kernel does not tell. */
char *virt_host_boot(void);

/* Takes back a step of a snapshot whose process died, as far as it was made and is not taken back
 * already; whatever somebody did meanwhile is respected. The steps of a snapshot are taken back in
 * the opposite order. 0 also where nothing was to do. */
int virt_guest_undo(struct virt_host *host, const char *uuid, const char *step, const char *undo,
		    GError **error);

struct snapshot;

/*
 * Looks at the guest and chooses the method as nova chooses. Changes nothing. The steps are then,
 * in this order: prepare, take, end; `end` is called whatever failed before.
 */
struct snapshot *snapshot_new(struct virt_host *host, const struct snapshot_request *request,
			      GError **error);

/* Known from the start. */
const char *snapshot_method(const struct snapshot *snapshot); /* "rebase", "extract", ... */
const char *snapshot_format(const struct snapshot *snapshot); /* disk_format of the image to be */

/* What nova does before the state image_pending_upload: a guest that must be saved is saved. */
int snapshot_prepare(struct snapshot *snapshot, GError **error);

/* Makes the snapshot and opens it. On return the guest is back in the power state it was in, also
 * when it failed. NULL with an error. The source is the caller's, and is freed before the end. */
struct image_source *snapshot_take(struct snapshot *snapshot, GError **error);

/* Whether what the source reads is still of one instant; from any thread, while the source lives.
 * 0, or -1 with VIRT_ERROR_INSTANT_LOST, _NO_DOMAIN (it was deleted) or _PROCESS (no room). Does
 * not block.
 */
int snapshot_verify_instant(struct snapshot *snapshot, GError **error);

/* Undoes whatever the steps left undone (job, guest, files) and frees the snapshot. Returns 0, or
 * -1 with the first thing that could not be undone. */
int snapshot_end(struct snapshot *snapshot, GError **error);

#endif
