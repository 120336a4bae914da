/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Conductor calls that save and refresh an instance: their arguments, and the use of their replies.
 */
#ifndef NOVASNAP_RPC_NOVA_INSTANCE_SAVE_H
#define NOVASNAP_RPC_NOVA_INSTANCE_SAVE_H

#include "rpc/nova.h"

/* The arguments of Instance.save of a copy of the object in which only `progress` is changed. */
cJSON *nova_instance_progress_args(const cJSON *object, int percent);
/* The arguments of Instance.save and Instance.refresh, for object_action. `expected_task_state` is
 * as for nova_conductor_instance_save. */
cJSON *nova_instance_save_args(const struct nova_instance *instance,
			       const char *expected_task_state);
cJSON *nova_instance_refresh_args(const struct nova_instance *instance);
/* The arguments of instance_update, which saves a plain instance. */
cJSON *nova_instance_update_args(const struct nova_instance *instance,
				 const char *expected_task_state);

/* Applies the reply to a save or a refresh, [updates, result], as
 * oslo_versionedobjects.base.remotable does: the updated fields, and obj_what_changed as the new
 * list of changed fields. Fails with RPC_ERROR_DECODE if it is malformed, and then changes
 * nothing. */
int nova_instance_merge(struct nova_instance *instance, const cJSON *reply, GError **error);

/* Whether a field that would be saved contains a value that was redacted (rpc_body_redact), in a
 * task from the journal or a recording. It must not be saved: nova would lose the value. */
bool nova_instance_is_redacted(const struct nova_instance *instance);
/* Replaces the redacted values in the fields that would be saved by those in the reply to a
 * refresh, and changes nothing else. A value that the reply does not have is removed. Fails with
 * RPC_ERROR_DECODE if the reply is malformed. */
int nova_instance_restore_redacted(struct nova_instance *instance, const cJSON *reply,
				   GError **error);

bool nova_instance_has_flavor(const struct nova_instance *instance);
/* Copies flavor, old_flavor and new_flavor from another object of the instance. The latter two are
 * marked as changed, as Instance._load_flavor does. Fails with RPC_ERROR_DECODE if the object has
 * no flavor. */
int nova_instance_take_flavor(struct nova_instance *instance, const cJSON *object, GError **error);

/* Stores the block devices' data from a BlockDeviceMappingList, for the notifications. Fails with
 * RPC_ERROR_DECODE if it is malformed. */
int nova_instance_take_block_devices(struct nova_instance *instance, const cJSON *list,
				     GError **error);
/* Stores the shares' data from a ShareMappingList. Fails with RPC_ERROR_DECODE if it is
 * malformed. */
int nova_instance_take_shares(struct nova_instance *instance, const cJSON *list, GError **error);

#endif
