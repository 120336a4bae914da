/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The virt room: finds guests in libvirt, changes their power state, and makes snapshots of their
 * root disks by one of several methods. All functions block. A struct virt_host is shared by all
 * threads; a struct snapshot belongs to the thread that made it.
 *
 * Unless documented otherwise, a function returns 0, or -1 with a GError of the domain VIRT_ERROR.
 * Where libvirt does not answer, the error is VIRT_ERROR_DISCONNECTED or VIRT_ERROR_TIMEOUT, and
 * the guest's state is unknown.
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
	VIRT_ERROR_FAILED,	 /* libvirt or the system refused; its message is included */
	VIRT_ERROR_NO_DOMAIN,	 /* no domain of that uuid (nova: InstanceNotFound) */
	VIRT_ERROR_NO_ROOT_DISK, /* the domain has no disk that can be its root */
	VIRT_ERROR_UNSUPPORTED,	 /* a disk or guest that no method supports */
	VIRT_ERROR_DISCONNECTED, /* libvirt cannot be reached, or the connection broke */
	VIRT_ERROR_PROCESS,	 /* qemu-img failed, or scratch_dir has too little room */
	VIRT_ERROR_JOB,		 /* the block job failed, was aborted or vanished */
	VIRT_ERROR_BUSY, /* another program's job is on the disk, or the guest was started */
	VIRT_ERROR_INSTANT_LOST, /* what was read is not of one instant: a new try may help */
	VIRT_ERROR_TIMEOUT,	 /* libvirt, QEMU or qemu-img did not answer in time */
	VIRT_ERROR_CANCELLED,	 /* the cancel flag was set */
	VIRT_ERROR_CONFIG,	 /* the configuration cannot work */
	VIRT_ERROR_NO_AGENT,	 /* the guest agent is needed, and the image does not allow it */
	VIRT_ERROR_NO_QUIESCE,	 /* a guest that cannot be frozen, such as a paused one */
	VIRT_ERROR_FREEZE,	 /* freezing or thawing failed, or the guest was thawed early */
};

/* All strings belong to the caller and live as long as the host. */
struct virt_config {
	const char *connection_uri; /* [libvirt]connection_uri or from virt_type: qemu:///system */
	const char *snapshots_directory;   /* [libvirt]snapshots_directory, absolute */
	const char *snapshot_image_format; /* [libvirt]snapshot_image_format; NULL: the disk's */
	bool disable_livesnapshot;	   /* [workarounds]disable_libvirt_livesnapshot */
	const char *live_method;	   /* [novasnap]live_method */
	const char *cold_method;	   /* [novasnap]cold_method */
	unsigned connect_timeout_s;	   /* how long connecting to libvirt is tried */
	unsigned job_timeout_s;		   /* a block job without progress for so long has failed */
	unsigned call_timeout_s;	   /* limit of one call of libvirt */
	unsigned save_timeout_s;	   /* limit of one call that saves or restores a guest */
	unsigned keepalive_s; /* libvirt's keepalive interval; broken after 5 misses; 0: none */
	const char
		*container_format; /* of a container's disk, by [libvirt]images_type: raw, qcow2 */
	unsigned agent_timeout_s;  /* how long a guest agent may take to answer */
	unsigned freeze_timeout_s; /* how long a snapshot may keep the guest frozen */
	const char *thaw_program;  /* the path of novasnap-thaw */
	const char *run_dir;	   /* of sockets */
	const char *scratch_dir;   /* of what a guest overwrites while its disk is streamed */
	unsigned scratch_percent;  /* of a disk's size: must be free there when a stream begins */
	unsigned scratch_reserve_mib; /* with less free there, a stream is given up */
	unsigned nbd_timeout_s;	      /* how long an NBD server may take to answer */
	/* Folders in which the backing file that an image's header names may lie, besides the
	 * disk's own folder; NULL-terminated. */
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

/* The libvirt of this host. */
struct virt_host;

/* Connects to libvirt, and starts the threads that deliver its events and limit its calls. Only one
 * host can be open in a process. `config` must outlive it. NULL with VIRT_ERROR_DISCONNECTED or
 * VIRT_ERROR_CONFIG. */
struct virt_host *virt_host_open(const struct virt_config *config, GError **error);
/* Thaws the guests that are still frozen, and frees the host. Takes NULL. */
void virt_host_close(struct virt_host *host);
typedef struct virt_host virt_host_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virt_host_t, virt_host_close)

/* Ends the exports that a novasnapd which was killed left running: their scratch files would fill
 * the disk. Those of a process that lives go on. Failures are logged, and tried again at
 * the next start. */
void virt_host_sweep(struct virt_host *host);

/* "libvirt 9.0.0, QEMU 7.2.22"; the caller frees it. NULL with an error. */
char *virt_host_versions(struct virt_host *host, GError **error);

struct virt_user {
	uid_t uid;
	gid_t gid;
};
/* The user that libvirt runs QEMU as. */
int virt_host_qemu_user(struct virt_host *host, struct virt_user *ret_user, GError **error);
/* The user's name, or its number where it has none; the caller frees it. */
char *virt_user_name(uid_t uid);
/* Whether the user can traverse a folder and all folders above it. VIRT_ERROR_CONFIG names the
 * first one that the user cannot. */
int virt_user_check_reach(const struct virt_user *user, const char *path, GError **error);
/* Whether this process can share with the user what it makes in the folder. VIRT_ERROR_CONFIG says
 * what is missing. */
int virt_user_check_shared(const struct virt_user *user, const char *folder, GError **error);

/* The id of the host's present boot; the caller frees it. NULL where the kernel does not report it.
 */
char *virt_host_boot(void);

/* The power state of the domain of that uuid, an enum guest_power_state, as nova's _get_power_state
 * gives it; or -1 with an error. */
int virt_guest_power_state(struct virt_host *host, const char *uuid, GError **error);

/* The uuid of the domain of that name; the caller frees it. NULL with VIRT_ERROR_NO_DOMAIN, or
 * another error where libvirt did not answer. */
char *virt_guest_uuid_by_name(struct virt_host *host, const char *name, GError **error);

int virt_guest_pause(struct virt_host *host, const char *uuid, GError **error);
/* Also sets the guest's clock, where its agent answers, as nova does. */
int virt_guest_unpause(struct virt_host *host, const char *uuid, GError **error);
/* Saves the guest to disk (managed save). VIRT_ERROR_UNSUPPORTED for a container and for a guest
 * with host devices, which cannot be saved. */
int virt_guest_suspend(struct virt_host *host, const char *uuid, GError **error);
/* Restores a suspended guest. */
int virt_guest_resume(struct virt_host *host, const char *uuid, GError **error);
/* Waits until libvirt runs no job of the guest any more, such as a save that a process which has
 * died asked for; at most ten minutes. A guest that libvirt does not know has no job. */
int virt_guest_wait_idle(struct virt_host *host, const char *uuid, GError **error);
/* Asks the guest to shut down, again every `retry_s` seconds, and powers it off after `timeout_s`
 * (0: at once), as nova.virt.libvirt.driver.power_off does. A guest that does not run, or that
 * libvirt does not know, is powered off already. 0 is returned only once libvirt says that the
 * guest is off. `cancel` may be NULL. */
int virt_guest_power_off(struct virt_host *host, const char *uuid, unsigned timeout_s,
			 unsigned retry_s, const atomic_int *cancel, GError **error);

/* Freezes the guest's filesystems for at most `limit_s` seconds: a watchdog process thaws them
 * then, or when this process dies. VIRT_ERROR_FREEZE, also where they are frozen already. */
int virt_guest_freeze(struct virt_host *host, const char *uuid, unsigned limit_s, GError **error);
/* Thaws the guest's filesystems, also where another process froze them. VIRT_ERROR_FREEZE where
 * that fails, or where the watchdog has thawed them before, since their time was over. */
int virt_guest_thaw(struct virt_host *host, const char *uuid, GError **error);

/* The work of the watchdog process, novasnap-thaw: it writes "ready" to standard output once it is
 * connected to libvirt. It thaws the guest, and writes "thawed", after `limit_s` seconds or when
 * its standard input ends; "done" on its standard input ends it. Returns the exit status. */
int virt_thaw_watch(const char *uri, const char *uuid, unsigned limit_s);

/* A disk that Cinder keeps in a file, and a request for it. */
struct virt_volume {
	const char *uuid;      /* of the instance */
	const char *volume_id; /* the serial of the disk */
	bool guest_agent;      /* as in struct snapshot_request */
	bool require_quiesce;
	bool resuming; /* a process that has died may have done it already */
	const atomic_int *cancel;
};

/* Makes the disk write to `new_file` from now on, a file beside the disk's that Cinder has created
 * as its overlay (nova's _volume_snapshot_create). */
int virt_volume_snapshot_create(struct virt_host *host, const struct virt_volume *volume,
				const char *new_file, GError **error);
/* Merges `file` into `target_file`; where that is NULL, merges all files above `file` (NULL: the
 * whole chain) into the file that is written to (nova's _volume_snapshot_delete). */
int virt_volume_snapshot_delete(struct virt_host *host, const struct virt_volume *volume,
				const char *file, const char *target_file, GError **error);

/*
 * Snapshots of the root disk. Each effect of a snapshot on guest and host is a step. A step that
 * needs a rollback is open until it is rolled back, whether the snapshot succeeds or fails: so the
 * guest that was saved is restored by the rollback of "save". When the process dies, the owner of
 * the snapshot has the open steps in its journal, and rolls them back.
 */

/* The snapshot calls these functions, so that its owner can keep a journal. */
struct snapshot_steps {
	/* A step is about to have its effect. `undo` is what virt_guest_rollback_step needs; NULL:
	 * the step needs no rollback. Returns 0, or -1 with an error: then the step is not made. */
	int (*begin)(void *opaque, const char *step, const char *undo, GError **error);
	/* The step had its effect. Returns 0, or -1 with an error: then the snapshot fails. */
	int (*end)(void *opaque, const char *step, GError **error);
	/* The step is rolled back, or nothing is left of it. */
	void (*clear)(void *opaque, const char *step);
	void *opaque;
};

/* A key in `undo` of a step whose rollback starts or defines the guest: the boot of the host in
 * which it was made (virt_host_boot). After another boot the guest may be on another host. */
#define VIRT_UNDO_BOOT "boot"

/* Rolls back a step of a snapshot whose process has died, as far as it was made and is not rolled
 * back already. What other programs did meanwhile is respected: a guest that was started or stopped
 * stays so. The steps of a snapshot are rolled back in the opposite order. 0 also where nothing had
 * to be done. */
int virt_guest_rollback_step(struct virt_host *host, const char *uuid, const char *step,
			     const char *undo, GError **error);

/* Whether `step` must not be rolled back while the rollback of `failed`, a later step of the same
 * snapshot, keeps failing. With `last_attempt` it is rolled back where that is harmless. */
bool virt_step_waits_for(const char *step, const char *failed, bool last_attempt);

/* A request for a snapshot; strings are copied. */
struct snapshot_request {
	const char *uuid;	      /* of the instance, which is that of the domain */
	const char *root_device_name; /* "/dev/vda"; NULL: the first disk */
	bool guest_agent;	  /* hw_qemu_guest_agent: the guest's filesystems may be frozen */
	bool require_quiesce;	  /* os_require_quiesce: a live snapshot without freezing fails */
	bool compress;		  /* a finished image (see snapshot_gives_disk) is compressed */
	const atomic_int *cancel; /* looked at in every wait; may be NULL */
	const struct snapshot_steps *steps; /* outlives the snapshot; may be NULL */
};

struct snapshot;

/*
 * Reads the guest's state and disk, and chooses the method as nova does. Changes nothing. Then
 * follow, in this order, snapshot_prepare, snapshot_take and snapshot_end, which is called in every
 * case. NULL with an error.
 */
struct snapshot *snapshot_new(struct virt_host *host, const struct snapshot_request *request,
			      GError **error);

/* The method's name: "stream", "rebase", ... snapshot_take may change it. */
const char *snapshot_method(const struct snapshot *snapshot);
/* The image's disk_format. */
const char *snapshot_format(const struct snapshot *snapshot);

/* What nova does before the state image_pending_upload: saves the guest where that is needed. */
int snapshot_prepare(struct snapshot *snapshot, GError **error);

/* Makes the snapshot and opens it as a source, which the caller frees before snapshot_end. When
 * this returns, the guest is back in its first power state, also after a failure. NULL with an
 * error. */
struct image_source *snapshot_take(struct snapshot *snapshot, GError **error);

/* Whether the source of snapshot_take reads the guest's disk, as raw bytes, which the caller has to
 * encode in snapshot_format. Otherwise it reads the finished image. */
bool snapshot_gives_disk(const struct snapshot *snapshot);

/* Whether what the source reads is still of one instant. Does not block; from any thread, while the
 * source lives. VIRT_ERROR_INSTANT_LOST, VIRT_ERROR_NO_DOMAIN where the guest was deleted, or
 * VIRT_ERROR_PROCESS where scratch_dir has too little room. */
int snapshot_verify_instant(struct snapshot *snapshot, GError **error);
/* The same of all that was read; to be called after the last read, before the image is completed.
 * It may ask libvirt, and fails where libvirt does not answer. By the thread that reads. */
int snapshot_verify_end(struct snapshot *snapshot, GError **error);

/* Rolls back the steps that are still open, and frees the snapshot. -1 with the error of the first
 * step that could not be rolled back. */
int snapshot_end(struct snapshot *snapshot, GError **error);

#endif
