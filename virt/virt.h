/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The virt room: finds guests in libvirt, changes their power state, and makes snapshots of their
 * root disks by one of several methods. All functions block. A struct virt_host is shared by all
 * threads; a struct snapshot belongs to the thread that made it.
 *
 * Unless documented otherwise, a function returns 0, or -1 with a GError of the domain VIRT_ERROR.
 * If libvirt does not answer, the error is VIRT_ERROR_DISCONNECTED or VIRT_ERROR_TIMEOUT, and the
 * guest's state is unknown.
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
	VIRT_ERROR_FAILED,	 /* libvirt or the system reported an error, which is included */
	VIRT_ERROR_NO_DOMAIN,	 /* no domain of that uuid (nova: InstanceNotFound) */
	VIRT_ERROR_NO_ROOT_DISK, /* the domain has no disk */
	VIRT_ERROR_UNSUPPORTED,	 /* a disk or guest that no method supports */
	VIRT_ERROR_DISCONNECTED, /* libvirt cannot be reached, or the connection broke */
	VIRT_ERROR_PROCESS,	 /* qemu-img failed, or scratch_dir has too little room */
	VIRT_ERROR_JOB,		 /* the block job failed, was aborted or vanished */
	VIRT_ERROR_BUSY, /* another program has a job on the disk, started the guest, or wrote */
	VIRT_ERROR_INSTANT_LOST, /* the data is not of one point in time: retrying may help */
	VIRT_ERROR_TIMEOUT,	 /* libvirt, QEMU, qemu-img or Ceph did not answer in time */
	VIRT_ERROR_CANCELLED,	 /* the cancel flag was set */
	VIRT_ERROR_CONFIG,	 /* the configuration is invalid, or Ceph refuses its user */
	VIRT_ERROR_NO_AGENT,	 /* the image does not allow the guest agent, which is needed */
	VIRT_ERROR_NO_QUIESCE,	 /* the guest cannot be frozen, for example because it is paused */
	VIRT_ERROR_FREEZE,	 /* freezing or thawing failed, or the guest was thawed early */
};

/* All strings belong to the caller, and must outlive the host. */
struct virt_config {
	const char *connection_uri; /* [libvirt]connection_uri or from virt_type: qemu:///system */
	const char *snapshots_directory;   /* [libvirt]snapshots_directory, absolute */
	const char *snapshot_image_format; /* [libvirt]snapshot_image_format; NULL: as the disk */
	bool disable_livesnapshot;	   /* [workarounds]disable_libvirt_livesnapshot */
	const char *live_method;	   /* [novasnap]live_method */
	const char *cold_method;	   /* [novasnap]cold_method */
	unsigned connect_timeout_s;	   /* for how long connecting to libvirt is retried */
	unsigned job_timeout_s;		   /* a block job fails after this time without progress */
	unsigned call_timeout_s;	   /* limit of one libvirt call */
	unsigned save_timeout_s; /* limit of one libvirt call that saves or restores a guest */
	unsigned keepalive_s;	 /* libvirt's keepalive interval; broken after 5 misses; 0: none */
	const char *container_format; /* of container disks ([libvirt]images_type) */
	unsigned agent_timeout_s;     /* how long a guest agent may take to freeze or thaw */
	unsigned freeze_timeout_s;    /* how long a snapshot may keep the guest frozen */
	const char *thaw_program;     /* the path of novasnap-thaw */
	const char *run_dir;	      /* folder of sockets */
	const char *scratch_dir;      /* folder of scratch files (overwritten data) */
	unsigned scratch_percent;     /* of a disk's size: must be free there at the start */
	unsigned scratch_reserve_mib; /* a stream is ended when less is free */
	unsigned nbd_timeout_s;	      /* how long an NBD server may take to answer */
	const char *rbd_program;      /* the path of novasnap-rbd */
	const char *rbd_conf;	/* [libvirt]images_rbd_ceph_conf; NULL or "": librados' default */
	const char *rbd_user;	/* [libvirt]rbd_user; NULL: librados' default */
	unsigned rbd_timeout_s; /* how long Ceph may take to answer */
	bool rbd_flatten_by_manager; /* [novasnap]rbd_flatten = mgr */
	/* Folders that may contain the backing file named in an image's header, in addition to the
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

/* Connects to libvirt, and starts the threads that deliver its events and limit its calls. A
 * process can open only one host at a time. `config` must outlive it. NULL with
 * VIRT_ERROR_DISCONNECTED or VIRT_ERROR_CONFIG. */
struct virt_host *virt_host_open(const struct virt_config *config, GError **error);
/* Thaws the guests that are still frozen, and frees the host. Accepts NULL. */
void virt_host_close(struct virt_host *host);
typedef struct virt_host virt_host_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virt_host_t, virt_host_close)

/* Whether libvirt has accepted the last connection; -1: there was none. Any thread. */
int virt_host_answered(const struct virt_host *host);

/* Ends the exports that a killed novasnapd left running: their scratch files would fill the
 * disk. Exports of running processes are not ended. Failures are logged, and retried at the next
 * start. */
void virt_host_sweep(struct virt_host *host);

/* "libvirt 9.0.0, QEMU 7.2.22"; the caller frees it. NULL with an error. */
char *virt_host_versions(struct virt_host *host, GError **error);

/* A guest whose snapshot would be refused; `why` describes the reason and what to do. */
typedef void (*virt_refused_fn)(const char *name, const char *uuid, const char *why, void *opaque);
struct virt_guest_count {
	unsigned checked;
	unsigned total;
};
/* Finds the guests of libvirt whose root disk or backing chain would be refused by the method that
 * a snapshot in their present state uses, and calls `each` for them. Changes nothing. Begins no
 * check of a guest after `limit_s` seconds; *ret_count says how many were checked. */
int virt_host_find_refused(struct virt_host *host, unsigned limit_s, virt_refused_fn each,
			   void *opaque, struct virt_guest_count *ret_count, GError **error);
/* Receives the name of a guest and a reason. */
typedef void (*virt_unstreamed_fn)(const char *name, const char *why, void *opaque);
/* Calls `each` for every running guest whose disk the live method stream cannot take, or may not be
 * able to take. Changes nothing. */
int virt_host_find_unstreamed(struct virt_host *host, virt_unstreamed_fn each, void *opaque,
			      GError **error);

/* The id of the Ceph cluster of the configuration, which is connected to for it; the caller frees
 * it. NULL with an error. */
char *virt_rbd_fsid(const struct virt_config *config, GError **error);

struct virt_user {
	uid_t uid;
	gid_t gid;
};
/* The user that libvirt runs QEMU as. */
int virt_host_qemu_user(struct virt_host *host, struct virt_user *ret_user, GError **error);
/* The user's name, or its number if it has none; the caller frees it. */
char *virt_user_name(uid_t uid);
/* Whether the user can traverse a folder and all its parents. VIRT_ERROR_CONFIG names the first one
 * that the user cannot traverse. */
int virt_user_check_reach(const struct virt_user *user, const char *path, GError **error);
/* Whether this process can give the user access to files that it creates in the folder.
 * VIRT_ERROR_CONFIG describes what is missing. */
int virt_user_check_shared(const struct virt_user *user, const char *folder, GError **error);

/* A random id of this process; not to be freed. */
const char *virt_process_id(void);

/* The power state of the domain of that uuid, an enum guest_power_state, as from nova's
 * _get_power_state; or -1 with an error. */
int virt_guest_power_state(struct virt_host *host, const char *uuid, GError **error);

/* The uuid of the domain of that name; the caller frees it. NULL with VIRT_ERROR_NO_DOMAIN, or
 * another error if libvirt did not answer. */
char *virt_guest_uuid_by_name(struct virt_host *host, const char *name, GError **error);

int virt_guest_pause(struct virt_host *host, const char *uuid, GError **error);
/* Also sets the guest's clock if its agent answers, as nova does. */
int virt_guest_unpause(struct virt_host *host, const char *uuid, GError **error);
/* Saves the guest to disk (managed save). VIRT_ERROR_UNSUPPORTED for a container and for a guest
 * with host devices, which cannot be saved. */
int virt_guest_suspend(struct virt_host *host, const char *uuid, GError **error);
/* Restores a suspended guest. */
int virt_guest_resume(struct virt_host *host, const char *uuid, GError **error);
/* Waits until libvirt has no running job of the guest, at most ten minutes; for example, a save
 * that was requested by a process that has died. A guest that libvirt does not know has no job. */
int virt_guest_wait_idle(struct virt_host *host, const char *uuid, GError **error);
/* Requests a shutdown, again every `retry_s` seconds, and powers the guest off after `timeout_s`
 * seconds (0: immediately), as nova.virt.libvirt.driver.power_off does. A guest that is not
 * running, or that libvirt does not know, is already off. Returns 0 only once libvirt says that the
 * guest is off; while that is unknown, libvirt is asked again, on new connections, until the time
 * is over. `cancel` may be NULL. */
int virt_guest_power_off(struct virt_host *host, const char *uuid, unsigned timeout_s,
			 unsigned retry_s, const atomic_int *cancel, GError **error);

/* A new id of a freeze, and the `undo` of its step "freeze" (virt_guest_rollback_step); the caller
 * frees them. */
char *virt_freeze_id(void);
char *virt_freeze_undo(const char *id);
/* Freezes the guest's filesystems for at most `limit_s` seconds. A watchdog process thaws them
 * after that time, or when this process dies. VIRT_ERROR_FREEZE, also if they are already frozen;
 * after a failure nothing is left to roll back. */
int virt_guest_freeze(struct virt_host *host, const char *uuid, const char *id, unsigned limit_s,
		      GError **error);
/* Thaws the guest's filesystems, even if another process froze them. A guest that is off is
 * not frozen; one that is saved is thawed when it is restored. VIRT_ERROR_FREEZE if that fails, or
 * if the watchdog has already thawed them because their time limit was over. *ret_is_thawed:
 * whether they are thawed, also after a failure. */
int virt_guest_thaw(struct virt_host *host, const char *uuid, bool *ret_is_thawed, GError **error);

/* The main function of the watchdog process, novasnap-thaw. It writes "ready" to standard output
 * once it is connected to libvirt, or "busy" if another watchdog of the guest exists. "frozen" on
 * its standard input starts its time limit. It thaws the guest, and then writes "thawed", after
 * `limit_s` seconds or when its standard input ends; "done" on its standard input ends it. It
 * retries for up to a day. Returns the exit status. */
int virt_thaw_watch(const char *uri, const char *uuid, unsigned limit_s, unsigned agent_timeout_s);

/* A disk that Cinder stores in a file, and a request for it. */
struct virt_volume {
	const char *uuid;      /* of the instance */
	const char *volume_id; /* the serial of the disk */
	bool guest_agent;      /* as in struct snapshot_request */
	bool require_quiesce;
	bool resuming; /* a process that has died may have done the work already */
	const atomic_int *cancel;
};

/* Makes the disk write to `new_file` from now on, an overlay that Cinder has created beside the
 * disk's file (nova's _volume_snapshot_create). */
int virt_volume_snapshot_create(struct virt_host *host, const struct virt_volume *volume,
				const char *new_file, GError **error);
/* Merges `file` into `target_file`. If that is NULL, merges all files above `file` (NULL: the whole
 * chain) into the active file (nova's _volume_snapshot_delete). */
int virt_volume_snapshot_delete(struct virt_host *host, const struct virt_volume *volume,
				const char *file, const char *target_file, GError **error);

/*
 * Snapshots of the root disk. Each effect of a snapshot on guest and host is a step. A step that
 * needs a rollback is open until it is rolled back, whether the snapshot succeeds or fails: for
 * example, the rollback of "save" restores the guest. If the process dies, the owner of the
 * snapshot has the open steps in its journal, and rolls them back.
 */

/* Functions that the snapshot calls, so that its owner can keep a journal. */
struct snapshot_steps {
	/* A step is about to take effect. `undo` is the data that virt_guest_rollback_step needs;
	 * NULL: the step needs no rollback. Returns 0, or -1 with an error: then the effect is not
	 * made. */
	int (*begin)(void *opaque, const char *step, const char *undo, GError **error);
	/* The step has taken effect. Returns 0, or -1 with an error: then the snapshot fails. */
	int (*end)(void *opaque, const char *step, GError **error);
	/* The step is rolled back, or nothing is left of it. */
	void (*clear)(void *opaque, const char *step);
	void *opaque;
};

/* A key in `undo` of a step whose rollback starts or defines the guest: the id of the process that
 * made the step (virt_process_id). While no process that made it is running, the guest may be moved
 * to another host. */
#define VIRT_UNDO_PROCESS "process"

/* Rolls back a step of a snapshot whose process has died, unless it was not made or is already
 * rolled back. Actions of other programs since then are kept: a guest that was started or stopped
 * meanwhile stays so. The steps of a snapshot are rolled back in reverse order. Also returns 0 if
 * there was nothing to do. */
int virt_guest_rollback_step(struct virt_host *host, const char *uuid, const char *step,
			     const char *undo, GError **error);

/* Whether `step` must not be rolled back while the rollback of `failed`, a later step of the same
 * snapshot, keeps failing. With `last_attempt`, it is rolled back if that is harmless. */
bool virt_step_waits_for(const char *step, const char *failed, bool last_attempt);

/* A request for a snapshot; strings are copied. */
struct snapshot_request {
	const char *uuid;	  /* of the instance and the domain */
	const char *image_format; /* of the image; NULL: by the configuration and the disk */
	bool guest_agent;	  /* hw_qemu_guest_agent: the guest's filesystems may be frozen */
	bool require_quiesce; /* os_require_quiesce: a live snapshot fails unless they are frozen */
	/* Of a finished qcow2 image (see snapshot_gives_disk): "zlib" or "zstd", static; NULL: not
	 * compressed. */
	const char *compression;
	const atomic_int *cancel;	    /* checked in every wait; may be NULL */
	const struct snapshot_steps *steps; /* must outlive the snapshot; may be NULL */
};

struct snapshot;

/*
 * Reads the guest's state and disk, and chooses the method as nova does. Changes nothing. Call
 * snapshot_prepare, snapshot_take and snapshot_end next, in this order; always call snapshot_end.
 * NULL with an error.
 */
struct snapshot *snapshot_new(struct virt_host *host, const struct snapshot_request *request,
			      GError **error);

/* The name of the method of that number, from 0 on; NULL: there are no more. A live and a cold
 * method may have the same name. */
const char *virt_method_name(size_t number);

/* The method's name: "stream", "rebase", ... snapshot_take may change it. */
const char *snapshot_method(const struct snapshot *snapshot);
/* The image's disk_format. */
const char *snapshot_format(const struct snapshot *snapshot);

/* What nova does before the state image_pending_upload: saves the guest if that is needed. */
int snapshot_prepare(struct snapshot *snapshot, GError **error);

/* Whether the disk is in Ceph and the image raw, so that snapshot_copy_direct may copy the disk
 * inside the cluster. */
bool snapshot_can_be_direct(const struct snapshot *snapshot);

/* Where a direct snapshot is copied to. */
struct snapshot_direct {
	const char *image_id; /* the name of the copy */
	/* The locations of the instance's base image in Glance, "rbd://FSID/POOL/IMAGE/SNAP" or
	 * others; NULL-terminated. They tell Glance's pool if the disk has no parent any more. May
	 * be NULL. */
	const char *const *base_locations;
	/* Reports how many of `total` objects are copied. May be NULL. */
	void (*progress)(void *opaque, uint64_t done, uint64_t total);
	/* Journals the location of the copy before it exists, and its size in bytes. Returns 0, or
	 * -1 with an error that fails the snapshot. */
	int (*begin_copy)(void *opaque, const char *location, uint64_t size, GError **error);
	void *opaque;
};

/*
 * Copies the disk to Glance's pool of the same cluster
 * (nova.virt.libvirt.imagebackend.Rbd.direct_snapshot): a snapshot, for which the guest is frozen
 * if it may be, its clone, flattened, with the protected snapshot "snap". Returns the location of
 * the copy, which the caller frees. Call it at most once, between snapshot_prepare and
 * snapshot_take. The copy belongs to the caller: it is left when the snapshot ends, and removed by
 * virt_direct_copy_remove; all else is rolled back by the snapshot's steps.
 *
 * NULL with an error; *ret_not_possible: snapshot_take may be possible, for example because
 * Glance's images are not in this cluster. Once begin_copy was called, a part of the copy may
 * exist: remove it before snapshot_take, before snapshot_end and, in recovery, before the steps are
 * rolled back. While it exists and is not flat, the disk's snapshot is protected, and the rollback
 * of its step "rbd-snap" fails with VIRT_ERROR_BUSY; it may be tried again. VIRT_ERROR_NO_DOMAIN:
 * the guest was deleted; another thread should call snapshot_verify_instant meanwhile, and set the
 * cancel flag, because nova can delete the disk only once its snapshot is gone.
 */
char *snapshot_copy_direct(struct snapshot *snapshot, const struct snapshot_direct *direct,
			   bool *ret_not_possible, GError **error);

/* Removes the copy at `location`, all of it or what exists of it. Nobody may use it any more: ask
 * the image store first. A success if there is none; an image there that another program has made
 * is left. */
int virt_direct_copy_remove(struct virt_host *host, const char *location, GError **error);

/* Whether snapshot_prepare may stop a running guest, until snapshot_take or snapshot_end starts it
 * again. */
bool snapshot_may_stop_guest(const struct snapshot *snapshot);
/* Whether the method reads a block device while the guest is shut off. nova may be deleting the
 * guest and have overwritten the device. */
bool snapshot_reads_idle_device(const struct snapshot *snapshot);
/* Whether nova cannot remove the guest's disk while the snapshot is taken: an idle block device is
 * open, or a disk in Ceph has a snapshot. nova undefines the guest only after the removal, so
 * libvirt reports the deletion too late. */
bool snapshot_blocks_deletion(const struct snapshot *snapshot);

/* Makes the snapshot and opens it as a source, which the caller frees before snapshot_end. When
 * this returns, the guest is back in its first power state, also after a failure. NULL with an
 * error. */
struct image_source *snapshot_take(struct snapshot *snapshot, GError **error);

/* Takes the snapshot by another method, when no image could be made of the source of snapshot_take
 * before its first byte was sent, because of `why`; that source is freed. Takes ownership of `why`.
 * NULL with an error, which is `why` if no other method helps. */
struct image_source *snapshot_take_fallback(struct snapshot *snapshot, GError *why, GError **error);

/* Whether the source of snapshot_take reads the guest's disk, as raw bytes, which the caller must
 * encode in snapshot_format. Otherwise it reads the finished image. */
bool snapshot_gives_disk(const struct snapshot *snapshot);

/* Whether the data that the source reads still belongs to a single point in time. Does not block;
 * from any thread, while the source exists. VIRT_ERROR_INSTANT_LOST, VIRT_ERROR_NO_DOMAIN if the
 * guest was deleted, or VIRT_ERROR_PROCESS if scratch_dir has too little space. */
int snapshot_verify_instant(struct snapshot *snapshot, GError **error);
/* The same for all data that was read. Call it after the last read, before the image is completed.
 * It may query libvirt, and fails if libvirt does not answer. Called by the reading thread. */
int snapshot_verify_end(struct snapshot *snapshot, GError **error);

/* Rolls back the steps that are still open, and frees the snapshot. -1 with the error of the first
 * step that could not be rolled back. */
int snapshot_end(struct snapshot *snapshot, GError **error);

#endif
