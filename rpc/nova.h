/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nova's objects as they travel: the instance of a cast, the calls to the conductor that save it,
 * the record of a compute service, and the notifications. Members of an object that we do not know
 * are carried through untouched. The shapes are those of Nova 26.2 (Zed).
 *
 * Functions that return int return 0, or -1 with an error.
 */
#ifndef NOVASNAP_RPC_NOVA_H
#define NOVASNAP_RPC_NOVA_H

#include "rpc/rpc.h"

/* An instance (nova.objects.instance.Instance), with the names of its fields that are to be saved.
 * One thread at a time uses it. */
struct nova_instance;

/* Makes an instance from a cast's args.instance, of any version; the object is copied. What it
 * names as changed is saved with the first save. Returns NULL with RPC_ERROR_DECODE when it is not
 * an Instance object with a valid uuid. */
struct nova_instance *nova_instance_new(const cJSON *object, GError **error);
/* Makes an instance from the arguments of a request of any age:
 *  - `instance` is an object: as nova_instance_new;
 *  - `instance` is a dictionary, from before nova had objects (Folsom, Grizzly: compute RPC 2.x);
 *  - there is only `instance_uuid` (compute RPC 1.x).
 * The latter two are plain instances (nova_instance_is_plain), and are saved by conductor RPC 1.x.
 * Returns NULL with RPC_ERROR_DECODE. */
struct nova_instance *nova_instance_from_args(const cJSON *args, GError **error);
/* The same, but moves an object out of the arguments instead of copying it: it is most of what a
 * cast holds. A null stands in its place. When it returns NULL, the arguments are unchanged. */
struct nova_instance *nova_instance_take_from_args(cJSON *args, GError **error);
bool nova_instance_is_plain(const struct nova_instance *instance);
/* Takes NULL. */
void nova_instance_free(struct nova_instance *instance);
typedef struct nova_instance nova_instance_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(nova_instance_t, nova_instance_free)

const char *nova_instance_uuid(const struct nova_instance *instance);
/* Returns a field that is a string, else NULL. */
const char *nova_instance_string(const struct nova_instance *instance, const char *field);
/* Returns an entry of system_metadata that is a string, else NULL. */
const char *nova_instance_system_metadata(const struct nova_instance *instance, const char *key);
/* Whether a property of the instance's image is true, in any of the words that oslo accepts
 * (oslo_utils.strutils.bool_from_string). */
bool nova_instance_image_flag(const struct nova_instance *instance, const char *property);
/* Returns a field that is a whole number and fits an int, else `fallback`. */
int nova_instance_int(const struct nova_instance *instance, const char *field, int fallback);
/* All fields; they belong to the instance. */
const cJSON *nova_instance_data(const struct nova_instance *instance);
/* Returns a copy of the object as it would travel now, with its nova_object.changes. The caller
 * deletes it. */
cJSON *nova_instance_object(const struct nova_instance *instance);

/* These set a field and note it as changed, as nova does even when the value stays the same.
 * Strings are copied. nova_conductor_instance_save saves the changes. `task_state` NULL stands for
 * None. */
void nova_instance_set_task_state(struct nova_instance *instance, const char *task_state);
void nova_instance_set_power_state(struct nova_instance *instance, int power_state);
void nova_instance_set_vm_state(struct nova_instance *instance, const char *vm_state);
/* `value` NULL removes the key. */
void nova_instance_set_system_metadata(struct nova_instance *instance, const char *key,
				       const char *value);
/* Nothing is to be saved any more: another service saved it, or the reply to our save was lost. */
void nova_instance_forget_changes(struct nova_instance *instance);

/* The calls to the conductor: each is one call of RPC 3.0 on the topic `conductor`, waits for at
 * most rpc_config.response_timeout_s, and fails with the errors of rpc_call. */

/* Instance.save: sends the whole object with the names of its changed fields, and merges the
 * updates of the reply into it. After an error the changes are still to be saved.
 * `expected_task_state` is one task state, or several separated by commas, where "" stands for
 * None; NULL: any. The conductor refuses another one with RPC_ERROR_UNEXPECTED_TASK_STATE.
 * RPC_ERROR_DECODE: saved, but the reply was malformed. A plain instance is saved with
 * instance_update of conductor RPC 1.38 (nova.conductor.rpcapi of Grizzly). */
int nova_conductor_instance_save(struct rpc *rpc, struct rpc_context *context,
				 struct nova_instance *instance, const char *expected_task_state,
				 GError **error);
/* Instance.refresh: its fields become those that the database has now. */
int nova_conductor_instance_refresh(struct rpc *rpc, struct rpc_context *context,
				    struct nova_instance *instance, GError **error);
/* Instance._load_flavor, for an instance that came without its flavor, as a backup's does. nova's
 * notifications need it: nova loads it after the power state is saved and before it notifies. Does
 * nothing when there is a flavor. */
int nova_conductor_instance_load_flavor(struct rpc *rpc, struct rpc_context *context,
					struct nova_instance *instance, GError **error);
/* BlockDeviceMappingList.get_by_instance_uuid, whose volumes are in the notifications of a resume.
 */
int nova_conductor_instance_load_block_devices(struct rpc *rpc, struct rpc_context *context,
					       struct nova_instance *instance, GError **error);
/* InstanceActionEvent.event_start. `event` is "compute_snapshot_instance". */
int nova_conductor_event_start(struct rpc *rpc, struct rpc_context *context, const char *uuid,
			       const char *event, const char *host, GError **error);
/* InstanceActionEvent.event_finish_with_failure. `exc_val` and `exc_tb` are the exception's text
 * and traceback, of any length (the conductor cuts them); NULL on success. */
int nova_conductor_event_finish(struct rpc *rpc, struct rpc_context *context, const char *uuid,
				const char *event, const char *exc_val, const char *exc_tb,
				GError **error);
/* InstanceFault.create. `message` has at most 255 bytes, the width of the column. `details` are
 * stored only with code 500, as nova does. */
int nova_conductor_fault_create(struct rpc *rpc, struct rpc_context *context, const char *uuid,
				int code, const char *message, const char *details,
				const char *host, GError **error);

/* The record of a compute service (nova.objects.service.Service): of a host, and of the binary
 * nova-compute. The functions are calls to the conductor, as above. */
struct nova_service;
/* Finds the record, or creates it: disabled for this reason, so that no scheduler uses the host
 * meanwhile, and with the lowest version of all compute services. Returns NULL with an error. */
struct nova_service *nova_service_take(struct rpc *rpc, struct rpc_context *context,
				       const char *host, const char *topic, const char *reason,
				       GError **error);
/* Takes NULL. */
void nova_service_free(struct nova_service *service);
bool nova_service_is_disabled(const struct nova_service *service);
int nova_service_disable(struct rpc *rpc, struct rpc_context *context, struct nova_service *service,
			 const char *reason, GError **error);
/* One heartbeat: increases report_count; the conductor stores the time. */
int nova_service_report(struct rpc *rpc, struct rpc_context *context, struct nova_service *service,
			GError **error);

/* How notifications are sent. All strings belong to the caller. */
struct nova_notify_config {
	bool enabled;		   /* [oslo_messaging_notifications]driver names messaging(v2) */
	bool legacy;		   /* notification_format is unversioned or both */
	bool versioned;		   /* notification_format is versioned or both */
	const char *const *topics; /* [oslo_messaging_notifications]topics, NULL-terminated */
	const char *const *versioned_topics; /* [notifications]versioned_notifications_topics */
	const char *host;
};

/* Sends compute.instance.<action>.<phase> and instance.<action>.<phase>
 * (nova.compute.utils.notify_about_instance_usage, _action and _snapshot). `action` is
 * "snapshot", "pause"...; `phase` is "start" or "end". `image_id` is that of a snapshot, else NULL.
 * `image_location` is the URL of Glance, for image_ref_url; it may be NULL. */
void nova_notify_action(struct rpc *rpc, const struct nova_notify_config *config,
			struct rpc_context *context, const struct nova_instance *instance,
			const char *action, const char *phase, const char *image_id,
			const char *image_location);

/* Sends compute.instance.exists and instance.exists for the audit period that has not ended yet
 * (nova.compute.utils.notify_usage_exists). `period` is [DEFAULT]instance_usage_audit_period: hour,
 * day, month or year, with an optional @offset. */
void nova_notify_exists(struct rpc *rpc, const struct nova_notify_config *config,
			struct rpc_context *context, const struct nova_instance *instance,
			const char *period, const char *image_location);

/* An exception of nova. */
struct nova_exception {
	const char *class_name; /* "ImageNotFound" */
	const char *module;	/* "nova.exception" */
	const char *message;
	const char *function; /* the method of the cast: "snapshot_instance" */
	int code;	      /* of the fault: 500, or the exception's own */
};

/* Sends the legacy error notification that is named after the method and holds the cast's
 * arguments, and the versioned compute.exception (nova.exception_wrapper). `args` belongs to the
 * caller; its `instance` should be the object as it is now (nova_instance_object). */
void nova_notify_exception(struct rpc *rpc, const struct nova_notify_config *config,
			   struct rpc_context *context, const struct nova_exception *exception,
			   const cJSON *args);

/* Our own notification about the progress of a snapshot. It has a topic of its own, so that nova's
 * listeners do not see it, and no broker keeps it. */
#define NOVA_PROGRESS_TOPIC "novasnap"
#define NOVA_PROGRESS_EVENT "novasnap.snapshot.progress"
struct nova_progress {
	const char *instance_uuid;
	const char *image_id;
	const char *method;
	const char *phase;	/* "taking", "state", "uploading", "done", "failed" */
	const char *task_state; /* NULL: none */
	const char *detail;	/* an error's text; may be NULL */
	uint64_t done;		/* bytes */
	uint64_t total;		/* bytes; 0: not known yet */
	double rate;		/* bytes per second; 0: not known yet */
};
/* Returns the payload of the notification. The caller deletes it. */
cJSON *nova_progress_payload(const struct nova_progress *progress);
/* Sends it, whether or not nova's notifications are enabled. The caller limits the rate. */
void nova_notify_progress(struct rpc *rpc, const struct nova_notify_config *config,
			  struct rpc_context *context, const struct nova_progress *progress);

#endif
