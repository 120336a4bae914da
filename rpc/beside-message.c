/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See beside-message.h.
 */
#include "rpc/beside-message.h"

#include "rpc/context.h"
#include "rpc/rpc.h"

#define PING_ARGUMENT "novasnap beside"

char *beside_message_ping(const char *msg_id, const char *reply_queue)
{
	cJSON *message = cJSON_CreateObject();
	g_autoptr(rpc_context_t) context = rpc_context_new(NULL);
	cJSON *args = cJSON_AddObjectToObject(message, "args");
	char *body;

	cJSON_AddStringToObject(args, "arg", PING_ARGUMENT);
	cJSON_AddStringToObject(message, "method", "ping");
	cJSON_AddStringToObject(message, "namespace", "baseapi");
	cJSON_AddStringToObject(message, "version", "1.0");
	if (msg_id) {
		cJSON_AddStringToObject(message, "_msg_id", msg_id);
		cJSON_AddStringToObject(message, "_reply_q", reply_queue);
		cJSON_AddNullToObject(message, "_timeout");
	}
	rpc_context_attach(message, context, NULL);
	body = rpc_body_encode(message);
	cJSON_Delete(message);
	return body;
}
