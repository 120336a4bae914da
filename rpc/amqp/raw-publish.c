/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See raw-publish.h.
 */
#include "rpc/amqp/raw-publish.h"

static int publish_copy(struct broker_connection *connection, amqp_channel_t channel,
			const char *queue, const struct raw_message *message,
			struct write_watchdog *watchdog)
{
	const amqp_bytes_t body = {message->length, message->body};
	int rc;

	if (watchdog)
		write_watchdog_begin(watchdog, broker_fd(connection));
	rc = amqp_basic_publish(broker_amqp_state(connection), channel, amqp_empty_bytes,
				amqp_cstring_bytes(queue), 1, 0, &message->properties, body);
	if (watchdog)
		write_watchdog_end(watchdog);
	return rc;
}

/* The broker has closed the channel. */
static enum raw_publish_result reopen_channel(struct broker_connection *connection,
					      amqp_channel_t channel, GError *why, GError **error)
{
	if (broker_open_publishing(connection, channel, error) != BROKER_OK) {
		g_error_free(why);
		return RAW_PUBLISH_LOST;
	}
	g_set_error(error, RPC_ERROR, RPC_ERROR_REFUSED, "the broker refuses it: %s", why->message);
	g_error_free(why);
	return RAW_PUBLISH_REFUSED;
}

static enum raw_publish_result wait_for_confirmation(struct broker_connection *connection,
						     amqp_channel_t channel, const char *queue,
						     gint64 deadline, GError **error)
{
	bool returned = false;

	while (g_get_monotonic_time() < deadline) {
		amqp_frame_t frame;
		GError *local = NULL;
		enum broker_result result = broker_next_frame(connection, &frame, &local);
		amqp_method_number_t method =
			frame.frame_type == AMQP_FRAME_METHOD ? frame.payload.method.id : 0;

		if (result == BROKER_CHANNEL_CLOSED && frame.channel == channel)
			return reopen_channel(connection, channel, local, error);
		if (result != BROKER_OK) {
			g_propagate_error(error, local);
			return RAW_PUBLISH_LOST;
		}
		amqp_maybe_release_buffers(broker_amqp_state(connection));
		if (method == AMQP_BASIC_RETURN_METHOD) {
			returned = true;
		} else if (method == AMQP_BASIC_ACK_METHOD && !returned) {
			return RAW_PUBLISH_CONFIRMED;
		} else if (method == AMQP_BASIC_ACK_METHOD) {
			g_set_error(error, RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
				    "there is no queue %s", queue);
			return RAW_PUBLISH_REFUSED;
		} else if (method == AMQP_BASIC_NACK_METHOD) {
			g_set_error(error, RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
				    "the queue %s is full, or the broker cannot store it", queue);
			return RAW_PUBLISH_REFUSED;
		}
		if (frame.frame_type == 0)
			broker_wait(connection, -1, deadline);
	}
	g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
		    "%s: the broker has not confirmed a message for the queue %s in time",
		    broker_peer(connection), queue);
	return RAW_PUBLISH_LOST;
}

enum raw_publish_result raw_publish(struct broker_connection *connection, amqp_channel_t channel,
				    const char *queue, const struct raw_message *message,
				    struct write_watchdog *watchdog, gint64 deadline,
				    GError **error)
{
	int rc = publish_copy(connection, channel, queue, message, watchdog);

	if (rc == AMQP_STATUS_OK)
		return wait_for_confirmation(connection, channel, queue, deadline, error);
	g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
		    "publishing to the queue %s at %s: %s", queue, broker_peer(connection),
		    amqp_error_string2(rc));
	return RAW_PUBLISH_LOST;
}
