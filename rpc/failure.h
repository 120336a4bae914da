/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exceptions as they travel in a reply (oslo_messaging._drivers.common,
 * serialize_remote_exception and deserialize_remote_exception).
 */
#ifndef NOVASNAP_RPC_FAILURE_H
#define NOVASNAP_RPC_FAILURE_H

#include "rpc/rpc.h"

/* Makes an error from the member `failure` of a reply: a JSON text, or the object itself, which old
 * releases send. Always returns an error: RPC_ERROR_REMOTE, or the code of that exception of nova
 * that enum rpc_error names. Text that is too long is cut. */
GError *rpc_failure_decode(const cJSON *failure);

/* Returns the JSON text of an exception, ready for the member `failure`; freed with cJSON_free. */
char *rpc_failure_encode(const char *class_name, const char *module, const char *message);

#endif
