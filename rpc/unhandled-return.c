/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Returns the casts that novasnapd could not serve to nova-compute, for `novasnap replay
 * --unhandled`.
 */
#include "rpc/amqp/connection.h"
#include "rpc/amqp/declarations.h"
#include "rpc/amqp/delivery.h"
#include "rpc/amqp/raw-publish.h"
#include "rpc/amqp/transport-url.h"
#include "rpc/rpc.h"

#define RETURN_CHANNEL 1
#define RETURN_PUBLISH_CHANNEL 2
#define RETURN_TIMEOUT_US (30 * G_USEC_PER_SEC)

static struct broker_connection *connect_to_any(const struct rpc_config *config,
						const struct transport_url *url, GError **error)
{
	struct broker_connection *connection =
		broker_open_any(config, url, "novasnap replay", error);

	if (connection &&
	    (broker_open_channel(connection, RETURN_CHANNEL, error) != BROKER_OK ||
	     broker_open_publishing(connection, RETURN_PUBLISH_CHANNEL, error) != BROKER_OK))
		broker_abandon(g_steal_pointer(&connection));
	return connection;
}

/* Gets the number of messages and of consumers of a queue. `ret_exists` false: there is none. */
static int look_at_queue(struct broker_connection *connection, const char *queue, bool *ret_exists,
			 unsigned *ret_messages, unsigned *ret_consumers, GError **error)
{
	g_autofree char *action = g_strdup_printf("looking at the queue %s", queue);
	g_autoptr(GError) refused = NULL;
	const amqp_queue_declare_ok_t *found =
		amqp_queue_declare(broker_amqp_state(connection), RETURN_CHANNEL,
				   amqp_cstring_bytes(queue), 1, 0, 0, 0, amqp_empty_table);
	enum broker_result result =
		broker_check_reply(connection, RETURN_CHANNEL, action, &refused);

	*ret_exists = result == BROKER_OK && found;
	if (*ret_exists) {
		*ret_messages = found->message_count;
		*ret_consumers = found->consumer_count;
		return 0;
	}
	if (result == BROKER_CHANNEL_CLOSED && broker_reply_code(connection) == AMQP_NOT_FOUND)
		return broker_open_channel(connection, RETURN_CHANNEL, error) == BROKER_OK ? 0 : -1;
	g_propagate_error(error, g_steal_pointer(&refused));
	return -1;
}

/* Reads the content that follows a get. NULL with an error. */
static struct raw_message *read_message(struct broker_connection *connection, GError **error)
{
	struct delivery_assembler assembler = {0};
	gint64 deadline = g_get_monotonic_time() + RETURN_TIMEOUT_US;
	struct raw_message *message = NULL;
	int rc = 0;

	delivery_begin(&assembler, 0, amqp_empty_bytes);
	while (rc == 0) {
		amqp_frame_t frame;

		if (broker_next_frame(connection, &frame, error) != BROKER_OK) {
			rc = -1;
		} else if (frame.frame_type != 0) {
			rc = delivery_add_frame(&assembler, &frame, error);
		} else if (g_get_monotonic_time() < deadline) {
			broker_wait(connection, -1, deadline);
		} else {
			g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
				    "%s: the broker has not sent a message in time",
				    broker_peer(connection));
			rc = -1;
		}
	}
	if (rc > 0 && assembler.raw->is_whole && assembler.length == assembler.size)
		message = raw_message_copy(assembler.raw, assembler.body, assembler.length);
	if (rc > 0 && !message)
		g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
			    "a message of %" G_GUINT64_FORMAT " bytes cannot be copied",
			    assembler.size);
	delivery_reset(&assembler);
	return message;
}

/* Returns 1 if a message was moved, 0 if there is none, -1 with an error. */
static int move_one(struct broker_connection *connection, const char *from, const char *to,
		    GError **error)
{
	g_autofree char *action = g_strdup_printf("reading the queue %s", from);
	amqp_connection_state_t state = broker_amqp_state(connection);
	amqp_rpc_reply_t reply = amqp_basic_get(state, RETURN_CHANNEL, amqp_cstring_bytes(from), 0);
	enum raw_publish_result result;
	struct raw_message *message;
	uint64_t tag;

	if (broker_check_reply(connection, RETURN_CHANNEL, action, error) != BROKER_OK)
		return -1;
	if (reply.reply.id != AMQP_BASIC_GET_OK_METHOD)
		return 0;
	tag = ((const amqp_basic_get_ok_t *)reply.reply.decoded)->delivery_tag;
	message = read_message(connection, error);
	if (!message)
		return -1;
	result = raw_publish(connection, RETURN_PUBLISH_CHANNEL, to, message, NULL,
			     g_get_monotonic_time() + RETURN_TIMEOUT_US, error);
	raw_message_free(message);
	if (result != RAW_PUBLISH_CONFIRMED)
		return -1;
	if (amqp_basic_ack(state, RETURN_CHANNEL, tag, 0) == AMQP_STATUS_OK)
		return 1;
	g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
		    "%s: the connection broke before the ack of a message, which is now in both "
		    "queues",
		    broker_peer(connection));
	return -1;
}

static int move_all(struct broker_connection *connection, const char *from, const char *to,
		    struct rpc_returned *ret, GError **error)
{
	bool from_exists, to_exists;
	unsigned count = 0, unused;
	int rc = 1;

	if (look_at_queue(connection, from, &from_exists, &count, &unused, error) < 0 ||
	    look_at_queue(connection, to, &to_exists, &unused, &ret->consumers, error) < 0)
		return -1;
	if (!from_exists || count == 0)
		return 0;
	if (!to_exists) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
			    "there is no queue %s: start nova-compute first; %u messages wait in "
			    "the queue %s",
			    to, count, from);
		return -1;
	}
	/* Not more than there were, so that it ends also if somebody fills the queue. */
	while (rc > 0 && ret->moved < count) {
		rc = move_one(connection, from, to, error);
		ret->moved += rc > 0;
	}
	if (rc < 0)
		g_prefix_error(error,
			       "after %u of %u messages from the queue %s to %s: ", ret->moved,
			       count, from, to);
	return MIN(rc, 0);
}

int rpc_return_unhandled(const struct rpc_config *config, const char *from, const char *to,
			 struct rpc_returned *ret, GError **error)
{
	struct transport_url *url = transport_url_parse(config->transport_url, error);
	struct broker_connection *connection;
	int rc = -1;

	*ret = (struct rpc_returned){0};
	if (!url)
		return -1;
	connection = connect_to_any(config, url, error);
	if (connection)
		rc = move_all(connection, from, to, ret, error);
	/* With the closing handshake the broker has read the acks. */
	broker_close(connection);
	transport_url_free(url);
	return rc;
}
