/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Notifications (oslo_messaging.notify.notifier and its messaging driver), and listening to them.
 */
#include <string.h>

#include "rpc/internal.h"

static char *timestamp(char separator)
{
	g_autoptr(GDateTime) now = g_date_time_new_now_utc();
	g_autofree char *date = g_date_time_format(now, "%Y-%m-%d");
	g_autofree char *clock = g_date_time_format(now, "%H:%M:%S");

	return g_strdup_printf("%s%c%s.%06d", date, separator, clock,
			       g_date_time_get_microsecond(now));
}

/* nova.rpc.ProfilerRequestContextSerializer and RequestContext.to_dict: a notification carries no
 * token, and the time of its own making. */
static bool replace_field(cJSON *message, const char *key, const char *field)
{
	if (g_str_equal(field, "auth_token") || g_str_equal(field, "remote_address")) {
		cJSON_AddNullToObject(message, key);
		return true;
	}
	if (g_str_equal(field, "timestamp")) {
		g_autofree char *now = timestamp('T');

		cJSON_AddStringToObject(message, key, now);
		return true;
	}
	if (g_str_equal(field, "service_catalog")) {
		cJSON_AddItemToObject(message, key, cJSON_CreateArray());
		return true;
	}
	return false;
}

static void notify(struct rpc *rpc, struct outgoing_message *outgoing, const char *publisher_id,
		   const char *event_type, const char *priority, struct rpc_context *context,
		   cJSON *payload)
{
	cJSON *message = cJSON_CreateObject();
	g_autofree char *message_id = g_uuid_string_random();
	g_autofree char *unique_id = rpc_hex_id();
	g_autofree char *now = timestamp(' ');
	g_autoptr(GError) error = NULL;

	cJSON_AddStringToObject(message, "message_id", message_id);
	cJSON_AddStringToObject(message, "publisher_id", publisher_id);
	cJSON_AddStringToObject(message, "event_type", event_type);
	cJSON_AddStringToObject(message, "priority", priority);
	cJSON_AddItemToObject(message, "payload", payload);
	cJSON_AddStringToObject(message, "timestamp", now);
	cJSON_AddStringToObject(message, "_unique_id", unique_id);
	rpc_context_attach(message, context, replace_field);
	outgoing->exchange = rpc->config->control_exchange;
	outgoing->body = rpc_body_encode(message);
	cJSON_Delete(message);
	if (publisher_send(rpc->publisher, outgoing, false, &error) < 0 && !outgoing->transient)
		g_warning("the notification %s is lost: %s", event_type, error->message);
}

void rpc_notify(struct rpc *rpc, const char *topic, enum rpc_priority priority,
		const char *publisher_id, const char *event_type, struct rpc_context *context,
		cJSON *payload)
{
	bool is_error = priority == RPC_PRIORITY_ERROR;
	g_autofree char *key = g_strdup_printf("%s.%s", topic, is_error ? "error" : "info");
	struct outgoing_message outgoing = {.key = key, .declare_queue = true};

	notify(rpc, &outgoing, publisher_id, event_type, is_error ? "ERROR" : "INFO", context,
	       payload);
}

void rpc_notify_transient(struct rpc *rpc, const char *topic, const char *publisher_id,
			  const char *event_type, struct rpc_context *context, cJSON *payload)
{
	g_autofree char *key = g_strdup_printf("%s.info", topic);
	struct outgoing_message outgoing = {.key = key, .transient = true, .timeout_s = 5};

	notify(rpc, &outgoing, publisher_id, event_type, "INFO", context, payload);
}

int rpc_listen(struct rpc *rpc, const char *const *keys,
	       void (*heard)(const char *event_type, const cJSON *message, void *opaque),
	       void *opaque, GError **error)
{
	if (rpc->listen_keys) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_FAILED,
				    "there is a listener already");
		return -1;
	}
	rpc->heard = heard;
	rpc->heard_opaque = opaque;
	rpc->listen_keys = g_strdupv((char **)keys);
	consumer_want(rpc->consumer, CHANNEL_LISTEN, true);
	return 0;
}
