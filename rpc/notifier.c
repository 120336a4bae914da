/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sends notifications (oslo_messaging.notify.notifier and its messaging driver).
 */
#include "rpc/amqp/publisher.h"
#include "rpc/base.h"
#include "rpc/context.h"
#include "rpc/handle.h"

#define TRANSIENT_TIMEOUT_S 5

/* The current time, as "2026-11-23 04:24:38.000042". */
static char *timestamp_now(char separator)
{
	g_autoptr(GDateTime) now = g_date_time_new_now_utc();
	g_autofree char *date = g_date_time_format(now, "%Y-%m-%d");
	g_autofree char *clock = g_date_time_format(now, "%H:%M:%S");

	return g_strdup_printf("%s%c%s.%06d", date, separator, clock,
			       g_date_time_get_microsecond(now));
}

/* As nova.rpc.ProfilerRequestContextSerializer and RequestContext.to_dict: the context of a
 * notification has no token, and the time of the notification. */
static bool replace_context_field(cJSON *message, const char *key, const char *field)
{
	if (g_str_equal(field, "auth_token") || g_str_equal(field, "remote_address")) {
		cJSON_AddNullToObject(message, key);
		return true;
	}
	if (g_str_equal(field, "timestamp")) {
		g_autofree char *now = timestamp_now('T');

		cJSON_AddStringToObject(message, key, now);
		return true;
	}
	if (g_str_equal(field, "service_catalog")) {
		cJSON_AddItemToObject(message, key, cJSON_CreateArray());
		return true;
	}
	return false;
}

/* Returns the message of a notification. Takes ownership of `payload`. */
static cJSON *notification_message(const char *publisher_id, const char *event_type,
				   const char *priority, struct rpc_context *context,
				   cJSON *payload)
{
	cJSON *message = cJSON_CreateObject();
	g_autofree char *message_id = g_uuid_string_random();
	g_autofree char *unique_id = rpc_hex_id();
	g_autofree char *now = timestamp_now(' ');

	cJSON_AddStringToObject(message, "message_id", message_id);
	cJSON_AddStringToObject(message, "publisher_id", publisher_id);
	cJSON_AddStringToObject(message, "event_type", event_type);
	cJSON_AddStringToObject(message, "priority", priority);
	cJSON_AddItemToObject(message, "payload", payload);
	cJSON_AddStringToObject(message, "timestamp", now);
	cJSON_AddStringToObject(message, "_unique_id", unique_id);
	rpc_context_attach(message, context, replace_context_field);
	return message;
}

static void send_copy(struct publisher *publisher, const struct outgoing_message *notification,
		      const cJSON *message, bool enveloped)
{
	struct outgoing_message copy = *notification;
	g_autoptr(GError) error = NULL;

	copy.body = enveloped ? rpc_body_encode(message) : cJSON_PrintUnformatted(message);
	if (publisher_send(publisher, &copy, false, &error) < 0 && !copy.transient)
		g_warning("lost the notification %s: %s",
			  cJSON_GetStringValue(
				  cJSON_GetObjectItemCaseSensitive(message, "event_type")),
			  error->message);
}

void rpc_notify(struct rpc *rpc, const char *topic, enum rpc_priority priority,
		const char *publisher_id, const char *event_type, struct rpc_context *context,
		cJSON *payload)
{
	bool is_error = priority == RPC_PRIORITY_ERROR;
	g_autofree char *key = g_strdup_printf("%s.%s", topic, is_error ? "error" : "info");
	const struct outgoing_message notification = {
		.exchange = rpc->config->control_exchange,
		.key = key,
		.declare_queue = true,
		.vital = is_error || g_str_has_suffix(event_type, ".end"),
	};
	enum rpc_notification_format format = rpc->config->notification_format;
	cJSON *message = notification_message(publisher_id, event_type, is_error ? "ERROR" : "INFO",
					      context, payload);

	if (format != RPC_NOTIFICATION_BARE)
		send_copy(rpc->notifier, &notification, message, true);
	if (format != RPC_NOTIFICATION_ENVELOPE)
		send_copy(rpc->notifier, &notification, message, false);
	cJSON_Delete(message);
}

void rpc_notify_transient(struct rpc *rpc, const char *topic, const char *publisher_id,
			  const char *event_type, struct rpc_context *context, cJSON *payload)
{
	g_autofree char *key = g_strdup_printf("%s.info", topic);
	const struct outgoing_message notification = {.exchange = rpc->config->control_exchange,
						      .key = key,
						      .transient = true,
						      .timeout_s = TRANSIENT_TIMEOUT_S};
	cJSON *message = notification_message(publisher_id, event_type, "INFO", context, payload);

	/* Its listeners are at the broker for RPC. */
	send_copy(rpc->publisher, &notification, message, true);
	cJSON_Delete(message);
}
