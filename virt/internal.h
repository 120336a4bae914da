/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of this room share.
 */
#ifndef NOVASNAP_VIRT_INTERNAL_H
#define NOVASNAP_VIRT_INTERNAL_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdint.h>

#include "virt/virt.h"

/* --- host.c ----------------------------------------------------------------------------------- */

/* A connection of one's own, with keepalive; the caller closes it. */
virConnectPtr host_connect(struct virt_host *host, GError **error);
const struct virt_config *host_config(const struct virt_host *host);
virDomainPtr host_find_domain(virConnectPtr connection, const char *uuid, GError **error);
/* libvirt's last error of this thread as ours: "what: libvirt's words". */
void virt_set_error(GError **error, const char *what);

/* --- watch.c: libvirt's events of one domain -------------------------------------------------- */

struct watch;
/* Events are noted from now on. */
struct watch *watch_start(virConnectPtr connection, virDomainPtr domain, const char *disk,
			  GError **error);
void watch_stop(struct watch *watch);
enum watch_end {
	WATCH_READY, /* the mirror has caught up */
	WATCH_ENDED, /* the job ended as it was told to */
	WATCH_FAILED,
	WATCH_GUEST_STOPPED,
	WATCH_DISCONNECTED,
	WATCH_CANCELLED,
	WATCH_TIMEOUT,
};
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
void disk_free(struct disk *disk);
struct disk_layer *disk_top(const struct disk *disk);
/* Reads what the XML did not tell from the headers, each with its known format. */
int disk_complete_chain(struct disk *disk, const atomic_int *cancel, GError **error);
/* The chain from a layer down as QEMU's json: file name, every driver named. The caller frees it.
 */
char *disk_json_name(const struct disk *disk, guint from);
/* The same with another qcow2 file on top of it. */
char *disk_json_name_over(const struct disk *disk, guint from, const char *qcow2);

/* --- process.c -------------------------------------------------------------------------------- */

/* Runs a program to its end, its words in the error. 0, or -1 with VIRT_ERROR_PROCESS, _CANCELLED
 * or _TIMEOUT; it is dead and reaped in any case. `ret_output`: what it wrote, at most 4 MiB; may
 * be NULL. */
int process_run(const char *const *argv, unsigned timeout_s, const atomic_int *cancel,
		char **ret_output, GError **error);

/* --- qemu-img.c ------------------------------------------------------------------------------- */

int qemu_img_create_delta(const char *path, uint64_t size, const struct disk_layer *backing,
			  const atomic_int *cancel, GError **error);
/* A flat copy of `source` (a json: name). */
int qemu_img_convert(const char *source, const char *target, const char *format, bool compress,
		     const atomic_int *cancel, GError **error);

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
	char *folder;	 /* of temporary files, ours alone; NULL: not made yet */
	char *delta;	 /* in it; NULL: none */
	char *flat;
	struct watch *watch;

	/* What was done and is to be undone, in the order of doing. */
	bool undefined; /* to be defined again from `definition` */
	char *definition;
	bool job_started; /* our block job may run */
	bool saved;	  /* we saved the guest; it is to be restored */
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
	int (*undo)(struct snapshot *snapshot, GError **error);
};

extern const struct snapshot_method method_rebase;
extern const struct snapshot_method method_extract;
/* By name, for a live guest or not. VIRT_ERROR_CONFIG names those that there are. */
const struct snapshot_method *method_find(const char *name, bool live, GError **error);

/* The guest's state (VIR_DOMAIN_*), -1 with an error. */
int snapshot_guest_state(struct snapshot *snapshot, GError **error);

#endif
