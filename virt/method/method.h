/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot in progress, and the interface of a snapshot method. To add a method, write a file
 * with a struct snapshot_method, and add it below and to the table in table.c.
 *
 * Each effect of a method on guest and host is a step (steps.h): call step_begin first, with the
 * data that rollback.c needs to undo the effect. A method never undoes anything itself: its caller
 * closes the open steps, after a success as after a failure.
 */
#ifndef NOVASNAP_VIRT_METHOD_METHOD_H
#define NOVASNAP_VIRT_METHOD_METHOD_H

#include "virt/domain/domain-xml.h"
#include "virt/domain/events.h"
#include "virt/domain/guest.h"
#include "virt/domain/root-disk.h"

struct disk_watch;
struct live_stream;
struct snapshot_method;

/* A snapshot belongs to the worker that makes it. Only one thread at a time uses its guest: the
 * worker, or the thread that reads the source while the worker waits for it. */
struct snapshot {
	/* Set by snapshot_new. */
	struct guest guest;
	const struct virt_config *config;
	const atomic_int *cancel;	    /* may be NULL */
	const struct snapshot_steps *steps; /* NULL: no journal is kept */
	char *id;			    /* random; part of the names of its files and sockets */
	struct disk *disk;
	char *format;	 /* of the image */
	int first_state; /* VIR_DOMAIN_*: the state to which the guest returns */
	struct domain_traits traits;
	bool guest_agent;	 /* the image allows the use of the guest agent */
	bool require_quiesce;	 /* fail if the filesystems cannot be frozen */
	const char *compression; /* of a staged qcow2 image: "zlib", "zstd"; NULL: none */
	struct domain_events *events;

	/* Changes while the snapshot is made. */
	const struct snapshot_method *method; /* the fallback may replace it */
	GPtrArray *open_steps;		      /* see steps.c; NULL: no step was opened yet */
	/* Paths in the folder of temporary files; NULL: not created yet. */
	char *delta;			 /* for use by the method */
	char *image;			 /* where `take` leaves the finished image */
	struct live_stream *live_stream; /* see stream-live.c; NULL: none */
	char *rbd_snap;			 /* see stream-rbd.h; NULL: none was made */
	char *disk_stamp; /* of a cold method, before the disk was read; NULL: none (disk-stamp.h)
			   */
	struct disk_watch *disk_watch; /* of a cold method (disk-watch.h); NULL: none */
};

enum snapshot_open_result {
	SNAPSHOT_OPENED,
	SNAPSHOT_NOT_POSSIBLE, /* not possible here: the fallback takes the snapshot */
	SNAPSHOT_NO_ROOM,      /* the same, if the fallback has room for its files */
	SNAPSHOT_FAILED,       /* no method can take a snapshot now */
};

/* The worker calls the functions in this order, each at most once, except verify. Those that return
 * an int return 0, or -1 with an error. */
struct snapshot_method {
	const char *name; /* in the configuration */
	bool live; /* for running and paused guests; else for all others, and for saved ones */
	/* Saves a guest that must be saved, or rejects it with an error. Changes nothing else.
	 * NULL: nothing to prepare. */
	int (*prepare)(struct snapshot *snapshot, GError **error);
	/* Whether snapshots_directory has room for the files of `take`. NULL: not checked. */
	int (*check_room)(struct snapshot *snapshot, GError **error);
	/* Creates the finished image snapshot->image. NULL: the method has `open`. */
	int (*take)(struct snapshot *snapshot, GError **error);
	/* Opens a source that reads the guest's disk; the caller frees it before the steps are
	 * closed. Sets an error unless the result is SNAPSHOT_OPENED. Anything that refuses this
	 * method, but not the fallback, is SNAPSHOT_NOT_POSSIBLE. */
	enum snapshot_open_result (*open)(struct snapshot *snapshot, struct image_source **ret_disk,
					  GError **error);
	/* Ends the export that the source of `open` reads, while the source is still connected to
	 * it. Called by the thread that frees the source. NULL: the export ends with the source. */
	void (*end_export)(struct snapshot *snapshot);
	/* Of a method with `open` that may be not possible; else NULL. */
	const struct snapshot_method *fallback;
	/* Whether the data that the source reads still belongs to a single point in time. From any
	 * thread, while the source exists; must not block. NULL: the image is finished. */
	int (*verify)(struct snapshot *snapshot, GError **error);
	/* The same, after the last byte was read. Called by the reading thread; may query
	 * libvirt. */
	int (*verify_end)(struct snapshot *snapshot, GError **error);
	/* Frees what the method holds in this process, after its steps are closed. May be NULL. */
	void (*release)(struct snapshot *snapshot);
};

extern const struct snapshot_method method_stream_live;
extern const struct snapshot_method method_stream_cold;
extern const struct snapshot_method method_stream_rbd; /* in no configuration: see table.c */
extern const struct snapshot_method method_rebase;
extern const struct snapshot_method method_extract;
extern const struct snapshot_method method_internal;

#endif
