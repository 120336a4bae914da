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
#include "rpc/amqp/publisher-topology.h"
#include "rpc/amqp/refusal-search.h"
#include "rpc/amqp/retry.h"
#include "rpc/amqp/unconfirmed.h"
#include "rpc/amqp/write-watchdog.h"
#include "rpc/base.h"

/* Declarations use a separate channel: an error closes the channel, and with it the pending
 * confirmations on it would be lost. So do messages for silent targets: the first message of a
 * channel for a quorum queue without a majority, and any after the 32nd, stop the whole channel. */
enum publisher_channel {
	PUBLISHER_CHANNEL_PUBLISH = 1,
	PUBLISHER_CHANNEL_DECLARE,
	PUBLISHER_CHANNEL_PROBE,
};

/* Of one connection; below the number that stops the channel. */
#define PROBES_MAX 16
#define PROBE_REFUSALS_MAX 3
#define STUCK_WRITE_US (30 * G_USEC_PER_SEC)

struct publisher {
	const struct rpc_config *config;
	const struct transport_url *url;
	struct outbox *outbox;
	pthread_t thread;
	int event_fd;
	atomic_bool ready;
	atomic_llong turned_at; /* monotonic us of the thread's last turn */
	atomic_uint published;	/* unconfirmed messages at that turn */
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
	struct silent_targets *silent;
	struct unconfirmed *probes; /* of the messages for silent targets */
	struct publisher_topology *topology;
	bool blocked;	  /* the broker accepts nothing at the moment */
	bool loss_logged; /* since the last connection */
	struct refusal_search refusals;
};

static void publisher_disconnect(struct publisher *publisher, GError *why)
{
	bool established = atomic_exchange(&publisher->ready, false);

	if (!publisher->blocked)
		unconfirmed_note_loss(publisher->unconfirmed, g_get_monotonic_time());
	refusal_search_connection_lost(
		&publisher->refusals,
		publisher->connection ? broker_close_code(publisher->connection) : 0, why->message);
	unconfirmed_requeue_all(publisher->probes);
	broker_abandon(g_steal_pointer(&publisher->connection));
	publisher->blocked = false;
	if (established)
		broker_retry_lost(&publisher->retry, publisher->config);
	else
		broker_retry_failed(&publisher->retry, publisher->config);
	g_warning("%s: %s",
		  established ? "the publishing connection is lost" : "cannot publish yet",
		  why->message);
	publisher->loss_logged = true;
	outbox_set_broker_error(publisher->outbox, why->message);
	g_error_free(why);
}

static int open_publishing(struct publisher *publisher, enum publisher_channel channel,
			   GError **error)
{
	return broker_open_publishing(publisher->connection, channel, error) == BROKER_OK ? 0 : -1;
}

static int set_up_channels(struct publisher *publisher, GError **error)
{
	if (broker_open_channel(publisher->connection, PUBLISHER_CHANNEL_DECLARE, error) !=
	    BROKER_OK)
		return -1;
	if (publisher_topology_declare(publisher->topology, publisher->connection,
				       PUBLISHER_CHANNEL_DECLARE, error) < 0)
		return -1;
	if (open_publishing(publisher, PUBLISHER_CHANNEL_PROBE, error) < 0)
		return -1;
	return open_publishing(publisher, PUBLISHER_CHANNEL_PUBLISH, error);
}

/* The broker closed the channel because it refuses one of the unconfirmed messages. That message
 * fails alone, and the others are published again on the reopened channel. */
static void handle_refusal(struct publisher *publisher, GError *why)
{
	bool declare_again = refusal_search_channel_closed(
		&publisher->refusals, broker_reply_code(publisher->connection), why->message);
	GError *error = NULL;

	g_info("%s; publishing %u messages one by one", why->message, publisher->refusals.suspects);
	g_error_free(why);
	if ((declare_again && publisher_topology_declare(publisher->topology, publisher->connection,
							 PUBLISHER_CHANNEL_DECLARE, &error) < 0) ||
	    open_publishing(publisher, PUBLISHER_CHANNEL_PUBLISH, &error) < 0)
		publisher_disconnect(publisher, error);
}

/* One of the messages for silent targets is refused. They are seldom, so each is soon alone. */
static void handle_probe_refusal(struct publisher *publisher, GError *why)
{
	GError *error = NULL;

	(void)unconfirmed_refuse(publisher->probes, why->message, PROBE_REFUSALS_MAX,
				 RPC_ERROR_REFUSED);
	g_error_free(why);
	if (open_publishing(publisher, PUBLISHER_CHANNEL_PROBE, &error) < 0)
		publisher_disconnect(publisher, error);
}

static void publisher_connect(struct publisher *publisher)
{
	GError *error = NULL;

	publisher->connection = broker_open(publisher->config,
					    broker_retry_address(&publisher->retry, publisher->url),
					    publisher->url->vhost, "novasnap publisher", &error);
	if (!publisher->connection || set_up_channels(publisher, &error) < 0) {
		publisher_disconnect(publisher, error);
		return;
	}
	broker_retry_connected(&publisher->retry);
	outbox_set_broker_error(publisher->outbox, NULL);
	atomic_store(&publisher->ready, true);
	g_info("publishing at %s", broker_peer(publisher->connection));
	if (publisher->loss_logged)
		g_message("publishing again at %s", broker_peer(publisher->connection));
	publisher->loss_logged = false;
}

/* In ms, whole seconds. A message that is published late expires with its deadline: its sender
 * gives up then, and may send it again. */
static unsigned remaining_expiration(const struct outbox_message *message)
{
	gint64 left_us = message->deadline - g_get_monotonic_time();
	gint64 left_s = MAX((left_us + G_USEC_PER_SEC - 1) / G_USEC_PER_SEC, 1);

	return message->deadline == 0
		       ? message->content.expiration_ms
		       : (unsigned)MIN(message->content.expiration_ms, left_s * 1000);
}

static int publish_message(struct publisher *publisher, enum publisher_channel channel,
			   const struct outbox_message *message, GError **error)
{
	amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG |
			  AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG |
			  AMQP_BASIC_HEADERS_FLAG,
		.content_type = amqp_cstring_bytes("application/json"),
		.content_encoding = amqp_cstring_bytes("utf-8"),
		.delivery_mode = message->content.transient ? 1 : 2,
		.priority = 0,
		.message_id = amqp_cstring_bytes(message->id),
	};
	char expiration[16];
	amqp_bytes_t body = {message->body_bytes, message->content.body};
	int rc;

	if (message->content.mandatory)
		properties._flags |= AMQP_BASIC_MESSAGE_ID_FLAG;
	if (message->content.expiration_ms > 0) {
		g_snprintf(expiration, sizeof(expiration), "%u", remaining_expiration(message));
		properties._flags |= AMQP_BASIC_EXPIRATION_FLAG;
		properties.expiration = amqp_cstring_bytes(expiration);
	}
	if (message->content.declare_queue &&
	    publisher_topology_add_queue(publisher->topology, publisher->connection,
					 PUBLISHER_CHANNEL_DECLARE, message->content.key,
					 error) < 0)
		return -1;
	write_watchdog_begin(&publisher->watchdog, broker_fd(publisher->connection));
	rc = amqp_basic_publish(broker_amqp_state(publisher->connection), channel,
				amqp_cstring_bytes(message->content.exchange),
				amqp_cstring_bytes(message->content.key),
				message->content.mandatory, 0, &properties, body);
	write_watchdog_end(&publisher->watchdog);
	if (rc != AMQP_STATUS_OK) {
		/* The message itself cannot be sent. A part of it may have been written. */
		bool is_refused = rc == AMQP_STATUS_BAD_AMQP_DATA ||
				  rc == AMQP_STATUS_TABLE_TOO_BIG ||
				  rc == AMQP_STATUS_INVALID_PARAMETER;

		g_set_error(error, RPC_ERROR,
			    is_refused ? RPC_ERROR_REFUSED : RPC_ERROR_DISCONNECTED,
			    "publishing to %s at %s: %s", message->content.key,
			    broker_peer(publisher->connection), amqp_error_string2(rc));
		return -1;
	}
	return 0;
}

static bool may_publish(const struct publisher *publisher)
{
	return publisher->connection && !publisher->blocked &&
	       refusal_search_may_publish(&publisher->refusals);
}

static struct unconfirmed *list_of(const struct publisher *publisher, amqp_channel_t channel)
{
	return channel == PUBLISHER_CHANNEL_PROBE ? publisher->probes : publisher->unconfirmed;
}

static void publish_one(struct publisher *publisher, struct outbox_message *message)
{
	bool is_probe = silent_targets_has(publisher->silent, message->content.exchange,
					   message->content.key);
	enum publisher_channel channel =
		is_probe ? PUBLISHER_CHANNEL_PROBE : PUBLISHER_CHANNEL_PUBLISH;
	GError *error = NULL;

	if (is_probe)
		silent_targets_published(publisher->silent, message->content.exchange,
					 message->content.key);
	else
		refusal_search_begin_message(&publisher->refusals);
	unconfirmed_add(list_of(publisher, channel), message);
	if (publish_message(publisher, channel, message, &error) == 0)
		return;
	if (g_error_matches(error, RPC_ERROR, RPC_ERROR_REFUSED))
		unconfirmed_refuse_newest(list_of(publisher, channel), error->message);
	publisher_disconnect(publisher, error);
}

/* Publishes the queued messages; returns the time of the next attempt, monotonic us. */
static gint64 publish_waiting(struct publisher *publisher)
{
	gint64 next = G_MAXINT64;
	struct outbox_message *message;

	while (may_publish(publisher) &&
	       (message = outbox_take(publisher->outbox, publisher->silent, &next)))
		publish_one(publisher, message);
	return next;
}

static void publisher_handle_method(struct publisher *publisher, amqp_channel_t channel,
				    const amqp_method_t *method)
{
	static const char blocked[] = "the broker is blocked: it is out of memory or disk space";

	switch (method->id) {
	case AMQP_BASIC_ACK_METHOD: {
		const amqp_basic_ack_t *ack = method->decoded;

		unconfirmed_confirm(list_of(publisher, channel), ack->delivery_tag, ack->multiple,
				    true);
		break;
	}
	case AMQP_BASIC_NACK_METHOD: {
		const amqp_basic_nack_t *nack = method->decoded;

		unconfirmed_confirm(list_of(publisher, channel), nack->delivery_tag, nack->multiple,
				    false);
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
		unconfirmed_restart_age(publisher->unconfirmed);
		outbox_set_broker_error(publisher->outbox, NULL);
		g_message("the broker at %s accepts messages again",
			  broker_peer(publisher->connection));
		break;
	default:
		break;
	}
}

/* The only content that arrives here is that of returned messages. */
static void handle_returned(struct publisher *publisher, const amqp_frame_t *header)
{
	const amqp_basic_properties_t *properties = header->payload.properties.decoded;

	if (properties->_flags & AMQP_BASIC_MESSAGE_ID_FLAG)
		unconfirmed_mark_returned(list_of(publisher, header->channel),
					  properties->message_id.bytes, properties->message_id.len);
}

static void publisher_read_frames(struct publisher *publisher)
{
	while (publisher->connection) {
		amqp_frame_t frame;
		GError *error = NULL;
		enum broker_result result =
			broker_next_frame(publisher->connection, &frame, &error);

		if (result == BROKER_CHANNEL_CLOSED && frame.channel == PUBLISHER_CHANNEL_PUBLISH) {
			handle_refusal(publisher, error);
			return;
		}
		if (result == BROKER_CHANNEL_CLOSED && frame.channel == PUBLISHER_CHANNEL_PROBE) {
			handle_probe_refusal(publisher, error);
			return;
		}
		if (result != BROKER_OK) {
			publisher_disconnect(publisher, error);
			return;
		}
		if (frame.frame_type == AMQP_FRAME_METHOD)
			publisher_handle_method(publisher, frame.channel, &frame.payload.method);
		else if (frame.frame_type == AMQP_FRAME_HEADER)
			handle_returned(publisher, &frame);
		amqp_maybe_release_buffers(broker_amqp_state(publisher->connection));
		if (frame.frame_type == 0)
			return;
	}
}

/* Takes back what the broker does not confirm. A broker that is blocked confirms nothing. */
static void check_age(struct publisher *publisher)
{
	const char *problem = NULL;

	if (!publisher->connection || publisher->blocked)
		return;
	if (g_get_monotonic_time() >= unconfirmed_overdue_at(publisher->unconfirmed))
		problem = "the broker does not confirm a message";
	else if (unconfirmed_count(publisher->probes) >= PROBES_MAX)
		problem = "the broker still does not confirm messages for some queues";
	if (problem)
		publisher_disconnect(publisher,
				     g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED, "%s: %s",
						 broker_peer(publisher->connection), problem));
}

/* After a request to stop, continues until all messages are confirmed or the grace time is over. */
static bool must_continue(struct publisher *publisher)
{
	bool in_time, stopping;

	pthread_mutex_lock(&publisher->lock);
	stopping = publisher->stopping;
	in_time = !stopping || g_get_monotonic_time() < publisher->stop_at;
	pthread_mutex_unlock(&publisher->lock);
	return in_time &&
	       !(stopping && unconfirmed_is_empty(publisher->unconfirmed) &&
		 unconfirmed_is_empty(publisher->probes) && outbox_is_empty(publisher->outbox));
}

static void *publisher_main(void *opaque)
{
	struct publisher *publisher = opaque;

	while (must_continue(publisher)) {
		gint64 until;

		atomic_store(&publisher->turned_at, g_get_monotonic_time());
		atomic_store(&publisher->published, unconfirmed_count(publisher->unconfirmed) +
							    unconfirmed_count(publisher->probes));

		if (!publisher->connection && g_get_monotonic_time() >= publisher->retry.not_before)
			publisher_connect(publisher);
		until = publish_waiting(publisher);
		if (!publisher->connection)
			until = MIN(until, publisher->retry.not_before);
		else if (!publisher->blocked)
			until = MIN(until, unconfirmed_overdue_at(publisher->unconfirmed));
		broker_wait(publisher->connection, publisher->event_fd, until);
		publisher_read_frames(publisher);
		check_age(publisher);
	}
	unconfirmed_requeue_all(publisher->unconfirmed);
	unconfirmed_requeue_all(publisher->probes);
	broker_close(g_steal_pointer(&publisher->connection));
	pthread_mutex_lock(&publisher->lock);
	publisher->ended = true;
	pthread_cond_signal(&publisher->changed);
	pthread_mutex_unlock(&publisher->lock);
	return NULL;
}

static void publisher_free(struct publisher *publisher)
{
	broker_retry_clear(&publisher->retry);
	unconfirmed_free(publisher->unconfirmed);
	unconfirmed_free(publisher->probes);
	silent_targets_free(publisher->silent);
	outbox_free(publisher->outbox);
	publisher_topology_free(publisher->topology);
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
	publisher->silent = silent_targets_new();
	publisher->unconfirmed = unconfirmed_new(publisher->outbox, publisher->silent);
	publisher->probes = unconfirmed_new(publisher->outbox, publisher->silent);
	publisher->refusals.unconfirmed = publisher->unconfirmed;
	publisher->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	publisher->turned_at = g_get_monotonic_time();
	write_watchdog_init(&publisher->watchdog);
	broker_retry_init(&publisher->retry, config, url);
	publisher->topology = publisher_topology_new(config);
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

gint64 publisher_turned_at(const struct publisher *publisher)
{
	return atomic_load(&publisher->turned_at);
}

unsigned publisher_count(struct publisher *publisher)
{
	return outbox_count(publisher->outbox) + atomic_load(&publisher->published);
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
