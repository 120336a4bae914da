/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Casts read from files, and casts created for a local domain.
 */
#include "agent/command/cast-file.h"

#include <string.h>

#include "agent/command/common.h"
#include "image/image.h"
#include "rpc/json.h"
#include "virt/virt.h"

#define METHOD "snapshot_instance"
#define RPC_VERSION "6.0"

static void replace_text(cJSON *object, const char *name, const char *text)
{
	cJSON_DeleteItemFromObjectCaseSensitive(object, name);
	cJSON_AddStringToObject(object, name, text);
}

/* The message in a recorded line; takes ownership of `line`. The message is encoded in the member
 * `body`, or decoded in `message`; or the line itself is a message. */
static cJSON *unwrap_line(cJSON *line, GError **error)
{
	const cJSON *body = cJSON_GetObjectItemCaseSensitive(line, "body");
	cJSON *message = line;

	if (cJSON_IsString(body))
		message = rpc_body_decode(body->valuestring, strlen(body->valuestring), error);
	else if (cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(line, "message")))
		message = cJSON_DetachItemFromObjectCaseSensitive(line, "message");
	if (message != line)
		cJSON_Delete(line);
	return message;
}

/* Whether the message is for a compute host: it has an instance, and is no conductor call. */
static bool is_compute_cast(const cJSON *message)
{
	static const char *const conductor_methods[] = {
		"object_action", "object_class_action_versions", "instance_update", NULL};
	const char *method =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(message, "method"));
	const cJSON *args = cJSON_GetObjectItemCaseSensitive(message, "args");

	return method && !g_strv_contains(conductor_methods, method) &&
	       (cJSON_HasObjectItem(args, "instance") ||
		cJSON_HasObjectItem(args, "instance_uuid"));
}

cJSON *cast_read_all(const char *path, GError **error)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	g_autoptr(GError) whole = NULL;
	cJSON *casts;
	cJSON *message;
	size_t length;

	text = command_read_file(path, &length, error);
	if (!text)
		return NULL;
	casts = cJSON_CreateArray();
	message = rpc_body_decode(text, length, &whole);
	if (message && !cJSON_HasObjectItem(message, "body") &&
	    !cJSON_HasObjectItem(message, "message")) {
		cJSON_AddItemToArray(casts, message);
		return casts;
	}
	cJSON_Delete(message);
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		g_autoptr(GError) local = NULL;

		if (!*g_strstrip(*line))
			continue;
		message = rpc_body_decode(*line, strlen(*line), &local);
		if (message)
			message = unwrap_line(message, &local);
		if (!message) {
			g_propagate_prefixed_error(error, g_steal_pointer(&local),
						   "%s, line %u: ", path,
						   (unsigned)(line - lines) + 1);
			cJSON_Delete(casts);
			return NULL;
		}
		if (is_compute_cast(message))
			cJSON_AddItemToArray(casts, message);
		else
			cJSON_Delete(message);
	}
	if (cJSON_GetArraySize(casts) > 0)
		return casts;
	cJSON_Delete(casts);
	g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE, "%s has no message for a compute host",
		    path);
	return NULL;
}

cJSON *cast_read_snapshot(const char *path, GError **error)
{
	cJSON *casts = cast_read_all(path, error);
	cJSON *cast;

	if (!casts)
		return NULL;
	cJSON_ArrayForEach (cast, casts) {
		if (g_strcmp0(json_string(cast, "method"), METHOD) == 0)
			break;
	}
	if (cast) {
		(void)cJSON_DetachItemViaPointer(casts, cast);
		rpc_message_prepare_replay(cast);
	} else {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "%s has no cast " METHOD "; novasnap replay sends others", path);
	}
	cJSON_Delete(casts);
	return cast;
}

static cJSON *make_minimal_cast(const char *uuid, const char *name)
{
	cJSON *message = cJSON_CreateObject();
	cJSON *args = cJSON_AddObjectToObject(message, "args");
	cJSON *instance = cJSON_AddObjectToObject(args, "instance");
	cJSON *data;

	cJSON_AddStringToObject(message, "method", METHOD);
	cJSON_AddStringToObject(message, "version", RPC_VERSION);
	cJSON_AddStringToObject(instance, "nova_object.name", "Instance");
	cJSON_AddStringToObject(instance, "nova_object.namespace", "nova");
	cJSON_AddStringToObject(instance, "nova_object.version", "2.7");
	data = cJSON_AddObjectToObject(instance, "nova_object.data");
	cJSON_AddStringToObject(data, "uuid", uuid);
	cJSON_AddStringToObject(data, "display_name", name);
	cJSON_AddStringToObject(data, "vm_state", "active");
	cJSON_AddStringToObject(data, "task_state", "image_snapshot_pending");
	cJSON_AddObjectToObject(data, "system_metadata");
	return message;
}

cJSON *cast_for_domain(const struct config *config, const char *name, GError **error)
{
	struct virt_host *host = virt_host_open(&config->virt, error);
	g_autofree char *uuid = NULL;

	if (!host)
		return NULL;
	uuid = virt_guest_uuid_by_name(host, name, error);
	virt_host_close(host);
	return uuid ? make_minimal_cast(uuid, name) : NULL;
}

int cast_retarget(cJSON *cast, const char *instance, const char *image, GError **error)
{
	cJSON *args = cJSON_GetObjectItemCaseSensitive(cast, "args");
	cJSON *object = cJSON_GetObjectItemCaseSensitive(args, "instance");
	cJSON *data = cJSON_GetObjectItemCaseSensitive(object, "nova_object.data");
	g_autofree char *id = g_uuid_string_random();

	/* The instance is an object; before Havana a dictionary, and earlier only its ID. */
	if (!data)
		data = object;
	if (!cJSON_IsObject(data) && !cJSON_HasObjectItem(args, "instance_uuid")) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "the message has no instance");
		return -1;
	}
	if (instance && cJSON_IsObject(data))
		replace_text(data, "uuid", instance);
	if (instance && cJSON_HasObjectItem(args, "instance_uuid"))
		replace_text(args, "instance_uuid", instance);
	if (image)
		replace_text(args, "image_id", image);
	replace_text(cast, "_unique_id", id);
	return 0;
}

char *cast_create_image(const struct config *config, const cJSON *cast, const char *name,
			GError **error)
{
	struct image_identity who = {
		.token = cJSON_GetStringValue(
			cJSON_GetObjectItemCaseSensitive(cast, "_context_auth_token")),
	};
	g_autoptr(image_store_t) store = image_store_new(&config->image, error);

	return store ? image_store_create(store, &who, name, error) : NULL;
}
