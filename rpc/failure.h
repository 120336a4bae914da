/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exceptions in replies (oslo_messaging._drivers.common, serialize_remote_exception and
 * deserialize_remote_exception).
 */
#ifndef NOVASNAP_RPC_FAILURE_H
#define NOVASNAP_RPC_FAILURE_H

#include "rpc/rpc.h"

/* Creates an error from the member `failure` of a reply: JSON text, or the object itself, which old
 * releases send. Always returns an error: RPC_ERROR_REMOTE, or the code for one of nova's
 * exceptions listed in enum rpc_error. Long text is truncated. */
GError *rpc_failure_decode(const cJSON *failure);

/* Returns the JSON text of an exception for the member `failure`; freed with cJSON_free. */
char *rpc_failure_encode(const char *class_name, const char *module, const char *message);

#endif
