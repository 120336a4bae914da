/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See session.h.
 */
#include "rpc/amqp/session.h"

#include <string.h>

#include "rpc/amqp/conflict.h"
#include "rpc/amqp/connection.h"
#include "rpc/amqp/topology.h"
#include "rpc/amqp/transport-url.h"

#define CHANNEL 1	  /* declares and publishes */
#define CHANNEL_RECEIVE 2 /* consumes */
#define CONFIRM_S 10
#define EXPIRATION_BYTES 16 /* of a decimal number, with the NUL */
#define PERSISTENT 2
#define NO_EVENT_FD (-1)
/* A queue with a random name. */
#define ANY_NUMBER 1

struct broker_session {
	struct transport_url *url;
	struct broker_connection *connection;

	bool waits_for_confirm;
	bool rejected; /* the broker nacked the message */
	bool returned;

	char *queue; /* that it consumes; NULL: none yet */
	session_receiver receive;
	void *opaque;
	struct delivery_assembler assembler;
	char *exchange; /* of the message that is being received */
	bool received_enough;
};

/* The broker's refusal of one operation. The text is the broker's own, with advice. `own`: of an
 * exchange or queue that only novasnapd declares. */
static int fail_operation(struct broker_session *session, enum broker_result result, bool own,
			  GError *refused, GError **error)
{
	int code = broker_reply_code(session->connection);

	if (result == BROKER_CHANNEL_CLOSED && code == AMQP_ACCESS_REFUSED) {
		refused->code = RPC_ERROR_REFUSED;
		g_propagate_prefixed_error(error, refused,
					   "the broker's user lacks a permission, see "
					   "`rabbitmqctl set_permissions`: ");
		return -1;
	}
	if (result == BROKER_CHANNEL_CLOSED && topology_is_conflict(session->connection, refused)) {
		g_autofree char *advice = conflict_advice(refused->message, own);

		g_set_error(error, RPC_ERROR, RPC_ERROR_REFUSED, "%s; %s", refused->message,
			    advice);
		g_error_free(refused);
		return -1;
	}
	g_propagate_error(error, refused);
	return -1;
}

static int session_connect(struct broker_session *session, const struct rpc_config *config,
			   const char *name, GError **error)
{
	session->connection = broker_open_any(config, session->url, name, error);
	return session->connection && broker_open_publishing(session->connection, CHANNEL, error) ==
					      BROKER_OK
		       ? 0
		       : -1;
}

struct broker_session *session_open(const struct rpc_config *config, const char *name,
				    GError **error)
{
	struct broker_session *session = g_new0(struct broker_session, 1);

	session->url = transport_url_parse(config->transport_url, error);
	if (session->url && session_connect(session, config, name, error) == 0)
		return session;
	session_close(session);
	return NULL;
}

void session_close(struct broker_session *session)
{
	if (!session)
		return;
	broker_close(session->connection);
	transport_url_free(session->url);
	delivery_reset(&session->assembler);
	g_free(session->queue);
	g_free(session->exchange);
	g_free(session);
}

/* Makes one declaration. *ret_exists is false if a passive one finds nothing. */
static int declare_one(struct broker_session *session, const struct declaration *declaration,
		       bool passive, bool *ret_exists, GError **error)
{
	GError *refused = NULL;
	enum broker_result result =
		topology_declare_one(session->connection, CHANNEL, declaration, passive, &refused);

	*ret_exists = result == BROKER_OK;
	if (result == BROKER_OK)
		return 0;
	if (passive && result == BROKER_CHANNEL_CLOSED &&
	    broker_reply_code(session->connection) == AMQP_NOT_FOUND) {
		g_error_free(refused);
		return broker_select_confirms(session->connection, CHANNEL, error) == BROKER_OK
			       ? 0
			       : -1;
	}
	(void)fail_operation(session, result, !declaration->shared, refused, error);
	if (result == BROKER_CHANNEL_CLOSED)
		(void)broker_select_confirms(session->connection, CHANNEL, NULL);
	return -1;
}

int session_declare(struct broker_session *session, const GPtrArray *declarations, GError **error)
{
	for (guint i = 0; i < declarations->len; i++) {
		const struct declaration *declaration = g_ptr_array_index(declarations, i);
		bool exists = false;

		if (declaration->shared &&
		    declare_one(session, declaration, true, &exists, error) < 0)
			return -1;
		if (!exists && declare_one(session, declaration, false, &exists, error) < 0)
			return -1;
	}
	return 0;
}

/* Checks the broker's reply to an operation for which it is no error that something is missing. */
static int check_operation(struct broker_session *session, const char *action, bool *ret_exists,
			   GError **error)
{
	GError *refused = NULL;
	enum broker_result result =
		broker_check_reply(session->connection, CHANNEL, action, &refused);
	bool missing = result == BROKER_CHANNEL_CLOSED &&
		       broker_reply_code(session->connection) == AMQP_NOT_FOUND;

	*ret_exists = result == BROKER_OK;
	if (result == BROKER_OK)
		return 0;
	if (missing)
		g_clear_error(&refused);
	else
		(void)fail_operation(session, result, false, refused, error);
	if (result == BROKER_CHANNEL_CLOSED) {
		GError *problem = NULL;

		if (broker_open_publishing(session->connection, CHANNEL, &problem) != BROKER_OK) {
			if (missing)
				g_propagate_error(error, problem);
			else
				g_error_free(problem);
			return -1;
		}
	}
	return missing ? 0 : -1;
}

int session_look_queue(struct broker_session *session, const char *queue,
		       struct session_object *ret_object, GError **error)
{
	g_autofree char *action = g_strdup_printf("looking for the queue %s", queue);
	const amqp_queue_declare_ok_t *declared =
		amqp_queue_declare(broker_amqp_state(session->connection), CHANNEL,
				   amqp_cstring_bytes(queue), 1, 0, 0, 0, amqp_empty_table);

	*ret_object = (struct session_object){false, 0, 0};
	if (declared) {
		ret_object->messages = declared->message_count;
		ret_object->consumers = declared->consumer_count;
	}
	return check_operation(session, action, &ret_object->exists, error);
}

int session_look_exchange(struct broker_session *session, const char *exchange,
			  struct session_object *ret_object, GError **error)
{
	g_autofree char *action = g_strdup_printf("looking for the exchange %s", exchange);

	*ret_object = (struct session_object){false, 0, 0};
	(void)amqp_exchange_declare(broker_amqp_state(session->connection), CHANNEL,
				    amqp_cstring_bytes(exchange), amqp_cstring_bytes("topic"), 1, 0,
				    0, 0, amqp_empty_table);
	return check_operation(session, action, &ret_object->exists, error);
}

int session_delete_queue(struct broker_session *session, const char *queue, GError **error)
{
	g_autofree char *action = g_strdup_printf("deleting the queue %s", queue);
	bool exists;

	(void)amqp_queue_delete(broker_amqp_state(session->connection), CHANNEL,
				amqp_cstring_bytes(queue), 0, 0);
	return check_operation(session, action, &exists, error);
}

int session_delete_exchange(struct broker_session *session, const char *exchange, GError **error)
{
	g_autofree char *action = g_strdup_printf("deleting the exchange %s", exchange);
	bool exists;

	(void)amqp_exchange_delete(broker_amqp_state(session->connection), CHANNEL,
				   amqp_cstring_bytes(exchange), 0);
	return check_operation(session, action, &exists, error);
}

static void finish_delivery(struct broker_session *session)
{
	struct delivery delivery = delivery_describe(&session->assembler, 0, CHANNEL_RECEIVE);

	session->received_enough = session->receive(session->exchange, &delivery, session->opaque);
	delivery_reset(&session->assembler);
}

static void handle_method(struct broker_session *session, const amqp_method_t *method)
{
	if (method->id == AMQP_BASIC_ACK_METHOD || method->id == AMQP_BASIC_NACK_METHOD) {
		session->waits_for_confirm = false;
		session->rejected = method->id == AMQP_BASIC_NACK_METHOD;
	} else if (method->id == AMQP_BASIC_RETURN_METHOD) {
		session->returned = true;
	} else if (method->id == AMQP_BASIC_DELIVER_METHOD) {
		const amqp_basic_deliver_t *deliver = method->decoded;

		g_free(session->exchange);
		session->exchange = g_strndup(deliver->exchange.bytes, deliver->exchange.len);
		delivery_begin(&session->assembler, deliver->delivery_tag, deliver->consumer_tag);
	}
}

/* Handles one frame that has arrived. *ret_none: there is none. */
static int handle_frame(struct broker_session *session, bool *ret_none, GError **error)
{
	amqp_frame_t frame;
	int rc = 0;

	if (broker_next_frame(session->connection, &frame, error) != BROKER_OK)
		return -1;
	*ret_none = frame.frame_type == 0;
	if (frame.frame_type == AMQP_FRAME_METHOD)
		handle_method(session, &frame.payload.method);
	else if (frame.frame_type != 0 && frame.channel == CHANNEL_RECEIVE)
		rc = delivery_add_frame(&session->assembler, &frame, error);
	if (rc > 0)
		finish_delivery(session);
	if (!session->assembler.begun)
		amqp_maybe_release_buffers(broker_amqp_state(session->connection));
	return rc < 0 ? -1 : 0;
}

/* Handles frames until *flag has the value, or until `until`. */
static int handle_frames(struct broker_session *session, const bool *flag, bool value, gint64 until,
			 GError **error)
{
	bool none = false;

	while (*flag != value) {
		if (handle_frame(session, &none, error) < 0)
			return -1;
		if (none && g_get_monotonic_time() >= until)
			return 0;
		if (none)
			broker_wait(session->connection, NO_EVENT_FD, until);
	}
	return 0;
}

/* The properties are valid as long as the message and `expiration`. */
static amqp_basic_properties_t make_properties(const struct session_message *message,
					       char expiration[EXPIRATION_BYTES])
{
	amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG |
			  AMQP_BASIC_DELIVERY_MODE_FLAG,
		.content_type = amqp_cstring_bytes("application/json"),
		.content_encoding = amqp_cstring_bytes("utf-8"),
		.delivery_mode = PERSISTENT,
	};

	if (message->type) {
		properties._flags |= AMQP_BASIC_TYPE_FLAG;
		properties.type = amqp_cstring_bytes(message->type);
	}
	if (message->message_id) {
		properties._flags |= AMQP_BASIC_MESSAGE_ID_FLAG;
		properties.message_id = amqp_cstring_bytes(message->message_id);
	}
	if (message->reply_to) {
		properties._flags |= AMQP_BASIC_REPLY_TO_FLAG;
		properties.reply_to = amqp_cstring_bytes(message->reply_to);
	}
	if (message->expiration_ms > 0) {
		g_snprintf(expiration, EXPIRATION_BYTES, "%u", message->expiration_ms);
		properties._flags |= AMQP_BASIC_EXPIRATION_FLAG;
		properties.expiration = amqp_cstring_bytes(expiration);
	}
	return properties;
}

int session_publish(struct broker_session *session, const struct session_message *message,
		    bool *ret_returned, GError **error)
{
	char expiration[EXPIRATION_BYTES];
	amqp_basic_properties_t properties = make_properties(message, expiration);
	int rc;

	session->waits_for_confirm = true;
	session->returned = session->rejected = false;
	rc = amqp_basic_publish(broker_amqp_state(session->connection), CHANNEL,
				amqp_cstring_bytes(message->exchange),
				amqp_cstring_bytes(message->key), 1, 0, &properties,
				amqp_cstring_bytes(message->body));
	if (rc != AMQP_STATUS_OK) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "publishing to %s at %s: %s",
			    message->key, broker_peer(session->connection), amqp_error_string2(rc));
		return -1;
	}
	if (handle_frames(session, &session->waits_for_confirm, false,
			  g_get_monotonic_time() + CONFIRM_S * G_USEC_PER_SEC, error) < 0) {
		g_prefix_error(error, "publishing to %s: ", message->key);
		return -1;
	}
	*ret_returned = session->returned;
	if (!session->waits_for_confirm && !session->rejected)
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED, "publishing to %s at %s: %s", message->key,
		    broker_peer(session->connection),
		    session->rejected ? "the broker rejected the message"
				      : "no confirmation within 10 s; is the broker blocked "
					"because memory or disk space are low?");
	return -1;
}

const char *session_consume(struct broker_session *session, const char *exchange, const char *key,
			    session_receiver receive, void *opaque, GError **error)
{
	const struct rpc_config random = {.queue_manager_name = NULL};
	g_autofree char *queue = declarations_reply_queue(&random, ANY_NUMBER);
	const struct declaration list[] = {
		{.kind = DECLARATION_QUEUE, .name = queue, .exclusive = true, .auto_delete = true},
		{.kind = DECLARATION_BINDING,
		 .name = queue,
		 .exchange = (char *)exchange,
		 .key = (char *)key},
		{.kind = DECLARATION_CONSUMER, .name = queue, .no_ack = true},
	};

	if (broker_open_channel(session->connection, CHANNEL_RECEIVE, error) != BROKER_OK)
		return NULL;
	session->receive = receive;
	session->opaque = opaque;
	for (size_t i = 0; i < G_N_ELEMENTS(list); i++) {
		GError *refused = NULL;
		enum broker_result result;

		if (list[i].kind == DECLARATION_BINDING && !exchange)
			continue;
		result = topology_declare_one(session->connection, CHANNEL_RECEIVE, &list[i], false,
					      &refused);
		if (result != BROKER_OK) {
			(void)fail_operation(session, result, false, refused, error);
			return NULL;
		}
	}
	session->queue = g_steal_pointer(&queue);
	return session->queue;
}

int session_receive(struct broker_session *session, gint64 until, GError **error)
{
	session->received_enough = false;
	return handle_frames(session, &session->received_enough, true, until, error);
}
