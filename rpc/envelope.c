/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Message bodies: oslo.messaging's envelope 2.0, or the bare message of version 1.0
 * (oslo_messaging._drivers.common, serialize_msg and deserialize_msg).
 */
#include <string.h>

#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/rpc.h"

#define ENVELOPE_VERSION "2.0"

cJSON *rpc_body_decode(const char *body, size_t length, GError **error)
{
	const cJSON *version, *message;
	cJSON *outer, *inner;

	if (length > RPC_MAX_BODY_BYTES) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "the body has %zu bytes, over the limit of %zu", length,
			    RPC_MAX_BODY_BYTES);
		return NULL;
	}
	outer = json_parse(body, length, error);
	if (!outer)
		return NULL;
	if (!cJSON_IsObject(outer)) {
		cJSON_Delete(outer);
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "the body is not a JSON object");
		return NULL;
	}
	version = cJSON_GetObjectItemCaseSensitive(outer, "oslo.version");
	message = cJSON_GetObjectItemCaseSensitive(outer, "oslo.message");
	/* As in oslo: a body that lacks one of these members is a bare message. */
	if (!version || !message)
		return outer;
	if (!cJSON_IsString(version) || !cJSON_IsString(message)) {
		cJSON_Delete(outer);
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "the envelope's oslo.version or oslo.message is not a string");
		return NULL;
	}
	/* oslo requires the same major version, and a minor version that is not newer. */
	if (!g_str_equal(version->valuestring, ENVELOPE_VERSION)) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "the envelope's version is %.20s, not " ENVELOPE_VERSION,
			    version->valuestring);
		cJSON_Delete(outer);
		return NULL;
	}
	inner = json_parse(message->valuestring, strlen(message->valuestring), error);
	cJSON_Delete(outer);
	if (inner && !cJSON_IsObject(inner)) {
		cJSON_Delete(inner);
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "the envelope's message is not a JSON object");
		return NULL;
	}
	if (!inner)
		g_prefix_error(error, "the envelope's message: ");
	return inner;
}

char *rpc_body_encode(const cJSON *message)
{
	char *text = json_print(message);
	cJSON *envelope = cJSON_CreateObject();
	char *body;

	cJSON_AddStringToObject(envelope, "oslo.version", ENVELOPE_VERSION);
	cJSON_AddStringToObject(envelope, "oslo.message", text);
	cJSON_free(text);
	body = json_print(envelope);
	cJSON_Delete(envelope);
	return body;
}
