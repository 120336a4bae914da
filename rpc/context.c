/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The context of a request, and its _context_* members in a message.
 */
#include "rpc/context.h"

#include <string.h>

#include "rpc/json.h"

#define CONTEXT_PREFIX "_context_"

struct rpc_context {
	cJSON *fields;
	char *version; /* of the request; NULL: none */
};

struct rpc_context *rpc_context_new(cJSON *fields)
{
	struct rpc_context *context = g_new0(struct rpc_context, 1);

	if (!fields) {
		fields = cJSON_CreateObject();
		cJSON_AddTrueToObject(fields, "is_admin");
		cJSON_AddStringToObject(fields, "read_deleted", "no");
	}
	context->fields = fields;
	return context;
}

void rpc_context_free(struct rpc_context *context)
{
	if (!context)
		return;
	cJSON_Delete(context->fields);
	g_free(context->version);
	g_free(context);
}

const cJSON *rpc_context_fields(const struct rpc_context *context)
{
	return context->fields;
}

const char *rpc_context_string(const struct rpc_context *context, const char *field)
{
	return json_string(context->fields, field);
}

const char *rpc_context_version(const struct rpc_context *context)
{
	return context->version;
}

struct rpc_context *rpc_context_detach(cJSON *message)
{
	cJSON *fields = cJSON_CreateObject();
	cJSON *item = message->child;
	struct rpc_context *context;

	while (item) {
		cJSON *next = item->next;

		if (item->string && g_str_has_prefix(item->string, CONTEXT_PREFIX)) {
			(void)cJSON_DetachItemViaPointer(message, item);
			memmove(item->string, item->string + strlen(CONTEXT_PREFIX),
				strlen(item->string + strlen(CONTEXT_PREFIX)) + 1);
			/* Unlike cJSON_AddItemToObject, this keeps the item's name. */
			cJSON_AddItemToArray(fields, item);
		}
		item = next;
	}
	context = rpc_context_new(fields);
	context->version = g_strdup(json_string(message, "version"));
	return context;
}

void rpc_context_attach(cJSON *message, const struct rpc_context *context,
			bool (*replace)(cJSON *message, const char *key, const char *field))
{
	const cJSON *field;

	cJSON_ArrayForEach (field, context->fields) {
		g_autofree char *key = g_strconcat(CONTEXT_PREFIX, field->string, NULL);

		if (!replace || !replace(message, key, field->string))
			cJSON_AddItemToObject(message, key, cJSON_Duplicate(field, true));
	}
}
