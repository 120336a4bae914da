/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exceptions in messages: decoded to errors, and encoded.
 */
#include "rpc/failure.h"

#include <string.h>

#include "rpc/error.h"
#include "rpc/json.h"

#define REMOTE_SUFFIX "_Remote"
#define NAME_MAX_BYTES ((size_t)200)
#define MESSAGE_MAX_CHARACTERS 2000

/* The task state that the conductor found. nova's UnexpectedTaskStateError has {"actual":
 * {"task_state": ...}} in its kwargs; until Icehouse "actual" was the state itself. Returns "" for
 * None, NULL if there is none. */
static char *read_actual_task_state(const cJSON *failure)
{
	const cJSON *actual = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(failure, "kwargs"), "actual");

	if (cJSON_IsObject(actual))
		actual = cJSON_GetObjectItemCaseSensitive(actual, "task_state");
	if (cJSON_IsString(actual))
		return g_strdup(actual->valuestring);
	return cJSON_IsNull(actual) ? g_strdup("") : NULL;
}

/* oslo appends a suffix to the class and the module of an exception that it forwards. */
static char *strip_remote_suffix(const char *name)
{
	size_t length;

	if (!name)
		return g_strdup("unknown");
	length = strlen(name);
	if (g_str_has_suffix(name, REMOTE_SUFFIX))
		length -= strlen(REMOTE_SUFFIX);
	return g_strndup(name, MIN(length, NAME_MAX_BYTES));
}

/* The message is logged, journaled and notified, so it is redacted. */
static char *read_failure_message(const cJSON *failure)
{
	const char *message = json_string(failure, "message");
	g_autofree char *start = NULL;
	char *redacted;

	if (!message)
		return g_strdup("(no message)");
	start = g_utf8_substring(message, 0,
				 MIN(g_utf8_strlen(message, -1), MESSAGE_MAX_CHARACTERS));
	redacted = rpc_log_redact(start);
	return redacted ? redacted : g_steal_pointer(&start);
}

static enum rpc_error find_remote_code(const char *module, const char *class_name)
{
	static const struct {
		const char *class_name;
		enum rpc_error code;
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
	g_autofree char *class_name = NULL;
	g_autofree char *module = NULL;
	g_autofree char *message = NULL;
	g_autofree char *actual_task_state = NULL;

	if (cJSON_IsString(failure))
		parsed = json_parse(failure->valuestring, strlen(failure->valuestring), NULL);
	else if (cJSON_IsObject(failure))
		parsed = cJSON_Duplicate(failure, true);
	class_name = strip_remote_suffix(json_string(parsed, "class"));
	module = strip_remote_suffix(json_string(parsed, "module"));
	message = read_failure_message(parsed);
	actual_task_state = read_actual_task_state(parsed);
	cJSON_Delete(parsed);
	return rpc_error_new_remote(find_remote_code(module, class_name), class_name, module,
				    message, actual_task_state);
}

char *rpc_failure_encode(const char *class_name, const char *module, const char *message)
{
	cJSON *failure = cJSON_CreateObject();
	cJSON *traceback;
	char *text;

	cJSON_AddStringToObject(failure, "class", class_name);
	cJSON_AddStringToObject(failure, "module", module);
	cJSON_AddStringToObject(failure, "message", message);
	traceback = cJSON_AddArrayToObject(failure, "tb");
	cJSON_AddItemToArray(traceback, cJSON_CreateString(message));
	cJSON_AddItemToArray(cJSON_AddArrayToObject(failure, "args"), cJSON_CreateString(message));
	cJSON_AddObjectToObject(failure, "kwargs");
	text = json_print(failure);
	cJSON_Delete(failure);
	return text;
}
