/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is exchanged with the conductor about an instance: the arguments of its calls, and what is
 * taken over from their replies.
 */
#ifndef NOVASNAP_RPC_NOVA_INSTANCE_SAVE_H
#define NOVASNAP_RPC_NOVA_INSTANCE_SAVE_H

#include "rpc/nova.h"

/* The arguments of Instance.save and Instance.refresh, by object_action. `expected_task_state` is
 * that of nova_conductor_instance_save. */
cJSON *nova_instance_save_args(const struct nova_instance *instance,
			       const char *expected_task_state);
cJSON *nova_instance_refresh_args(const struct nova_instance *instance);
/* The arguments of instance_update, which saves a plain instance. */
cJSON *nova_instance_update_args(const struct nova_instance *instance,
				 const char *expected_task_state);

/* Takes over the reply to a save or a refresh, [updates, result], as
 * oslo_versionedobjects.base.remotable does: the updated fields, and obj_what_changed as what is
 * still to be saved. Fails with RPC_ERROR_DECODE for anything else, and then takes nothing over. */
int nova_instance_merge(struct nova_instance *instance, const cJSON *reply, GError **error);

bool nova_instance_has_flavor(const struct nova_instance *instance);
/* Copies flavor, old_flavor and new_flavor from another object of the instance. As
 * Instance._load_flavor does, leaves the latter two to be saved. Fails with RPC_ERROR_DECODE when
 * the object has no flavor. */
int nova_instance_take_flavor(struct nova_instance *instance, const cJSON *object, GError **error);

/* Keeps the data of the block devices in a BlockDeviceMappingList, for the notifications. Fails
 * with RPC_ERROR_DECODE for anything else. */
int nova_instance_take_block_devices(struct nova_instance *instance, const cJSON *list,
				     GError **error);

#endif
