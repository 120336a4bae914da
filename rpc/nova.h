/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nova's objects as they travel: the instance of a cast, the conductor's calls that save it, and
 * the notifications that tell of it. What is not understood of an object is carried through
 * untouched. The shapes are those of Nova 26.2 (Zed).
 */
#ifndef NOVASNAP_RPC_NOVA_H
#define NOVASNAP_RPC_NOVA_H

#include "rpc/rpc.h"

/* --- the instance --------------------------------------------------------------------------- */

/* Belongs to one worker. */
struct nova_instance;

/* From a cast's args.instance, of any version: a copy is taken. What it names as changed is saved
 * with the first save. NULL with RPC_ERROR_DECODE when it is no Instance object with a well-formed
 * uuid. */
struct nova_instance *nova_instance_new(const cJSON *object, GError **error);
void nova_instance_free(struct nova_instance *instance);
typedef struct nova_instance nova_instance_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(nova_instance_t, nova_instance_free)

const char *nova_instance_uuid(const struct nova_instance *instance);
/* A string field of its data, NULL where absent, null or no string. */
const char *nova_instance_string(const struct nova_instance *instance, const char *field);
/* An entry of system_metadata, NULL where absent. */
const char *nova_instance_system_metadata(const struct nova_instance *instance, const char *key);
const cJSON *nova_instance_data(const struct nova_instance *instance);
/* The object as it would travel now, the caller's to free; for the arguments of
 * nova_notify_exception, which are to show the instance as it is by then. */
cJSON *nova_instance_object(const struct nova_instance *instance);
/* Sets a field and notes it as changed, as nova does even where the value stays the same; saved by
 * nova_conductor_instance_save. */
void nova_instance_set_task_state(struct nova_instance *instance, const char *task_state);
void nova_instance_set_power_state(struct nova_instance *instance, int power_state);

/* --- the conductor -------------------------------------------------------------------------- */

/* Each is one call on topic `conductor`, RPC 3.0, and returns 0 or -1 with the error of rpc_call.
 */

/* Instance.save: the whole object with the names of its changed fields; the reply's updates are
 * merged into it. After an error the changes are still to be saved. `expected_task_state` NULL:
 * whatever it is; else a task state, where "" stands for None. RPC_ERROR_DECODE: saved, and the
 * reply made no sense. */
int nova_conductor_instance_save(struct rpc *rpc, struct rpc_context *context,
				 struct nova_instance *instance, const char *expected_task_state,
				 GError **error);
/* Instance._load_flavor, for an instance that came without its flavor (as a backup's does): nova's
 * notifications need it, so nova asks after the power state is saved and before it notifies. Does
 * nothing where there is one. */
int nova_conductor_instance_load_flavor(struct rpc *rpc, struct rpc_context *context,
					struct nova_instance *instance, GError **error);
/* InstanceActionEvent.event_start; `event` is "compute_snapshot_instance". */
int nova_conductor_event_start(struct rpc *rpc, struct rpc_context *context, const char *uuid,
			       const char *event, const char *host, GError **error);
/* InstanceActionEvent.event_finish_with_failure; exc_val and exc_tb NULL on success. The whole
 * text: the conductor cuts it. */
int nova_conductor_event_finish(struct rpc *rpc, struct rpc_context *context, const char *uuid,
				const char *event, const char *exc_val, const char *exc_tb,
				GError **error);
/* InstanceFault.create. `message`: at most 255 bytes, the column's width; `details` are kept for
 * code 500 alone, as nova does. */
int nova_conductor_fault_create(struct rpc *rpc, struct rpc_context *context, const char *uuid,
				int code, const char *message, const char *details,
				const char *host, GError **error);

/* --- notifications -------------------------------------------------------------------------- */

/* Where and how notifications go; strings belong to the caller. */
struct nova_notify_config {
	bool enabled;		   /* [oslo_messaging_notifications]driver names messaging(v2) */
	bool legacy;		   /* notification_format unversioned or both */
	bool versioned;		   /* notification_format versioned or both */
	const char *const *topics; /* [oslo_messaging_notifications]topics, NULL-terminated */
	const char *const *versioned_topics; /* [notifications]versioned_notifications_topics */
	const char *host;
};

/* compute.instance.snapshot.start/.end and instance.snapshot.start/.end; `phase` is "start" or
 * "end". `image_location` is for image_ref_url, may be NULL. */
void nova_notify_snapshot(struct rpc *rpc, const struct nova_notify_config *config,
			  struct rpc_context *context, const struct nova_instance *instance,
			  const char *image_id, const char *phase, const char *image_location);

/* What went wrong, as nova tells it: exception class and module, message, and where. */
struct nova_exception {
	const char *class_name; /* "ImageNotFound" */
	const char *module;	/* "nova.exception" */
	const char *message;
	const char *function; /* the method of the cast: "snapshot_instance" */
	int code;	      /* of the fault: 500, or the exception's own */
};

/* The legacy error notification named after the method, with the call's args, and the versioned
 * compute.exception. `args` belongs to the caller. */
void nova_notify_exception(struct rpc *rpc, const struct nova_notify_config *config,
			   struct rpc_context *context, const struct nova_exception *exception,
			   const cJSON *args);

/* Our own, for whoever watches just now: instance, image, phase ("taking", "state", "uploading",
 * "done", "failed"), state, bytes done and of how many. On a topic of its own, so that nova's
 * listeners do not see it, and no broker keeps it. Sent by whoever paces it. */
#define NOVA_PROGRESS_TOPIC "novasnap"
#define NOVA_PROGRESS_EVENT "novasnap.snapshot.progress"
struct nova_progress {
	const char *instance_uuid;
	const char *image_id;
	const char *method;
	const char *phase;
	const char *task_state; /* NULL: none */
	const char *detail;	/* an error's text, may be NULL */
	uint64_t done;		/* bytes */
	uint64_t total;		/* bytes; 0: not known yet */
};
void nova_notify_progress(struct rpc *rpc, const struct nova_notify_config *config,
			  struct rpc_context *context, const struct nova_progress *progress);

#endif
