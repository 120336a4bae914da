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
/*
 * From the arguments of a request of any age: `instance` as above; or, before nova had objects
 * (Folsom, Grizzly: compute RPC 2.x), a plain dictionary; or `instance_uuid` alone (1.x). Of the
 * latter two nova_instance_is_plain is true; they are saved by conductor RPC 1.x. */
struct nova_instance *nova_instance_from_args(const cJSON *args, GError **error);
/* The same, and moves an object out of the arguments, which is most of what a cast holds: a null
 * then stands in its place. Where it returns NULL, they are as they were. */
struct nova_instance *nova_instance_take_from_args(cJSON *args, GError **error);
bool nova_instance_is_plain(const struct nova_instance *instance);
void nova_instance_free(struct nova_instance *instance);
typedef struct nova_instance nova_instance_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(nova_instance_t, nova_instance_free)

const char *nova_instance_uuid(const struct nova_instance *instance);
/* A string field of its data, NULL where absent, null or no string. */
const char *nova_instance_string(const struct nova_instance *instance, const char *field);
/* An entry of system_metadata, NULL where absent. */
const char *nova_instance_system_metadata(const struct nova_instance *instance, const char *key);
/* A property of the image that it was made from, true or false in any of the words that oslo takes
 * (oslo_utils.strutils.bool_from_string). */
bool nova_instance_image_flag(const struct nova_instance *instance, const char *property);
int nova_instance_int(const struct nova_instance *instance, const char *field, int fallback);
const cJSON *nova_instance_data(const struct nova_instance *instance);
/* The object as it would travel now, the caller's to free; for the arguments of
 * nova_notify_exception, which are to show the instance as it is by then. */
cJSON *nova_instance_object(const struct nova_instance *instance);
/* Sets a field and notes it as changed, as nova does even where the value stays the same; saved by
 * nova_conductor_instance_save. */
void nova_instance_set_task_state(struct nova_instance *instance, const char *task_state);
void nova_instance_set_power_state(struct nova_instance *instance, int power_state);
void nova_instance_set_vm_state(struct nova_instance *instance, const char *vm_state);
/* `value` NULL takes the key away. */
void nova_instance_set_system_metadata(struct nova_instance *instance, const char *key,
				       const char *value);
/* Nothing is to be saved any more: somebody else did, or the reply to our save was lost. */
void nova_instance_forget_changes(struct nova_instance *instance);

/* --- the conductor -------------------------------------------------------------------------- */

/* Each is one call on topic `conductor`, RPC 3.0, and returns 0 or -1 with the error of rpc_call.
 */

/* Instance.save: the whole object with the names of its changed fields; the reply's updates are
 * merged into it. After an error the changes are still to be saved. `expected_task_state` NULL:
 * whatever it is; else one task state or several, separated by commas, where "" stands for None.
 * RPC_ERROR_DECODE: saved, and the reply made no sense. A plain instance goes through
 * instance_update of conductor RPC 1.38 (nova.conductor.rpcapi of Grizzly). */
int nova_conductor_instance_save(struct rpc *rpc, struct rpc_context *context,
				 struct nova_instance *instance, const char *expected_task_state,
				 GError **error);
/* Instance.refresh: its fields are those that the database has by now. */
int nova_conductor_instance_refresh(struct rpc *rpc, struct rpc_context *context,
				    struct nova_instance *instance, GError **error);
/* Instance._load_flavor, for an instance that came without its flavor (as a backup's does): nova's
 * notifications need it, so nova asks after the power state is saved and before it notifies. Does
 * nothing where there is one. */
int nova_conductor_instance_load_flavor(struct rpc *rpc, struct rpc_context *context,
					struct nova_instance *instance, GError **error);
/* BlockDeviceMappingList.get_by_instance_uuid, of which the notifications of a resume tell. */
int nova_conductor_instance_load_block_devices(struct rpc *rpc, struct rpc_context *context,
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

/* --- the record of a compute service -------------------------------------------------------- */

/* nova.objects.service.Service of a host and of the binary nova-compute. */
struct nova_service;
/* Finds it as it is, or creates it: disabled for this reason, so that no scheduler takes it for a
 * host in between, and with the lowest version of all others. NULL with the error of rpc_call. */
struct nova_service *nova_service_take(struct rpc *rpc, struct rpc_context *context,
				       const char *host, const char *topic, const char *reason,
				       GError **error);
void nova_service_free(struct nova_service *service);
bool nova_service_is_disabled(const struct nova_service *service);
int nova_service_disable(struct rpc *rpc, struct rpc_context *context, struct nova_service *service,
			 const char *reason, GError **error);
/* One heartbeat: report_count grows, and the conductor notes when. */
int nova_service_report(struct rpc *rpc, struct rpc_context *context, struct nova_service *service,
			GError **error);

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

/* compute.instance.<action>.start/.end and instance.<action>.start/.end, where `action` is
 * "snapshot", "pause"...; `phase` is "start" or "end". `image_id` is told with a snapshot alone.
 * `image_location` is for image_ref_url, may be NULL. */
void nova_notify_action(struct rpc *rpc, const struct nova_notify_config *config,
			struct rpc_context *context, const struct nova_instance *instance,
			const char *action, const char *phase, const char *image_id,
			const char *image_location);

/* compute.instance.exists and instance.exists, of the audit period that is not over yet; `period`
 * is [DEFAULT]instance_usage_audit_period: hour, day, month or year, with @offset
 * (nova.compute.utils.notify_usage_exists). */
void nova_notify_exists(struct rpc *rpc, const struct nova_notify_config *config,
			struct rpc_context *context, const struct nova_instance *instance,
			const char *period, const char *image_location);

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
	double rate;		/* bytes a second; 0: not known yet */
};
/* What is sent of it. */
cJSON *nova_progress_payload(const struct nova_progress *progress);
void nova_notify_progress(struct rpc *rpc, const struct nova_notify_config *config,
			  struct rpc_context *context, const struct nova_progress *progress);

#endif
