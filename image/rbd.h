/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images in Ceph (RADOS block devices). All work is done by the child program novasnap-rbd, which
 * is the only one that links librbd and librados: if a library of Ceph aborts, one snapshot fails,
 * and not the daemon. virt/ may include this header.
 *
 * A struct image_rbd is one running child with one connection to a cluster. It belongs to one
 * thread at a time. The child dies with the process and with the thread that started it. All
 * functions block, at most for the configured time, and end early when the cancel flag is set.
 * Unless documented otherwise they return 0, or -1 with a GError of the domain IMAGE_RBD_ERROR,
 * whose message names the image. After IMAGE_RBD_ERROR_TIMEOUT, _DISCONNECTED and _CANCELLED the
 * child is dead: all later calls fail, and the outcome of the failed call is unknown.
 */
#ifndef NOVASNAP_IMAGE_RBD_H
#define NOVASNAP_IMAGE_RBD_H

#include "image/source.h"

#define IMAGE_RBD_ERROR image_rbd_error_quark()
GQuark image_rbd_error_quark(void);

enum image_rbd_error {
	IMAGE_RBD_ERROR_FAILED,	      /* any other failure; the message describes it */
	IMAGE_RBD_ERROR_NO_PROGRAM,   /* novasnap-rbd is not installed, or cannot be started */
	IMAGE_RBD_ERROR_CONFIG,	      /* ceph.conf or the keyring cannot be read, or is wrong */
	IMAGE_RBD_ERROR_DENIED,	      /* the cluster refuses the user (EPERM, EACCES) */
	IMAGE_RBD_ERROR_NOT_FOUND,    /* the pool, image or snapshot does not exist */
	IMAGE_RBD_ERROR_EXISTS,	      /* an image or snapshot of that name exists */
	IMAGE_RBD_ERROR_BUSY,	      /* still in use after all retries (EBUSY) */
	IMAGE_RBD_ERROR_FULL,	      /* the pool or the cluster is full, or over its quota */
	IMAGE_RBD_ERROR_UNSUPPORTED,  /* the cluster or the image does not support it */
	IMAGE_RBD_ERROR_TIMEOUT,      /* no answer in time, for example because OSDs are down */
	IMAGE_RBD_ERROR_DISCONNECTED, /* the child has died */
	IMAGE_RBD_ERROR_CANCELLED,    /* the cancel flag was set */
};

/* How to reach a cluster. Strings are copied by image_rbd_open. */
struct image_rbd_cluster {
	const char *program; /* the path of novasnap-rbd */
	const char *conf;    /* path of ceph.conf; NULL or "": where librados looks for it */
	const char *user;    /* without "client."; NULL or "": "admin", as librados */
	unsigned timeout_s;  /* limit of one operation without progress */
};

/* The names of all snapshots that novasnapd makes of disks begin with it. */
#define IMAGE_RBD_SNAP_PREFIX "novasnap-"

struct image_rbd;

/* Starts the child and connects it. `cancel` must outlive the result; may be NULL. */
struct image_rbd *image_rbd_open(const struct image_rbd_cluster *cluster, const atomic_int *cancel,
				 GError **error);
/* Ends the child and waits for it. Accepts NULL. */
void image_rbd_close(struct image_rbd *rbd);
typedef struct image_rbd image_rbd_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(image_rbd_t, image_rbd_close)

/* The id of the cluster, a UUID. Belongs to `rbd`. */
const char *image_rbd_fsid(const struct image_rbd *rbd);

struct image_rbd_info {
	uint64_t size;	    /* bytes */
	char *parent_pool;  /* NULL: the image has no parent (it was never a clone, or is flat) */
	char *parent_image; /* NULL: no parent */
	char *parent_snap;  /* NULL: no parent */
};
void image_rbd_info_clear(struct image_rbd_info *info);
/* The caller clears *ret_info after success. `snap` may be NULL. */
int image_rbd_info_read(struct image_rbd *rbd, const char *pool, const char *image,
			const char *snap, struct image_rbd_info *ret_info, GError **error);

int image_rbd_snap_create(struct image_rbd *rbd, const char *pool, const char *image,
			  const char *snap, GError **error);
/* Protects the snapshot; success if it is protected already. */
int image_rbd_snap_protect(struct image_rbd *rbd, const char *pool, const char *image,
			   const char *snap, GError **error);
/* Unprotects and removes the snapshot. If it, its image or its pool does not exist, that is a
 * success. EBUSY is retried, with a bound. A snapshot with clones (clone format 2) goes to the
 * trash of the cluster's own accord. */
int image_rbd_snap_remove(struct image_rbd *rbd, const char *pool, const char *image,
			  const char *snap, GError **error);

/*
 * Clones a snapshot to another image, with the features that nova.storage.rbd_utils.RBDDriver.clone
 * sets (rbd_default_features) and the source's order. Where the cluster requires clients of Mimic
 * or later, the clone has format 2. Otherwise the snapshot is protected first; it is still
 * protected if the call fails. image_rbd_snap_remove() undoes both. The clone has metadata by which
 * image_rbd_remove_copy knows it again when it has no parent any more.
 */
int image_rbd_clone(struct image_rbd *rbd, const char *pool, const char *image, const char *snap,
		    const char *to_pool, const char *to_image, GError **error);

/* `done` of `total`, in units of the one who works: objects, or parts. */
typedef void (*image_rbd_progress_fn)(void *opaque, uint64_t done, uint64_t total);
/*
 * Copies all data of the parent into the clone, and detaches it. `by_manager`: the cluster's
 * manager does it (`ceph rbd task add flatten`), and no byte crosses this host; on
 * IMAGE_RBD_ERROR_UNSUPPORTED or _DENIED the caller may flatten through this client instead. If
 * cancelled, the manager's task is cancelled, too. `progress` may be NULL. A flat image is a
 * success.
 */
int image_rbd_flatten(struct image_rbd *rbd, const char *pool, const char *image, bool by_manager,
		      image_rbd_progress_fn progress, void *opaque, GError **error);

/*
 * Removes an image that image_rbd_clone has made, with all of its snapshots, which are unprotected
 * first; also ends a manager's flatten task of it. If it does not exist, that is a success. An
 * image of that name that another program has made is left: IMAGE_RBD_ERROR_EXISTS. What a killed
 * child had open is busy for 30 s: this call waits for that, whatever `timeout_s` is, at most 35 s.
 */
int image_rbd_remove_copy(struct image_rbd *rbd, const char *pool, const char *image,
			  GError **error);

/*
 * Opens a snapshot as a source that is read by a child of its own; many reads are in flight at
 * once. The extents are those of rbd_diff_iterate from the beginning, with whole objects where the
 * image has a fast-diff map that is valid. Parts that its parent has are data. Returns NULL with
 * IMAGE_RBD_ERROR; errors of the source have the domain IMAGE_SOURCE_ERROR.
 */
struct image_source *image_source_new_rbd(const struct image_rbd_cluster *cluster,
					  const atomic_int *cancel, const char *pool,
					  const char *image, const char *snap, GError **error);

#endif
