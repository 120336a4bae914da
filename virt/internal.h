/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of this room share.
 */
#ifndef NOVASNAP_VIRT_INTERNAL_H
#define NOVASNAP_VIRT_INTERNAL_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdint.h>

#include "virt/libvirt/call-timeout.h"
#include "virt/virt.h"

/* --- host.c ----------------------------------------------------------------------------------- */

/* A connection of one's own, with keepalive; the caller closes it. */
virConnectPtr host_connect(struct virt_host *host, GError **error);
const struct virt_config *host_config(const struct virt_host *host);
/* The table of guests that quiesce_instance froze, by uuid; with its lock. */
struct frozen_table;
struct frozen_table *host_frozen(struct virt_host *host);
struct frozen_table *frozen_table_new(void);
/* Thaws whatever is in it. */
void frozen_table_free(struct frozen_table *table);
virDomainPtr host_find_domain(virConnectPtr connection, const char *uuid, GError **error);
/* libvirt's last error of this thread as ours: "what: libvirt's words". */
void virt_set_error(GError **error, const char *what);

/* --- reach.c, about.c --------------------------------------------------------------------------
 */

/* "+64055:+108", or names, of libvirt's security model dac. */
bool reach_parse_label(const char *label, struct virt_user *ret_user);
/* Of a running domain where its XML is given and tells, else of the host. */
int about_qemu_user(virConnectPtr connection, const char *domain_xml, struct virt_user *ret_user,
		    GError **error);

/* --- guest.c: a guest by a connection of one's own ---------------------------------------------
 */

struct guest {
	virConnectPtr connection; /* NULL: libvirt is gone */
	virDomainPtr domain;	  /* NULL: it was not found */
};
/* guest_close is called in any case. */
int guest_open(struct virt_host *host, const char *uuid, struct guest *guest, GError **error);
void guest_close(struct guest *guest);

/* --- watch.c: libvirt's events of one domain -------------------------------------------------- */

struct watch;
/* Events are noted from now on. */
/* `job_type`: the kind of block job that is waited for, VIR_DOMAIN_BLOCK_JOB_TYPE_*. */
struct watch *watch_start(virConnectPtr connection, virDomainPtr domain, const char *disk,
			  int job_type, GError **error);
void watch_stop(struct watch *watch);
/* Whether the guest was seen to start, to stop or to be undefined since. */
bool watch_guest_started(struct watch *watch);
bool watch_guest_stopped(struct watch *watch);
bool watch_guest_undefined(struct watch *watch);
enum watch_end {
	WATCH_READY, /* the mirror has caught up */
	WATCH_ENDED, /* the job ended as it was told to */
	WATCH_FAILED,
	WATCH_GUEST_STOPPED,
	WATCH_DISCONNECTED,
	WATCH_CANCELLED,
	WATCH_TIMEOUT,
};
/* Sleeps for so long, or until a condition is told of; with the lock held. */
void watch_pause(pthread_cond_t *changed, pthread_mutex_t *lock, unsigned ms);
/* Forgets what was noted of a job. */
void watch_reset(struct watch *watch);
/* Waits for the job to be ready (or over), or, with `ended`, to be over. `progress` is asked every
 * second or so whether the job moves (it returns a number that grows); NULL: it need not. */
enum watch_end watch_wait(struct watch *watch, bool ended, unsigned timeout_s,
			  const atomic_int *cancel, uint64_t (*progress)(void *opaque),
			  void *opaque);

/* --- disk.c: what the domain's XML says --------------------------------------------------------
 */

struct disk_layer {
	char *path;
	char *format; /* of the XML, or of the header above: never probed */
	bool block;   /* a block device */
};

struct disk {
	char *target;	   /* "vda" */
	GPtrArray *layers; /* struct disk_layer, the top first; as far as the XML tells them */
	bool complete;	   /* the XML tells the chain to its end */
	char *mirror;	   /* target of a block job that is under way; NULL: none */
};

/* The root disk of a domain: the one that root_device_name names ("/dev/vda"), else the first that
 * is a disk of the guest's own, not a CD-ROM, a config drive, an ephemeral or a swap disk.
 * VIRT_ERROR_NO_ROOT_DISK, VIRT_ERROR_UNSUPPORTED. */
struct disk *disk_find_root(const char *xml, const char *root_device_name, GError **error);
/* The same of a container: nova mounts its disk, a file, as the directory `rootfs` beside it
 * (nova.virt.libvirt.utils.find_disk). Its format is what the configuration says. */
struct disk *disk_find_container(const char *xml, const char *format, GError **error);
void disk_free(struct disk *disk);
struct disk_layer *disk_top(const struct disk *disk);
/* Reads what the XML did not tell from the headers, each with its known format. What a header names
 * must lie in one of `dirs`, or in the folder of the disk's top. A file that would lead QEMU to
 * others beside the chain is refused, whoever named it. */
int disk_complete_chain(struct disk *disk, const char *const *dirs, const atomic_int *cancel,
			GError **error);
/* The chain from a layer down as QEMU's json: file name, every driver named. The caller frees it.
 */
char *disk_json_name(const struct disk *disk, guint from);
/* The whole chain, opened without QEMU's locks: whoever wants to write is not kept from it. With
 * `direct` past the page cache, where the filesystems allow it. */
char *disk_json_name_shared(const struct disk *disk, bool direct);
/* The same with another qcow2 file on top of it. */
char *disk_json_name_over(const struct disk *disk, guint from, const char *qcow2);

/* --- header.c ---------------------------------------------------------------------------------
 */

/* -1 where the file cannot be read. Else *ret_why is what is wrong with it, NULL: nothing. */
int header_check(const struct disk_layer *layer, const char **ret_why, GError **error);

struct _xmlDoc;
/* libvirt's XML as a document, the caller's to free. NULL where it is none, is over 4 MiB, or has a
 * document type: libvirt writes none, and entities are how a short text becomes a long one. */
struct _xmlDoc *domain_parse(const char *xml);

/* What a domain's XML says of the guest as a whole. */
struct domain_facts {
	bool container;	   /* of type lxc */
	bool host_devices; /* it has some that can neither be saved nor restored */
};
void domain_facts_read(const char *xml, struct domain_facts *ret);
/* What is at an XPath of libvirt's XML; the caller frees it. NULL where there is nothing. */
char *domain_text(const char *xml, const char *path);
/* The XML of a domain as it is; freed with free(). NULL with an error. */
char *domain_xml(virDomainPtr domain, GError **error);

/* A disk of any kind. */
struct domain_disk {
	char *target; /* "vdb" */
	char *serial; /* NULL: none */
	char *file;   /* NULL: it is no plain file */
};
/* struct domain_disk, those that have a target; the caller unrefs it. */
GPtrArray *domain_disks(const char *xml);

/* --- freeze.c --------------------------------------------------------------------------------- */

/* A guest whose filesystems are frozen, and the process that thaws them if we cannot. */
struct freeze;
/* NULL with VIRT_ERROR_FREEZE; whatever was frozen half-way is thawed then. */
struct freeze *freeze_begin(struct virt_host *host, virDomainPtr domain, unsigned limit_s,
			    GError **error);
/* Thaws, and frees it in any case. -1 when the guest was thawed before, or could not be: then the
 * other process goes on trying. */
int freeze_end(struct freeze *freeze, GError **error);
/* Thaws a guest that an earlier life may have frozen; not where virt_guest_freeze of this life has
 * frozen it since, whose own end thaws it. */
int freeze_take_back(struct virt_host *host, virDomainPtr domain, const char *uuid, GError **error);

/* --- jobs.c: whose jobs run on a guest ----------------------------------------------------------
 */

/* A block job on the disk, or a backup job on the guest, that an earlier life of ours left running
 * is ended; VIRT_ERROR_BUSY names one of somebody else's. */
int jobs_clear(struct snapshot *snapshot, GError **error);
/* Whether a backup job serves this socket: 1, 0, or -1 with an error. */
int jobs_is_backup_at(virDomainPtr domain, const char *socket, GError **error);
/* Ends the backup job that serves this socket, where there is one, and waits until it is gone. */
int jobs_end_backup(virDomainPtr domain, const char *socket, GError **error);
/* A guest that an I/O error paused, as a full scratch file does, goes on; any other is left as it
 * is. */
int jobs_resume_caught(virDomainPtr domain, GError **error);
/* The name of a folder for a job's socket, and the folder itself, which the caller removes after
 * the job. It is marked as that of a process that lives until `ret_lock` is closed. -1 with errno.
 */
char *jobs_folder_name(const char *run_dir);
int jobs_make_folder(const char *folder, int *ret_lock);
#define SOCKET "export" /* the socket's name in it */
/* Removes the socket of a job that has ended, its folder, and the scratch file (NULL: there is
 * none); libvirt does, where all goes well. */
int jobs_remove_places(const char *socket, const char *scratch, GError **error);
/* The number that libvirt gives the scratch file, as in "vda[5]"; the caller frees it. */
char *jobs_backup_scratch_index(virDomainPtr domain);

/* --- quiesce.c: freezing as a step of a live snapshot ----------------------------------------- */

/* Freezes the guest where its image asks for it; fails only where the image requires it. */
int quiesce_begin(struct snapshot *snapshot, GError **error);
/* Thaws it, where it was frozen. */
int quiesce_end(struct snapshot *snapshot, GError **error);

/* --- process.c -------------------------------------------------------------------------------- */

/* Runs a program to its end, its words in the error. 0, or -1 with VIRT_ERROR_PROCESS, _CANCELLED
 * or _TIMEOUT; it is dead and reaped in any case. `ret_output`: what it wrote, at most 4 MiB; may
 * be NULL. */
int process_run(const char *const *argv, unsigned timeout_s, const atomic_int *cancel,
		char **ret_output, GError **error);

/* --- qemu-img.c ------------------------------------------------------------------------------- */

int qemu_img_create_delta(const char *path, uint64_t size, const struct disk_layer *backing,
			  const atomic_int *cancel, GError **error);
/* snapshot -c and -d of `source` (a json: name). */
int qemu_img_snapshot(const char *source, bool create, const char *name, const atomic_int *cancel,
		      GError **error);
/* Whether the top of `source` has a snapshot of that name inside; -1 with an error. */
int qemu_img_has_snapshot(const char *source, const char *name, GError **error);
/* Gives a file another backing file, merging what was between them; NULL: none at all. */
int qemu_img_rebase(const char *path, const struct disk_layer *base, const atomic_int *cancel,
		    GError **error);
/* A flat copy of `source` (a json: name), or of a snapshot inside it where one is named. */
int qemu_img_convert(const char *source, const char *internal, const char *target,
		     const char *format, bool compress, const atomic_int *cancel, GError **error);

/* --- steps.c: the names are those of recover.c -------------------------------------------------
 */

struct cJSON;
struct snapshot;
/* Told of before its effect; the undo is taken, and may be NULL. */
int step_begin(struct snapshot *snapshot, const char *step, struct cJSON *undo, GError **error);
/* For one whose undo sets a guest going: after another boot of the host it may be elsewhere. */
void step_note_boot(struct cJSON *undo);
int step_end(struct snapshot *snapshot, const char *step, GError **error);
void step_over(struct snapshot *snapshot, const char *step);
/* Takes back all that is not over as a later life would, by connections of its own. */
int steps_take_back(struct snapshot *snapshot, GError **error);

/* --- snapshot.c ------------------------------------------------------------------------------- */

struct snapshot {
	struct virt_host *host;
	char *uuid;
	const atomic_int *cancel;
	const struct snapshot_method *method;
	virConnectPtr connection;
	virDomainPtr domain;
	struct disk *disk;
	char *format;	 /* of the image to be */
	int first_state; /* VIR_DOMAIN_*: what the guest comes back to */
	struct domain_facts facts;
	bool guest_agent;
	bool require_quiesce;
	char *folder; /* of temporary files, ours alone; NULL: not made yet */
	char *delta;  /* in it; NULL: none */
	char *flat;
	struct watch *watch;
	const struct snapshot_steps *steps; /* NULL: nobody keeps a journal */
	GPtrArray *open_steps; /* what is not over, of steps.c; NULL: nothing ever was */

	/* What was done and is to be undone, in the order of doing. */
	bool undefined; /* to be defined again from `definition` */
	char *definition;
	bool job_started;      /* our block job may run */
	bool saved;	       /* we saved the guest; it is to be restored */
	char *internal;	       /* the name of a snapshot inside the disk; NULL: there is none */
	struct freeze *frozen; /* NULL: not frozen by us */
	struct stream *stream; /* NULL: none is under way */
};

/* A way to make a snapshot: a new one is a file and a line in the table of method.c. The callbacks
 * are called in this order, each at most once, but for undo, which is called last, always, and
 * undoes what the flags of the snapshot say is left. */
struct snapshot_method {
	const char *name;
	bool live; /* for guests that run or are paused; else for those that do not, or are saved */
	/* Changes nothing but the guest's being saved. May be NULL. */
	int (*prepare)(struct snapshot *snapshot, GError **error);
	/* Leaves the finished image in snapshot->flat, and the guest in its first state. */
	int (*take)(struct snapshot *snapshot, GError **error);
	/* In place of `take`: a source that reads the guest's disk itself, and is freed before
	 * `undo`. VIRT_ERROR_UNSUPPORTED: `fallback` takes it. */
	struct image_source *(*open)(struct snapshot *snapshot, GError **error);
	const struct snapshot_method *fallback;
	/* Of an open one: snapshot_verify_instant. */
	int (*check)(struct snapshot *snapshot, GError **error);
	int (*undo)(struct snapshot *snapshot, GError **error);
};

extern const struct snapshot_method method_stream_live;
extern const struct snapshot_method method_stream_cold;
extern const struct snapshot_method method_rebase;
extern const struct snapshot_method method_extract;
extern const struct snapshot_method method_internal;
/* By name, for a live guest or not. VIRT_ERROR_CONFIG names those that there are. */
const struct snapshot_method *method_find(const char *name, bool live, GError **error);
/* As nova.virt.libvirt.driver.snapshot chooses: a paused guest counts as live; what lies in /dev is
 * lvm, which is never taken live, nor is a container. `state` is VIR_DOMAIN_*. Where `stream`
 * cannot do it, its fallback. */
const struct snapshot_method *method_choose(const struct virt_config *config,
					    const struct domain_facts *facts,
					    const struct disk *disk, int state, GError **error);
/* Of the image: the configured one, else raw for lvm, else the disk's. */
const char *format_choose(const struct virt_config *config, const struct disk *disk);

/* A flat copy of `source` (a json: name), or of a snapshot inside it, into snapshot->flat. */
int snapshot_copy_out(struct snapshot *snapshot, const char *source, const char *internal,
		      GError **error);

/* The folders of temporary files, in snapshots_directory, and what may be in them. */
#define STAGING "novasnap-"
#define STAGING_DELTA "delta"
#define STAGING_IMAGE "image"
/* Removes one with all that is in it; 0 also where there is none. */
int snapshot_remove_staging(const char *folder, GError **error);

/* Whether its connection to libvirt is gone, as after a call that was not answered. */
bool snapshot_is_cut_off(struct snapshot *snapshot);
/* The guest's state (VIR_DOMAIN_*), -1 with an error. */
int snapshot_guest_state(struct snapshot *snapshot, GError **error);

/* --- cold.c: what the cold methods have in common --------------------------------------------- */

/* Whether QEMU is there. */
bool cold_guest_runs(int state);
/* Saves a guest that runs, but for a container, which cannot be: its disk is copied under it. */
int cold_prepare(struct snapshot *snapshot, GError **error);
/* Nobody may write while the disk is read. VIRT_ERROR_BUSY. */
int cold_check_stopped(struct snapshot *snapshot, GError **error);
/* Restores the guest that was saved. */
int cold_restore(struct snapshot *snapshot, GError **error);

#endif
