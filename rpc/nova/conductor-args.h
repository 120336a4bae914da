/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The arguments of the calls to nova's conductor (nova.conductor.rpcapi.ConductorAPI), other than
 * those that save and refresh the instance. They are built separately from the calls, so that tests
 * can compare them with recordings. The caller deletes the results.
 */
#ifndef NOVASNAP_RPC_NOVA_CONDUCTOR_ARGS_H
#define NOVASNAP_RPC_NOVA_CONDUCTOR_ARGS_H

#include "rpc/nova.h"

/* InstanceActionEvent.event_start and event_finish_with_failure. */
cJSON *nova_event_start_args(const struct nova_release *release, const char *uuid,
			     const char *event, const char *host);
cJSON *nova_event_finish_args(const struct nova_release *release, const char *uuid,
			      const char *event, const char *exc_val, const char *exc_tb);
/* InstanceAction.get_by_request_id. */
cJSON *nova_find_action_args(const struct nova_release *release, const char *uuid,
			     const char *request_id);
/* InstanceActionEventList.get_by_action. */
cJSON *nova_list_events_args(const struct nova_release *release, int64_t action);
/* InstanceFault.create. */
cJSON *nova_fault_args(const char *uuid, int code, const char *message, const char *details,
		       const char *host);
/* InstanceFaultList.get_by_instance_uuids. */
cJSON *nova_list_faults_args(const struct nova_release *release, const char *uuid);
/* Instance.get_by_uuid with the flavor. */
cJSON *nova_load_flavor_args(const struct nova_release *release, const char *uuid);
/* BlockDeviceMappingList.get_by_instance_uuid. */
cJSON *nova_load_block_devices_args(const struct nova_release *release, const char *uuid);
/* ShareMappingList.get_by_instance_uuid. */
cJSON *nova_load_shares_args(const struct nova_release *release, const char *uuid);

#endif
