/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The payloads of the two notifications about an exception.
 */
#ifndef NOVASNAP_RPC_NOVA_PAYLOAD_EXCEPTION_H
#define NOVASNAP_RPC_NOVA_PAYLOAD_EXCEPTION_H

#include "rpc/nova.h"

/* nova.exception_wrapper._emit_legacy_exception_notification. `args` are the cast's; NULL: none. */
cJSON *nova_legacy_exception_payload(const struct nova_exception *exception, const cJSON *args);
/* nova.notifications.objects.exception.ExceptionPayload. */
cJSON *nova_versioned_exception_payload(const struct nova_exception *exception);

#endif
