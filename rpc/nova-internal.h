/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The messages about nova's objects, apart from their sending: what the tests compare with
 * recordings.
 */
#ifndef NOVASNAP_RPC_NOVA_INTERNAL_H
#define NOVASNAP_RPC_NOVA_INTERNAL_H

#include "rpc/nova.h"

/* The args of the conductor's calls; the caller's to free or hand on. */
cJSON *nova_save_args(const struct nova_instance *instance, const char *expected_task_state);
cJSON *nova_event_start_args(const char *uuid, const char *event, const char *host);
cJSON *nova_event_finish_args(const char *uuid, const char *event, const char *exc_val,
			      const char *exc_tb);
cJSON *nova_fault_args(const char *uuid, int code, const char *message, const char *details,
		       const char *host);
/* Takes over what a save's reply says, and forgets the changes. */
void nova_instance_merge(struct nova_instance *instance, const cJSON *reply);

/* The payloads of the notifications. */
cJSON *nova_legacy_payload(const struct nova_instance *instance, const char *image_location);
cJSON *nova_versioned_payload(const struct nova_instance *instance,
			      const struct rpc_context *context, const char *image_id);
cJSON *nova_legacy_exception_payload(const struct nova_exception *exception, const cJSON *args);
cJSON *nova_versioned_exception_payload(const struct nova_exception *exception);

/* {"nova_object.name": ..., "nova_object.namespace": "nova", "nova_object.version": ...,
 * "nova_object.data": data}; `data` is taken. */
cJSON *nova_object_wrap(const char *name, const char *version, cJSON *data);

/* A copy of a member of an object, null where it is absent. */
cJSON *nova_copy_member(const cJSON *object, const char *name);

#endif
