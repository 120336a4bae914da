/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exceptions on the wire (oslo_messaging._drivers.common serialize_remote_exception and its
 * reverse).
 */
#include <string.h>

#include "rpc/internal.h"
#include "rpc/json.h"

#define REMOTE_SUFFIX "_Remote"
#define NAME_MAX_LENGTH ((size_t)200)
#define MESSAGE_MAX_LENGTH 2000

/* What an RPC_ERROR carries beside its message. */
typedef struct {
	char *class_name; /* NULL: no remote error */
	char *module;
	char *actual; /* the task state that the conductor found; "": none; NULL: not told */
} RpcErrorPrivate;

static void rpc_error_private_init(RpcErrorPrivate *private)
{
	private->class_name = NULL;
	private->module = NULL;
	private->actual = NULL;
}

static void rpc_error_private_copy(const RpcErrorPrivate *from, RpcErrorPrivate *to)
{
	to->class_name = g_strdup(from->class_name);
	to->module = g_strdup(from->module);
	to->actual = g_strdup(from->actual);
}

static void rpc_error_private_clear(RpcErrorPrivate *private)
{
	g_free(private->class_name);
	g_free(private->module);
	g_free(private->actual);
}

G_DEFINE_EXTENDED_ERROR(RpcError, rpc_error)

bool rpc_failure_from_error(const GError *error, const char **ret_class, const char **ret_module)
{
	const RpcErrorPrivate *private;

	if (error->domain != RPC_ERROR)
		return false;
	private = rpc_error_get_private(error);
	if (!private->class_name)
		return false;
	*ret_class = private->class_name;
	*ret_module = private->module;
	return true;
}

const char *rpc_failure_actual_task_state(const GError *error)
{
	if (error->domain != RPC_ERROR)
		return NULL;
	return rpc_error_get_private(error)->actual;
}

/* nova's UnexpectedTaskStateError has {"actual": {"task_state": ...}}; until Icehouse the state
 * itself. */
static char *actual_of(const cJSON *failure)
{
	const cJSON *actual = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(failure, "kwargs"), "actual");

	if (cJSON_IsObject(actual))
		actual = cJSON_GetObjectItemCaseSensitive(actual, "task_state");
	if (cJSON_IsString(actual))
		return g_strdup(actual->valuestring);
	return cJSON_IsNull(actual) ? g_strdup("") : NULL;
}

static char *without_suffix(const char *text)
{
	size_t length;

	if (!text)
		return g_strdup("unknown");
	length = strlen(text);
	if (g_str_has_suffix(text, REMOTE_SUFFIX))
		length -= strlen(REMOTE_SUFFIX);
	return g_strndup(text, MIN(length, NAME_MAX_LENGTH));
}

static int code_of(const char *module, const char *class_name)
{
	static const struct {
		const char *class_name;
		int code;
	} known[] = {
		{"UnexpectedTaskStateError", RPC_ERROR_UNEXPECTED_TASK_STATE},
		{"UnexpectedDeletingTaskStateError", RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE},
		{"InstanceNotFound", RPC_ERROR_INSTANCE_NOT_FOUND},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
		if (g_str_equal(module, "nova.exception") &&
		    g_str_equal(known[i].class_name, class_name))
			return known[i].code;
	}
	return RPC_ERROR_REMOTE;
}

GError *rpc_failure_decode(const cJSON *failure)
{
	cJSON *parsed = NULL;
	RpcErrorPrivate *private;
	g_autofree char *class_name = NULL;
	g_autofree char *module = NULL;
	g_autofree char *said = NULL;
	const char *message;
	GError *error;

	/* A JSON text, or (old releases) the object itself. */
	if (cJSON_IsString(failure))
		parsed = json_parse(failure->valuestring, strlen(failure->valuestring), NULL);
	else if (cJSON_IsObject(failure))
		parsed = cJSON_Duplicate(failure, true);
	class_name = without_suffix(json_string(parsed, "class"));
	module = without_suffix(json_string(parsed, "module"));
	message = json_string(parsed, "message");
	said = g_utf8_substring(
		message ? message : "(no message)", 0,
		MIN(g_utf8_strlen(message ? message : "(no message)", -1), MESSAGE_MAX_LENGTH));
	error = g_error_new(RPC_ERROR, code_of(module, class_name), "%s.%s: %s", module, class_name,
			    said);
	private = rpc_error_get_private(error);
	private->class_name = g_steal_pointer(&class_name);
	private->module = g_steal_pointer(&module);
	private->actual = actual_of(parsed);
	cJSON_Delete(parsed);
	return error;
}

char *rpc_failure_encode(const char *class_name, const char *module, const char *message)
{
	cJSON *failure = cJSON_CreateObject();
	cJSON *tb;
	char *text;

	cJSON_AddStringToObject(failure, "class", class_name);
	cJSON_AddStringToObject(failure, "module", module);
	cJSON_AddStringToObject(failure, "message", message);
	tb = cJSON_AddArrayToObject(failure, "tb");
	cJSON_AddItemToArray(tb, cJSON_CreateString(message));
	cJSON_AddItemToArray(cJSON_AddArrayToObject(failure, "args"), cJSON_CreateString(message));
	cJSON_AddObjectToObject(failure, "kwargs");
	text = json_print(failure);
	cJSON_Delete(failure);
	return text;
}
