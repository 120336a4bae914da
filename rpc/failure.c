/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exceptions on the wire (oslo_messaging._drivers.common serialize_remote_exception and its
 * reverse).
 */
#include <string.h>

#include "rpc/internal.h"
#include "rpc/json.h"

#define REMOTE_SUFFIX "_Remote"

/* GLib lets an error carry no more than its text, so class and module stand at its head, and are
 * looked up again there: "nova.exception.InstanceNotFound: Instance ... could not be found." */
bool rpc_failure_from_error(const GError *error, const char **ret_class, const char **ret_module)
{
	const char *colon, *dot = NULL;
	g_autofree char *name = NULL;

	if (error->domain != RPC_ERROR || error->code < RPC_ERROR_REMOTE)
		return false;
	colon = strstr(error->message, ": ");
	if (!colon)
		return false;
	name = g_strndup(error->message, (gsize)(colon - error->message));
	dot = strrchr(name, '.');
	if (!dot || dot == name || strchr(name, ' '))
		return false;
	*ret_class = g_intern_string(dot + 1);
	name[dot - name] = '\0';
	*ret_module = g_intern_string(name);
	return true;
}

static char *without_suffix(const char *text)
{
	if (!text)
		return g_strdup("unknown");
	if (g_str_has_suffix(text, REMOTE_SUFFIX))
		return g_strndup(text, strlen(text) - strlen(REMOTE_SUFFIX));
	return g_strndup(text, 200);
}

static int code_of(const char *class_name)
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
		if (g_str_equal(known[i].class_name, class_name))
			return known[i].code;
	}
	return RPC_ERROR_REMOTE;
}

GError *rpc_failure_decode(const cJSON *failure)
{
	cJSON *parsed = NULL;
	g_autofree char *class_name = NULL;
	g_autofree char *module = NULL;
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
	error = g_error_new(RPC_ERROR, code_of(class_name), "%s.%s: %.2000s", module, class_name,
			    message ? message : "(no message)");
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
