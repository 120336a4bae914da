/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See forwarder-receive.h.
 */
#include "rpc/amqp/forwarder-receive.h"

#include <string.h>

#include "rpc/amqp/forward-publish.h"
#include "rpc/amqp/forwarder-excess.h"
#include "rpc/amqp/forwarder-queue.h"
#include "rpc/base.h"

/* After this many deliveries, answers and copies are sent. */
#define DELIVERIES_PER_TURN 32
#define CANARY_INTERVAL_US (30 * G_USEC_PER_SEC)
#define CANARY_LOST_US (10 * G_USEC_PER_SEC)

void forwarder_send_canary(struct forwarder_link *link)
{
	gint64 age = g_get_monotonic_time() - link->canary_sent_at;
	GError *error = NULL;

	/* The first one after a pause is sent at once, and an earlier one says nothing. */
	if (!atomic_load(&link->wants_canary)) {
		g_clear_pointer(&link->canary, g_free);
		link->canary_sent_at = 0;
		return;
	}
	if (!link->consuming || link->blocked ||
	    (link->canary_sent_at > 0 && age < CANARY_INTERVAL_US))
		return;
	if (link->canary)
		g_warning("a message to %s did not arrive within %d s: look at the bindings by "
			  "`novasnap beside --status`",
			  link->key, (int)(CANARY_INTERVAL_US / G_USEC_PER_SEC));
	g_free(link->canary);
	link->canary = rpc_hex_id();
	link->canary_sent_at = g_get_monotonic_time();
	held_publish_other(link->held);
	if (forward_publish_canary(link->connection, link->config->control_exchange, link->key,
				   link->canary, &error) < 0)
		forwarder_link_disconnect(link, error);
}

/* One of an earlier process, or of an earlier connection, says nothing. */
static void receive_canary(struct forwarder_link *link, const struct raw_message *raw)
{
	gint64 now = g_get_monotonic_time();
	gint64 delay = now - link->canary_sent_at;

	if (!link->canary || !forward_has_text(raw, AMQP_BASIC_MESSAGE_ID_FLAG,
					       raw->properties.message_id, link->canary))
		return;
	g_clear_pointer(&link->canary, g_free);
	pthread_mutex_lock(&link->lock);
	delays_add(&link->status.canary, now, delay);
	pthread_mutex_unlock(&link->lock);
	if (delay > CANARY_LOST_US)
		g_warning("a message to %s took %.1f s to arrive", link->key,
			  (double)delay / G_USEC_PER_SEC);
}

/* NULL: it is none. */
static const char *find_control_type(const struct raw_message *raw)
{
	static const char *const types[] = {RPC_BESIDE_TYPE_INTERCEPT, RPC_BESIDE_TYPE_PASS,
					    RPC_BESIDE_TYPE_ECHO, FORWARD_TYPE_CANARY};

	for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
		if (forward_has_text(raw, AMQP_BASIC_TYPE_FLAG, raw->properties.type, types[i]))
			return types[i];
	}
	return NULL;
}

static void hold_control(struct forwarder_link *link, const struct delivery *delivery,
			 struct raw_message *raw, const char *type)
{
	const amqp_basic_properties_t *properties = &raw->properties;
	g_autofree char *id =
		properties->_flags & AMQP_BASIC_MESSAGE_ID_FLAG
			? g_strndup(properties->message_id.bytes, properties->message_id.len)
			: g_strdup("");

	(void)held_add(link->held, delivery->tag.number, raw, HELD_CONTROL);
	link->ops.control(delivery, type, id, link->ops.opaque);
}

/* A part of the prefetch is for messages that wait to be acked by their receiver. More are
 * forwarded, so that a receiver that does not ack cannot keep the others waiting. */
static bool take_message(struct forwarder_link *link, const struct delivery *delivery)
{
	return !link->from_nova_compute && held_count_taken(link->held) < link->prefetch / 2 &&
	       link->ops.take(delivery, link->ops.opaque);
}

static void receive_message(struct forwarder_link *link)
{
	const struct delivery delivery =
		delivery_describe(&link->arriving, link->connection_number, FORWARDER_CONSUME);
	struct raw_message *raw = raw_message_copy(delivery.raw, delivery.body, delivery.length);
	const char *type = find_control_type(raw);
	bool taken = false;

	if (type == NULL) {
		taken = take_message(link, &delivery);
	} else if (!g_str_equal(type, FORWARD_TYPE_CANARY)) {
		hold_control(link, &delivery, raw, type);
		return;
	}
	if (type || link->from_nova_compute) {
		struct held_message *message =
			held_add(link->held, delivery.tag.number, raw, HELD_TAKEN);

		if (type)
			receive_canary(link, raw);
		forwarder_link_ack(link, message);
		return;
	}
	(void)held_add(link->held, delivery.tag.number, raw, taken ? HELD_TAKEN : HELD_WAITING);
	pthread_mutex_lock(&link->lock);
	link->status.progress_at = g_get_monotonic_time();
	pthread_mutex_unlock(&link->lock);
}

static void begin_delivery(struct forwarder_link *link, const amqp_basic_deliver_t *method)
{
	const char *exchange = link->names->exchange;

	delivery_begin(&link->arriving, method->delivery_tag, method->consumer_tag);
	link->from_nova_compute =
		method->exchange.len == strlen(exchange) &&
		memcmp(method->exchange.bytes, exchange, method->exchange.len) == 0;
}

static void handle_method(struct forwarder_link *link, const amqp_method_t *method)
{
	switch (method->id) {
	case AMQP_BASIC_DELIVER_METHOD:
		begin_delivery(link, method->decoded);
		break;
	case AMQP_BASIC_RETURN_METHOD:
		delivery_begin(&link->returning, 0, amqp_empty_bytes);
		break;
	case AMQP_BASIC_ACK_METHOD: {
		const amqp_basic_ack_t *ack = method->decoded;

		forwarder_link_confirm(link, ack->delivery_tag, ack->multiple, true);
		break;
	}
	case AMQP_BASIC_NACK_METHOD: {
		const amqp_basic_nack_t *nack = method->decoded;

		forwarder_link_confirm(link, nack->delivery_tag, nack->multiple, false);
		break;
	}
	case AMQP_BASIC_CANCEL_OK_METHOD:
		forwarder_excess_cancelled(link);
		break;
	case AMQP_BASIC_CANCEL_METHOD:
		link->consuming = false;
		g_message("the queue %s was deleted", link->names->queue);
		break;
	case AMQP_CONNECTION_BLOCKED_METHOD:
		link->blocked = true;
		g_warning("%s: the broker is blocked: it is out of memory or disk space; messages "
			  "wait",
			  broker_peer(link->connection));
		break;
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		link->blocked = false;
		break;
	default:
		break;
	}
}

/* Returns how many deliveries are complete by this frame: 0 or 1; -1 with an error. */
static int handle_content(struct forwarder_link *link, const amqp_frame_t *frame, GError **error)
{
	bool arrives = frame->channel == FORWARDER_CONSUME;
	struct delivery_assembler *assembler = arrives ? &link->arriving : &link->returning;
	int rc = delivery_add_frame(assembler, frame, error);

	if (arrives && rc >= 0 && frame->frame_type == AMQP_FRAME_HEADER)
		forwarder_excess_check(link);
	if (rc <= 0 || !link->connection)
		return MIN(rc, 0);
	if (!arrives)
		held_return(link->held);
	else if (!forwarder_excess_take(link))
		receive_message(link);
	delivery_reset(assembler);
	return arrives;
}

/* Returns 1 if a delivery is complete by this frame, else 0; -1: no frame is left to read. */
static int read_frame(struct forwarder_link *link)
{
	amqp_frame_t frame;
	GError *error = NULL;
	enum broker_result result = broker_next_frame(link->connection, &frame, &error);
	int rc = 0;

	if (result == BROKER_CHANNEL_CLOSED && frame.channel == FORWARDER_PUBLISH) {
		forwarder_link_handle_refusal(link, error);
		return 0;
	}
	if (result == BROKER_OK && frame.frame_type == 0)
		return -1;
	if (result == BROKER_OK && frame.frame_type == AMQP_FRAME_METHOD)
		handle_method(link, &frame.payload.method);
	else if (result == BROKER_OK && frame.channel != 0)
		rc = handle_content(link, &frame, &error);
	if (error)
		forwarder_link_disconnect(link, error);
	return MAX(rc, 0);
}

void forwarder_read_frames(struct forwarder_link *link)
{
	int rc = 0;

	for (unsigned deliveries = 0;
	     link->connection && rc >= 0 && deliveries<DELIVERIES_PER_TURN; deliveries += rc> 0) {
		rc = read_frame(link);
		if (link->connection)
			amqp_maybe_release_buffers(broker_amqp_state(link->connection));
	}
}
