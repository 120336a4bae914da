/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot under way, and what a method of making one has to do. To add a method, write a file
 * with a struct snapshot_method, and add it below and to the table of table.c.
 *
 * A method changes the world only in steps (steps.h): each effect is preceded by step_begin with
 * what rollback.c needs to undo it. A method never undoes anything itself: its caller closes the
 * open steps, after a success as after a failure.
 */
#ifndef NOVASNAP_VIRT_METHOD_METHOD_H
#define NOVASNAP_VIRT_METHOD_METHOD_H

#include "virt/domain/domain-xml.h"
#include "virt/domain/events.h"
#include "virt/domain/guest.h"
#include "virt/domain/root-disk.h"

struct live_stream;
struct snapshot_method;

/* A snapshot belongs to the worker that makes it. Its guest is used by one thread at a time: the
 * worker, and the thread that reads the source while the worker waits for it. */
struct snapshot {
	/* Set by snapshot_new. */
	struct guest guest;
	const struct virt_config *config;
	const atomic_int *cancel;	    /* may be NULL */
	const struct snapshot_steps *steps; /* NULL: no journal is kept */
	char *id;			    /* random; for names of what it makes */
	struct disk *disk;
	char *format;	 /* of the image */
	int first_state; /* VIR_DOMAIN_*: what the guest comes back to */
	struct domain_traits traits;
	bool guest_agent;     /* the image allows the use of the guest agent */
	bool require_quiesce; /* fail where the filesystems cannot be frozen */
	bool compress;	      /* a staged qcow2 image is compressed */
	struct domain_events *events;

	/* Changes as it goes on. */
	const struct snapshot_method *method; /* it may give way to its fallback */
	GPtrArray *open_steps;		      /* of steps.c; NULL: there were none */
	/* Paths in the folder of temporary files; NULL: it is not made yet. */
	char *delta;			 /* for the use of the method */
	char *image;			 /* where `take` leaves the finished image */
	struct live_stream *live_stream; /* of stream-live.c; NULL: none */
};

enum snapshot_open_result {
	SNAPSHOT_OPENED,
	SNAPSHOT_TRY_FALLBACK, /* it is not possible here: the fallback is used instead */
	SNAPSHOT_FAILED,
};

/* The functions are called by the worker, in this order, each at most once; verify is the
 * exception. All that return an int return 0, or -1 with an error. */
struct snapshot_method {
	const char *name; /* in the configuration */
	bool live;	  /* for guests that run or are paused; else for others, or saved ones */
	/* Saves a guest that must be saved, or refuses it with an error. Changes nothing else.
	 * NULL: there is nothing to prepare. */
	int (*prepare)(struct snapshot *snapshot, GError **error);
	/* Leaves the finished image in snapshot->image. NULL: the method has `open`. */
	int (*take)(struct snapshot *snapshot, GError **error);
	/* Opens a source that reads the guest's disk; the caller frees it before the steps are
	 * closed. Any other result than SNAPSHOT_OPENED comes with an error. */
	enum snapshot_open_result (*open)(struct snapshot *snapshot, struct image_source **ret_disk,
					  GError **error);
	const struct snapshot_method *fallback; /* of a method with `open` */
	/* Whether what the source reads is still of one instant. From any thread, while the source
	 * lives; it must not block. NULL: the image is finished. */
	int (*verify)(struct snapshot *snapshot, GError **error);
	/* The same, after the last byte was read; it may ask libvirt. By the reading thread. */
	int (*verify_end)(struct snapshot *snapshot, GError **error);
	/* Gives back what the method holds in this process, after its steps are closed. May be
	 * NULL. */
	void (*release)(struct snapshot *snapshot);
};

extern const struct snapshot_method method_stream_live;
extern const struct snapshot_method method_stream_cold;
extern const struct snapshot_method method_rebase;
extern const struct snapshot_method method_extract;
extern const struct snapshot_method method_internal;

#endif
