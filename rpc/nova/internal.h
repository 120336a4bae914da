/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the nova*.c files share: building the messages about nova's objects, apart from their
 * sending, so that the tests can compare them with recordings without a broker.
 */
#ifndef NOVASNAP_RPC_NOVA_INTERNAL_H
#define NOVASNAP_RPC_NOVA_INTERNAL_H

#include "rpc/nova.h"

/* --- nova-value.c --------------------------------------------------------------------------- */

/* A copy of a member of an object, a JSON null where it is absent or the object is NULL. */
cJSON *nova_copy_member(const cJSON *object, const char *name);
/* Adds a text, with U+FFFD for what is no UTF-8; NULL adds a JSON null. */
void nova_add_text(cJSON *object, const char *name, const char *text);
/* Replaces a member in its place, or appends it; `value` is taken. */
void nova_put_member(cJSON *object, const char *name, cJSON *value);
/* The data of a member that is a versioned object, NULL where it is none. */
const cJSON *nova_member_data(const cJSON *object, const char *name);
/* {"nova_object.name": ..., "nova_object.namespace": "nova", "nova_object.version": ...,
 * "nova_object.data": data}; `data` is taken. */
cJSON *nova_object_wrap(const char *name, const char *version, cJSON *data);
/* What Python makes of a DateTimeField's text: str(datetime), "2026-11-23 04:24:38+00:00", and
 * nova.utils.strtime, "2026-11-23T04:24:38.000000". A copy of a text that is no time. */
char *nova_time_str(const char *text);
char *nova_time_strtime(const char *text);

/* --- nova-instance.c ------------------------------------------------------------------------ */

/* The args of Instance.save, see nova_conductor_instance_save. */
cJSON *nova_save_args(const struct nova_instance *instance, const char *expected_task_state);
/* Of a plain instance: those of instance_update. */
cJSON *nova_update_args(const struct nova_instance *instance, const char *expected_task_state);
/* Takes over [updates, result], the reply to a save, as oslo_versionedobjects.base.remotable does:
 * the updated fields, and obj_what_changed as what is still to be saved. RPC_ERROR_DECODE for
 * something else, and nothing is taken over. */
int nova_instance_merge(struct nova_instance *instance, const cJSON *reply, GError **error);
/* Keeps the data of its block devices, of a BlockDeviceMappingList, for the notifications.
 * RPC_ERROR_DECODE for something else. */
int nova_instance_take_block_devices(struct nova_instance *instance, const cJSON *list,
				     GError **error);
/* An array of the devices' data, NULL where they were not asked for. */
const cJSON *nova_instance_block_devices(const struct nova_instance *instance);
bool nova_instance_has_flavor(const struct nova_instance *instance);
/* Takes flavor, old_flavor and new_flavor out of another copy of the instance, as
 * Instance._load_flavor does, which leaves the two latter to be saved. RPC_ERROR_DECODE when there
 * is no flavor in it. */
int nova_instance_take_flavor(struct nova_instance *instance, const cJSON *object, GError **error);

/* --- nova-conductor.c ----------------------------------------------------------------------- */

/* A call of RPC 3.0; `doing` goes before what went wrong. `args` is taken. */
cJSON *nova_conductor_call(struct rpc *rpc, struct rpc_context *context, const char *method,
			   cJSON *args, const char *doing, GError **error);
cJSON *nova_event_start_args(const char *uuid, const char *event, const char *host);
cJSON *nova_event_finish_args(const char *uuid, const char *event, const char *exc_val,
			      const char *exc_tb);
cJSON *nova_fault_args(const char *uuid, int code, const char *message, const char *details,
		       const char *host);
cJSON *nova_refresh_args(const struct nova_instance *instance);
/* Instance.get_by_uuid with the flavor. */
cJSON *nova_load_flavor_args(const char *uuid);
cJSON *nova_load_block_devices_args(const char *uuid);

/* --- nova-payload-*.c ----------------------------------------------------------------------- */

/* nova.notifications.base.info_from_instance. */
cJSON *nova_legacy_payload(const struct nova_instance *instance, const char *image_location);
/* nova.notifications.objects.instance: InstanceActionSnapshotPayload with an image, else
 * InstanceActionPayload. */
cJSON *nova_versioned_payload(const struct nova_instance *instance,
			      const struct rpc_context *context, const char *image_id);
/* InstanceExistsPayload. */
cJSON *nova_versioned_exists_payload(const struct nova_instance *instance,
				     const struct rpc_context *context, GDateTime *from,
				     GDateTime *to);
/* When the last whole period ended (nova.utils.last_completed_audit_period); the caller unrefs it.
 */
GDateTime *nova_audit_period_end(const char *period, GDateTime *now);
/* nova.exception_wrapper._emit_legacy_exception_notification. */
cJSON *nova_legacy_exception_payload(const struct nova_exception *exception, const cJSON *args);
/* nova.notifications.objects.exception.ExceptionPayload. */
cJSON *nova_versioned_exception_payload(const struct nova_exception *exception);

/* --- nova-notify.c -------------------------------------------------------------------------- */

/* nova.context.RequestContext.elevated: a context of an admin; a new reference. */
struct rpc_context *nova_context_elevated(struct rpc_context *context);

#endif
