/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The publishing connection and its thread.
 */
#include "rpc/amqp/publisher.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "rpc/amqp/connection.h"
#include "rpc/amqp/topology.h"
#include "rpc/amqp/unconfirmed.h"
#include "rpc/amqp/write-watchdog.h"
#include "rpc/base.h"

/* Declarations use a separate channel: an error closes the channel, and with it the pending
 * confirmations on it would be lost. */
enum publisher_channel { PUBLISHER_CHANNEL_PUBLISH = 1, PUBLISHER_CHANNEL_DECLARE };

#define STUCK_WRITE_US (30 * G_USEC_PER_SEC)

struct publisher {
	const struct rpc_config *config;
	const struct transport_url *url;
	struct outbox *outbox;
	pthread_t thread;
	int event_fd;
	atomic_bool ready;
	struct write_watchdog watchdog;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* `ended` was set */
	/* Guarded by the lock. */
	bool stopping;
	bool ended;
	gint64 stop_at; /* monotonic us */

	/* Used only by the thread. */
	struct broker_connection *connection;
	struct broker_retry retry;
	struct unconfirmed *unconfirmed;
	GHashTable *queues; /* names of the queues to declare on each connection */
	bool blocked;	    /* the broker accepts nothing at the moment */
};

static void publisher_disconnect(struct publisher *publisher, GError *why)
{
	bool established = atomic_exchange(&publisher->ready, false);

	broker_abandon(g_steal_pointer(&publisher->connection));
	publisher->blocked = false;
	unconfirmed_requeue_all(publisher->unconfirmed);
	if (established)
		broker_retry_reset(&publisher->retry, publisher->config);
	else
		broker_retry_failed(&publisher->retry, publisher->config, publisher->url);
	g_warning("%s: %s",
		  established ? "the publishing connection is lost" : "cannot publish yet",
		  why->message);
	outbox_set_broker_error(publisher->outbox, why->message);
	g_error_free(why);
}

/* oslo's notifier declares each queue once per connection. An error from the broker is only logged:
 * the message still reaches listeners that have bound their own queues. */
static int declare_topic_queue(struct publisher *publisher, const char *queue, GError **error)
{
	g_autoptr(GError) refused = NULL;

	switch (topology_declare_topic(publisher->connection, PUBLISHER_CHANNEL_DECLARE,
				       publisher->config, queue, &refused)) {
	case BROKER_OK:
		return 0;
	case BROKER_CHANNEL_CLOSED:
		g_warning("%s", refused->message);
		return 0;
	case BROKER_LOST:
	default:
		g_propagate_error(error, g_steal_pointer(&refused));
		return -1;
	}
}

static int declare_topic_queue_once(struct publisher *publisher, const char *queue, GError **error)
{
	if (g_hash_table_contains(publisher->queues, queue))
		return 0;
	/* Add it first: a blocked broker does not answer on a connection that has published. It
	 * answers on the next connection, where all queues in the table are declared. */
	g_hash_table_add(publisher->queues, g_strdup(queue));
	return declare_topic_queue(publisher, queue, error);
}

static int set_up_channels(struct publisher *publisher, GError **error)
{
	struct broker_connection *connection = publisher->connection;
	GHashTableIter iter;
	gpointer queue;

	if (broker_open_channel(connection, PUBLISHER_CHANNEL_DECLARE, error) != BROKER_OK)
		return -1;
	if (topology_declare_exchange(connection, PUBLISHER_CHANNEL_DECLARE, publisher->config,
				      error) != BROKER_OK)
		return -1;
	g_hash_table_iter_init(&iter, publisher->queues);
	while (g_hash_table_iter_next(&iter, &queue, NULL)) {
		if (declare_topic_queue(publisher, queue, error) < 0)
			return -1;
	}
	if (broker_open_channel(connection, PUBLISHER_CHANNEL_PUBLISH, error) != BROKER_OK)
		return -1;
	(void)amqp_confirm_select(broker_amqp_state(connection), PUBLISHER_CHANNEL_PUBLISH);
	return broker_check_reply(connection, PUBLISHER_CHANNEL_PUBLISH,
				  "asking for publisher confirms", error) == BROKER_OK
		       ? 0
		       : -1;
}

static void publisher_connect(struct publisher *publisher)
{
	GError *error = NULL;

	publisher->connection = broker_open(publisher->config, publisher->url, &publisher->retry,
					    "novasnap publisher", &error);
	if (!publisher->connection || set_up_channels(publisher, &error) < 0) {
		publisher_disconnect(publisher, error);
		return;
	}
	broker_retry_reset(&publisher->retry, publisher->config);
	outbox_set_broker_error(publisher->outbox, NULL);
	atomic_store(&publisher->ready, true);
	g_info("publishing at %s", broker_peer(publisher->connection));
}

static int publish_message(struct publisher *publisher, const struct outbox_message *message,
			   GError **error)
{
	amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG |
			  AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG |
			  AMQP_BASIC_HEADERS_FLAG,
		.content_type = amqp_cstring_bytes("application/json"),
		.content_encoding = amqp_cstring_bytes("utf-8"),
		.delivery_mode = message->content.transient ? 1 : 2,
		.priority = 0,
	};
	char expiration[16];
	amqp_bytes_t body = {message->body_bytes, message->content.body};
	int rc;

	if (message->content.expiration_ms > 0) {
		g_snprintf(expiration, sizeof(expiration), "%u", message->content.expiration_ms);
		properties._flags |= AMQP_BASIC_EXPIRATION_FLAG;
		properties.expiration = amqp_cstring_bytes(expiration);
	}
	if (message->content.declare_queue &&
	    declare_topic_queue_once(publisher, message->content.key, error) < 0)
		return -1;
	write_watchdog_begin(&publisher->watchdog, broker_fd(publisher->connection));
	rc = amqp_basic_publish(broker_amqp_state(publisher->connection), PUBLISHER_CHANNEL_PUBLISH,
				amqp_cstring_bytes(message->content.exchange),
				amqp_cstring_bytes(message->content.key),
				message->content.mandatory, 0, &properties, body);
	write_watchdog_end(&publisher->watchdog);
	if (rc != AMQP_STATUS_OK) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "publishing to %s at %s: %s",
			    message->content.key, broker_peer(publisher->connection),
			    amqp_error_string2(rc));
		return -1;
	}
	return 0;
}

/* Publishes the queued messages; returns the time of the next attempt, monotonic us. */
static gint64 publish_waiting(struct publisher *publisher)
{
	gint64 next = G_MAXINT64;
	struct outbox_message *message;

	while (publisher->connection && !publisher->blocked &&
	       unconfirmed_has_room(publisher->unconfirmed) &&
	       (message = outbox_take(publisher->outbox, &next))) {
		GError *error = NULL;

		unconfirmed_add(publisher->unconfirmed, message);
		if (publish_message(publisher, message, &error) < 0)
			publisher_disconnect(publisher, error);
	}
	return next;
}

static void publisher_handle_method(struct publisher *publisher, const amqp_method_t *method)
{
	static const char blocked[] = "the broker is blocked: it is out of memory or disk space";

	switch (method->id) {
	case AMQP_BASIC_ACK_METHOD: {
		const amqp_basic_ack_t *ack = method->decoded;

		unconfirmed_confirm(publisher->unconfirmed, ack->delivery_tag, ack->multiple, true);
		break;
	}
	case AMQP_BASIC_NACK_METHOD: {
		const amqp_basic_nack_t *nack = method->decoded;

		unconfirmed_confirm(publisher->unconfirmed, nack->delivery_tag, nack->multiple,
				    false);
		break;
	}
	/* The header and the body of a returned message follow, and are ignored. */
	case AMQP_BASIC_RETURN_METHOD: {
		const amqp_basic_return_t *returned = method->decoded;

		unconfirmed_mark_returned(publisher->unconfirmed, returned->routing_key.bytes,
					  returned->routing_key.len);
		break;
	}
	case AMQP_CONNECTION_BLOCKED_METHOD:
		publisher->blocked = true;
		outbox_set_broker_error(publisher->outbox, blocked);
		g_warning("%s: %s; messages are queued", broker_peer(publisher->connection),
			  blocked);
		break;
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		publisher->blocked = false;
		outbox_set_broker_error(publisher->outbox, NULL);
		g_message("the broker at %s accepts messages again",
			  broker_peer(publisher->connection));
		break;
	default:
		break;
	}
}

static void publisher_read_frames(struct publisher *publisher)
{
	while (publisher->connection) {
		amqp_frame_t frame;
		GError *error = NULL;

		if (broker_next_frame(publisher->connection, &frame, &error) != BROKER_OK) {
			publisher_disconnect(publisher, error);
			return;
		}
		if (frame.frame_type == AMQP_FRAME_METHOD)
			publisher_handle_method(publisher, &frame.payload.method);
		amqp_maybe_release_buffers(broker_amqp_state(publisher->connection));
		if (frame.frame_type == 0)
			return;
	}
}

/* After a request to stop, continues until all messages are confirmed or the grace time is over. */
static bool must_continue(struct publisher *publisher)
{
	bool in_time, stopping;

	pthread_mutex_lock(&publisher->lock);
	stopping = publisher->stopping;
	in_time = !stopping || g_get_monotonic_time() < publisher->stop_at;
	pthread_mutex_unlock(&publisher->lock);
	return in_time && !(stopping && unconfirmed_is_empty(publisher->unconfirmed) &&
			    outbox_is_empty(publisher->outbox));
}

static void *publisher_main(void *opaque)
{
	struct publisher *publisher = opaque;

	while (must_continue(publisher)) {
		gint64 until;

		if (!publisher->connection && g_get_monotonic_time() >= publisher->retry.not_before)
			publisher_connect(publisher);
		until = publish_waiting(publisher);
		if (!publisher->connection)
			until = MIN(until, publisher->retry.not_before);
		broker_wait(publisher->connection, publisher->event_fd, until);
		publisher_read_frames(publisher);
	}
	unconfirmed_requeue_all(publisher->unconfirmed);
	broker_close(g_steal_pointer(&publisher->connection));
	pthread_mutex_lock(&publisher->lock);
	publisher->ended = true;
	pthread_cond_signal(&publisher->changed);
	pthread_mutex_unlock(&publisher->lock);
	return NULL;
}

static void publisher_free(struct publisher *publisher)
{
	unconfirmed_free(publisher->unconfirmed);
	outbox_free(publisher->outbox);
	g_hash_table_unref(publisher->queues);
	write_watchdog_destroy(&publisher->watchdog);
	pthread_cond_destroy(&publisher->changed);
	pthread_mutex_destroy(&publisher->lock);
	(void)close(publisher->event_fd);
	g_free(publisher);
}

struct publisher *publisher_start(const struct rpc_config *config, const struct transport_url *url,
				  GError **error)
{
	struct publisher *publisher = g_new0(struct publisher, 1);

	publisher->config = config;
	publisher->url = url;
	publisher->outbox = outbox_new(config->outbox_max);
	publisher->unconfirmed = unconfirmed_new(publisher->outbox);
	publisher->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	write_watchdog_init(&publisher->watchdog);
	broker_retry_reset(&publisher->retry, config);
	publisher->retry.not_before = 0;
	publisher->queues = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	pthread_mutex_init(&publisher->lock, NULL);
	pthread_cond_init(&publisher->changed, NULL);
	if (rpc_thread_start(&publisher->thread, publisher_main, publisher, "publishing", error) ==
	    0)
		return publisher;
	publisher_free(publisher);
	return NULL;
}

static void publisher_wake(struct publisher *publisher)
{
	uint64_t one = 1;

	(void)!write(publisher->event_fd, &one, sizeof(one));
}

void publisher_stop(struct publisher *publisher, unsigned grace_s)
{
	outbox_close(publisher->outbox);
	pthread_mutex_lock(&publisher->lock);
	publisher->stopping = true;
	publisher->stop_at = g_get_monotonic_time() + (gint64)grace_s * G_USEC_PER_SEC;
	publisher_wake(publisher);
	/* A write that is stuck when the grace time is over is aborted. */
	while (!publisher->ended) {
		struct timespec until = rpc_timespec(g_get_monotonic_time() + G_USEC_PER_SEC);

		write_watchdog_check(&publisher->watchdog,
				     g_get_monotonic_time() > publisher->stop_at ? 0
										 : STUCK_WRITE_US);
		(void)pthread_cond_clockwait(&publisher->changed, &publisher->lock, CLOCK_MONOTONIC,
					     &until);
	}
	pthread_mutex_unlock(&publisher->lock);
	pthread_join(publisher->thread, NULL);
	publisher_free(publisher);
}

void publisher_end_waits(struct publisher *publisher)
{
	outbox_end_waits(publisher->outbox);
}

void publisher_check_stuck_write(struct publisher *publisher)
{
	write_watchdog_check(&publisher->watchdog, STUCK_WRITE_US);
}

bool publisher_is_ready(struct publisher *publisher)
{
	return atomic_load(&publisher->ready);
}

char *publisher_last_connect_error(struct publisher *publisher)
{
	return outbox_get_broker_error(publisher->outbox);
}

int publisher_send(struct publisher *publisher, const struct outgoing_message *content, bool wait,
		   GError **error)
{
	struct outbox_message *message = outbox_add(publisher->outbox, content, wait, error);

	if (!message)
		return -1;
	publisher_wake(publisher);
	return wait ? outbox_wait(publisher->outbox, message, error) : 0;
}
