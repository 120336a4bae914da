/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nova's versioned objects in messages: the instance of a cast, the conductor calls that save it,
 * the record of a compute service, and the notifications. Unknown members of an object are
 * forwarded unchanged. The formats are those of the release of nova that the functions are given.
 *
 * Functions that return int return 0, or -1 with an error.
 */
#ifndef NOVASNAP_RPC_NOVA_H
#define NOVASNAP_RPC_NOVA_H

#include "rpc/nova-release.h"
#include "rpc/rpc.h"

/* An instance (nova.objects.instance.Instance), with the names of its changed fields, which are not
 * saved yet. Used by one thread at a time. */
struct nova_instance;

/* Creates an instance from a cast's args.instance, of any version; the object is copied. Fields
 * that it lists as changed are saved with the first save. Returns NULL with RPC_ERROR_DECODE if it
 * is not an Instance object with a valid uuid. */
struct nova_instance *nova_instance_new(const cJSON *object, GError **error);
/* Creates an instance from the arguments of a request of any release:
 * - `instance` is an object: as nova_instance_new;
 * - `instance` is a dictionary, from releases before nova had objects (Folsom, Grizzly: compute RPC
 *   2.x);
 * - there is only `instance_uuid` (compute RPC 1.x).
 *
 * The latter two are plain instances (nova_instance_is_plain), and are saved with conductor RPC
 * 1.x. Returns NULL with RPC_ERROR_DECODE. */
struct nova_instance *nova_instance_from_args(const cJSON *args, GError **error);
/* As nova_instance_from_args, but moves an object out of the arguments instead of copying it,
 * because it is most of a cast's data; a null replaces it. If NULL is returned, the arguments are
 * unchanged. */
struct nova_instance *nova_instance_take_from_args(cJSON *args, GError **error);
bool nova_instance_is_plain(const struct nova_instance *instance);
/* Accepts NULL. */
void nova_instance_free(struct nova_instance *instance);
typedef struct nova_instance nova_instance_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(nova_instance_t, nova_instance_free)

const char *nova_instance_uuid(const struct nova_instance *instance);
/* Whether nova sets this task state while it deletes an instance; NULL: none. */
bool nova_task_state_is_deleting(const char *task_state);
/* Returns a field that is a string, else NULL. */
const char *nova_instance_string(const struct nova_instance *instance, const char *field);
/* Returns an entry of system_metadata that is a string, else NULL. */
const char *nova_instance_system_metadata(const struct nova_instance *instance, const char *key);
/* Whether a property of the instance's image is true, in any spelling that oslo accepts
 * (oslo_utils.strutils.bool_from_string). */
bool nova_instance_image_flag(const struct nova_instance *instance, const char *property);
/* Returns a field that is a whole number and fits an int, else `fallback`. */
int nova_instance_int(const struct nova_instance *instance, const char *field, int fallback);
/* All fields; they belong to the instance. */
const cJSON *nova_instance_data(const struct nova_instance *instance);
/* Returns a copy of the object in its current state, with nova_object.changes. The caller deletes
 * it. */
cJSON *nova_instance_object(const struct nova_instance *instance);

/* These set a field and mark it as changed, as nova does even if the value stays the same. Strings
 * are copied. nova_conductor_instance_save saves the changes. `task_state` NULL means None. */
void nova_instance_set_task_state(struct nova_instance *instance, const char *task_state);
void nova_instance_set_power_state(struct nova_instance *instance, int power_state);
void nova_instance_set_progress(struct nova_instance *instance, int percent);
void nova_instance_set_vm_state(struct nova_instance *instance, const char *vm_state);
/* `value` NULL removes the key. */
void nova_instance_set_system_metadata(struct nova_instance *instance, const char *key,
				       const char *value);
/* Discards the marks: the fields were saved by another service, or the reply to the last save was
 * lost. */
void nova_instance_forget_changes(struct nova_instance *instance);

/* Calls to the conductor: each is one call of RPC 3.0 on the topic `conductor`, waits at most
 * rpc_config.response_timeout_s, and fails with the errors of rpc_call. */

/* Instance.save: sends the whole object with the names of its changed fields, and merges the
 * updates in the reply into it. After an error the fields stay marked as changed.
 * `expected_task_state` is one task state, or several separated by commas, where "" means None;
 * NULL: any. The conductor rejects any other state with RPC_ERROR_UNEXPECTED_TASK_STATE.
 * RPC_ERROR_DECODE: saved, but the reply was malformed. A plain instance is saved with
 * instance_update of conductor RPC 1.38 (nova.conductor.rpcapi of Grizzly). */
int nova_conductor_instance_save(struct rpc *rpc, struct rpc_context *context,
				 struct nova_instance *instance, const char *expected_task_state,
				 GError **error);
/* Instance.save with the field `progress` (percent) alone: of the object, a copy of which
 * nova_instance_object returns, no other field is saved. From any thread. Plain instances cannot be
 * saved this way. The call waits at most `timeout_s` seconds; 0: response_timeout_s. */
int nova_conductor_progress_save(struct rpc *rpc, struct rpc_context *context, const cJSON *object,
				 int percent, unsigned timeout_s, GError **error);
/* Instance.refresh: reads the fields from the database. */
int nova_conductor_instance_refresh(struct rpc *rpc, struct rpc_context *context,
				    struct nova_instance *instance, GError **error);
/* Instance._load_flavor, for an instance that was sent without its flavor, as in a backup's cast.
 * nova's notifications need it: nova loads it after the power state is saved and before it
 * notifies. Does nothing if the instance has a flavor. */
int nova_conductor_instance_load_flavor(struct rpc *rpc, struct rpc_context *context,
					const struct nova_release *release,
					struct nova_instance *instance, GError **error);
/* BlockDeviceMappingList.get_by_instance_uuid: the volumes are part of the notifications of a
 * resume. */
int nova_conductor_instance_load_block_devices(struct rpc *rpc, struct rpc_context *context,
					       const struct nova_release *release,
					       struct nova_instance *instance, GError **error);
/* ShareMappingList.get_by_instance_uuid, for releases with NOVA_HABIT_SHARES. */
int nova_conductor_instance_load_shares(struct rpc *rpc, struct rpc_context *context,
					const struct nova_release *release,
					struct nova_instance *instance, GError **error);
/* How many shares nova_conductor_instance_load_shares has found last. */
unsigned nova_instance_share_count(const struct nova_instance *instance);
/* InstanceActionEvent.event_start. `event` is "compute_snapshot_instance". */
int nova_conductor_event_start(struct rpc *rpc, struct rpc_context *context,
			       const struct nova_release *release, const char *uuid,
			       const char *event, const char *host, GError **error);
/* InstanceActionEvent.event_finish_with_failure. `exc_val` and `exc_tb` are the exception's text
 * and traceback, of any length (the conductor truncates them); NULL on success. */
int nova_conductor_event_finish(struct rpc *rpc, struct rpc_context *context,
				const struct nova_release *release, const char *uuid,
				const char *event, const char *exc_val, const char *exc_tb,
				GError **error);
enum nova_event {
	NOVA_EVENT_NONE,
	NOVA_EVENT_LIVE,   /* it has not ended, or was a success */
	NOVA_EVENT_FAILED, /* it has ended with an error */
};
/* Looks for an event of that name of the action of the context's request. nova-compute starts the
 * event before it changes the instance, so it shows whether nova-compute has begun the request.
 * Returns an enum nova_event, of several events NOVA_EVENT_LIVE first, or -1 with an error. */
int nova_conductor_event_find(struct rpc *rpc, struct rpc_context *context,
			      const struct nova_release *release, const char *uuid,
			      const char *event, GError **error);
/* InstanceFault.create. `message` has at most 255 bytes, the width of the column. `details` are
 * stored only with code 500, as nova does. */
int nova_conductor_fault_create(struct rpc *rpc, struct rpc_context *context, const char *uuid,
				int code, const char *message, const char *details,
				const char *host, GError **error);
/* Asks whether the instance has a fault with this code, message and host that was created at
 * `since` (seconds since the epoch) or later: whether a fault_create without a reply was executed.
 * Returns 1 if it has, 0 if not, -1 with an error. */
int nova_conductor_fault_exists(struct rpc *rpc, struct rpc_context *context,
				const struct nova_release *release, const char *uuid, int code,
				const char *message, const char *host, gint64 since,
				GError **error);

/* The record of a compute service (nova.objects.service.Service): of a host and the binary
 * nova-compute. The functions are calls to the conductor, as above. */
struct nova_service;
/* Finds the record, or creates it: disabled with this reason, so that no scheduler uses the host,
 * and with the highest version in the records of nova's services. Returns NULL with an error, which
 * is RPC_ERROR_FAILED if there is no record at all: then none is created. */
struct nova_service *nova_service_take(struct rpc *rpc, struct rpc_context *context,
				       const char *host, const char *topic, const char *reason,
				       GError **error);
/* The version in the record of this host's nova-compute, which nova-compute has written at its
 * start (nova.objects.service.SERVICE_VERSION): see nova_release_of_record. If there is no such
 * record, the highest version in the records of nova's services. Fails with RPC_ERROR_FAILED if
 * there is no record at all. */
int nova_conductor_service_version(struct rpc *rpc, struct rpc_context *context, const char *host,
				   int *ret_version, GError **error);
/* Accepts NULL. */
void nova_service_free(struct nova_service *service);
bool nova_service_is_disabled(const struct nova_service *service);
int nova_service_disable(struct rpc *rpc, struct rpc_context *context, struct nova_service *service,
			 const char *reason, GError **error);
/* Sends one heartbeat: increases report_count; the conductor stores the time. */
int nova_service_report(struct rpc *rpc, struct rpc_context *context, struct nova_service *service,
			GError **error);

/* How notifications are sent. All strings belong to the caller. */
struct nova_notify_config {
	bool enabled;		   /* [oslo_messaging_notifications]driver names messaging(v2) */
	bool legacy;		   /* notification_format is unversioned or both */
	bool versioned;		   /* notification_format is versioned or both */
	const char *const *topics; /* [oslo_messaging_notifications]topics, NULL-terminated */
	const char *const *versioned_topics; /* [notifications]versioned_notifications_topics */
	bool shares;			     /* [notifications]include_share_mapping */
	const char *host;
};

/* Sends compute.instance.<action>.<phase> and instance.<action>.<phase>
 * (nova.compute.utils.notify_about_instance_usage, _action and _snapshot). `action` is "snapshot",
 * "pause"...; `phase` is "start" or "end". `image_id` is the image of a snapshot, else NULL.
 * `image_location` is Glance's URL, for image_ref_url; it may be NULL. */
void nova_notify_action(struct rpc *rpc, const struct nova_notify_config *config,
			const struct nova_release *release, struct rpc_context *context,
			const struct nova_instance *instance, const char *action, const char *phase,
			const char *image_id, const char *image_location);

/* Sends compute.instance.exists and instance.exists for the current audit period
 * (nova.compute.utils.notify_usage_exists). `period` is [DEFAULT]instance_usage_audit_period: hour,
 * day, month or year, with an optional @offset. */
void nova_notify_exists(struct rpc *rpc, const struct nova_notify_config *config,
			const struct nova_release *release, struct rpc_context *context,
			const struct nova_instance *instance, const char *period,
			const char *image_location);
/* Whether these notifications contain the instance's shares, which must be loaded before. */
bool nova_notify_has_shares(const struct nova_notify_config *config,
			    const struct nova_release *release);

/* An exception raised by nova. */
struct nova_exception {
	const char *class_name; /* "ImageNotFound" */
	const char *module;	/* "nova.exception" */
	const char *message;
	const char *function; /* nova's: the cast's method, or "_snapshot_instance" */
	int code;	      /* of the fault: 500, or the exception's own code */
};

/* Sends the legacy error notification, which is named after the method and contains the cast's
 * arguments, and the versioned compute.exception (nova.exception_wrapper). `args` belongs to the
 * caller; its `instance` should be the object in its current state (nova_instance_object). */
void nova_notify_exception(struct rpc *rpc, const struct nova_notify_config *config,
			   struct rpc_context *context, const struct nova_exception *exception,
			   const cJSON *args);

/* novasnap's notification about the progress of a snapshot. It has a separate topic, which nova's
 * listeners do not receive and for which the broker keeps no messages. */
#define NOVA_PROGRESS_TOPIC "novasnap"
#define NOVA_PROGRESS_EVENT "novasnap.snapshot.progress"
struct nova_progress {
	const char *instance_uuid;
	const char *image_id;
	const char *method;
	/* "taking", "state", "copying", "uploading", "finishing", "done", "failed";
	 * "left_to_nova": nova-compute serves the request */
	const char *phase;
	const char *task_state; /* NULL: none */
	const char *detail;	/* an error's text; may be NULL */
	uint64_t done;		/* bytes */
	uint64_t total;		/* bytes; 0: not known yet */
	double rate;		/* bytes per second; 0: not known yet */
};
/* Returns the payload of the notification. The caller deletes it. */
cJSON *nova_progress_payload(const struct nova_progress *progress);
/* Sends it, even if nova's notifications are disabled. The caller limits the rate. */
void nova_notify_progress(struct rpc *rpc, const struct nova_notify_config *config,
			  struct rpc_context *context, const struct nova_progress *progress);

#endif
