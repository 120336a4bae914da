/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See forwarder-queue.h.
 */
#include "rpc/amqp/forwarder-queue.h"

enum broker_result forwarder_queue_open_channels(struct broker_connection *connection,
						 GError **error)
{
	enum broker_result result = broker_open_channel(connection, FORWARDER_CONSUME, error);

	if (result != BROKER_OK)
		return result;
	result = broker_open_channel(connection, FORWARDER_ASK, error);
	return result == BROKER_OK ? broker_open_publishing(connection, FORWARDER_PUBLISH, error)
				   : result;
}

/* Asks for the queue without declaring it. */
static enum broker_result ask(struct broker_connection *connection, const char *queue,
			      amqp_queue_declare_ok_t *ret_declared, GError **error)
{
	g_autofree char *action = g_strdup_printf("asking for the queue %s", queue);
	const amqp_queue_declare_ok_t *declared =
		amqp_queue_declare(broker_amqp_state(connection), FORWARDER_ASK,
				   amqp_cstring_bytes(queue), 1, 0, 0, 0, amqp_empty_table);

	if (declared)
		*ret_declared = *declared;
	return broker_check_reply_and_reopen(connection, FORWARDER_ASK, action, error);
}

enum broker_result forwarder_queue_set_prefetch(struct broker_connection *connection,
						unsigned prefetch, GError **error)
{
	(void)amqp_basic_qos(broker_amqp_state(connection), FORWARDER_CONSUME, 0,
			     (uint16_t)prefetch, 0);
	return broker_check_reply(connection, FORWARDER_CONSUME, "setting the prefetch", error) ==
			       BROKER_OK
		       ? BROKER_OK
		       : BROKER_LOST;
}

enum broker_result forwarder_queue_consume(struct broker_connection *connection, const char *queue,
					   unsigned prefetch, GError **error)
{
	amqp_queue_declare_ok_t declared = {0};
	g_autofree char *action = g_strdup_printf("consuming the queue %s", queue);
	enum broker_result result = ask(connection, queue, &declared, error);

	if (result != BROKER_OK)
		return result;
	/* A quorum queue does not refuse an exclusive consumer. */
	if (declared.consumer_count > 0) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
			    "%s: another process consumes it; only one novasnapd may serve a host",
			    action);
		return BROKER_CHANNEL_CLOSED;
	}
	result = forwarder_queue_set_prefetch(connection, prefetch, error);
	if (result != BROKER_OK)
		return result;
	(void)amqp_basic_consume(broker_amqp_state(connection), FORWARDER_CONSUME,
				 amqp_cstring_bytes(queue), amqp_cstring_bytes(queue), 0, 0, 1,
				 amqp_empty_table);
	return broker_check_reply_and_reopen(connection, FORWARDER_CONSUME, action, error);
}

enum broker_result forwarder_queue_cancel(struct broker_connection *connection, const char *queue,
					  GError **error)
{
	g_autofree char *action = g_strdup_printf("ending the consumer of %s", queue);

	(void)amqp_basic_cancel(broker_amqp_state(connection), FORWARDER_CONSUME,
				amqp_cstring_bytes(queue));
	return broker_check_reply(connection, FORWARDER_CONSUME, action, error);
}

int forwarder_queue_begin_cancel(struct broker_connection *connection, const char *queue)
{
	amqp_basic_cancel_t cancel = {.consumer_tag = amqp_cstring_bytes(queue)};

	return amqp_send_method(broker_amqp_state(connection), FORWARDER_CONSUME,
				AMQP_BASIC_CANCEL_METHOD, &cancel);
}

enum broker_result forwarder_queue_count(struct broker_connection *connection, const char *queue,
					 unsigned *ret_messages, GError **error)
{
	amqp_queue_declare_ok_t declared = {0};
	enum broker_result result = ask(connection, queue, &declared, error);

	*ret_messages = declared.message_count;
	return result;
}
