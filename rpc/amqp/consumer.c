/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The consuming connection and its thread: the server's queues, the reply queue and the listener's,
 * each on a channel of its own. It publishes nothing but acks, so it never blocks for long.
 */
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "rpc/internal.h"
#include "rpc/json.h"

/* Then acks, and whatever else waits, have their turn: well before all that the prefetch allows is
 * taken, or the broker would wait for our acks, and then we for its deliveries. */
#define DELIVERIES_A_TURN 32

struct consumer {
	struct rpc *rpc;
	pthread_t thread;
	int event_fd;
	atomic_bool stopping;
	atomic_bool wanted[CHANNELS];

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock; written by the thread alone. */
	bool connected; /* and all that was wanted then is consumed */
	bool consumed[CHANNELS];
	/* Guarded by the lock. */
	GArray *acks; /* struct delivery */

	/* The thread's own. */
	GArray *acks_taken; /* struct delivery; empty between two turns */
	struct broker_connection *connection;
	struct broker_retry retry;
	unsigned generation;
	bool open[CHANNELS]; /* the channel is */
	struct incoming incoming[CHANNELS];
	char *listen_queue;
};

static void set_connected(struct consumer *consumer, bool connected)
{
	pthread_mutex_lock(&consumer->lock);
	consumer->connected = connected;
	if (!connected)
		memset(consumer->consumed, 0, sizeof(consumer->consumed));
	pthread_cond_broadcast(&consumer->changed);
	pthread_mutex_unlock(&consumer->lock);
}

static void set_consumed(struct consumer *consumer, enum consumer_channel channel, bool consumed)
{
	pthread_mutex_lock(&consumer->lock);
	consumer->consumed[channel] = consumed;
	pthread_cond_broadcast(&consumer->changed);
	pthread_mutex_unlock(&consumer->lock);
}

static void disconnect(struct consumer *consumer, GError *why)
{
	bool established = consumer->connected;

	set_connected(consumer, false);
	broker_abandon(g_steal_pointer(&consumer->connection));
	memset(consumer->open, 0, sizeof(consumer->open));
	for (int i = 0; i < CHANNELS; i++)
		incoming_forget(&consumer->incoming[i]);
	consumer->generation++;
	if (established)
		broker_retry_reset(&consumer->retry, consumer->rpc->config);
	else
		broker_retry_failed(&consumer->retry, consumer->rpc->config, consumer->rpc->url);
	g_warning("%s: %s", established ? "the consuming connection is lost" : "cannot consume yet",
		  why->message);
	g_error_free(why);
}

/* The queues that a server of oslo has (AMQPDriverBase.listen). */
static enum broker_result consume_server(struct consumer *consumer, GError **error)
{
	const struct rpc_config *config = consumer->rpc->config;
	const char *fanout = server_fanout_queue(consumer->rpc->server);
	g_autofree char *own = g_strdup_printf("%s.%s", config->topic, config->host);
	const char *queues[] = {config->topic, own, fanout};
	struct broker_connection *connection = consumer->connection;
	enum broker_result result;

	result = topology_declare_exchange(connection, CHANNEL_SERVER, config, error);
	if (result == BROKER_OK)
		result = topology_declare_topic(connection, CHANNEL_SERVER, config, config->topic,
						error);
	if (result == BROKER_OK)
		result = topology_declare_topic(connection, CHANNEL_SERVER, config, own, error);
	if (result == BROKER_OK)
		result = topology_declare_fanout(connection, CHANNEL_SERVER, config, fanout, error);
	if (result != BROKER_OK)
		return result;
	result = topology_set_prefetch(connection, CHANNEL_SERVER, config->prefetch, error);
	for (size_t i = 0; i < G_N_ELEMENTS(queues) && result == BROKER_OK; i++)
		result = topology_consume(connection, CHANNEL_SERVER, queues[i], queues[i], false,
					  error);
	return result;
}

static enum broker_result consume_replies(struct consumer *consumer, GError **error)
{
	const char *queue = client_reply_queue(consumer->rpc->client);
	enum broker_result result = topology_declare_reply(consumer->connection, CHANNEL_REPLY,
							   consumer->rpc->config, queue, error);

	if (result == BROKER_OK)
		result = topology_consume(consumer->connection, CHANNEL_REPLY, queue, queue, true,
					  error);
	return result;
}

static enum broker_result consume_copies(struct consumer *consumer, GError **error)
{
	const char *const *keys = (const char *const *)consumer->rpc->listen_keys;
	enum broker_result result = topology_declare_exchange(consumer->connection, CHANNEL_LISTEN,
							      consumer->rpc->config, error);

	if (result == BROKER_OK)
		result = topology_declare_listener(consumer->connection, CHANNEL_LISTEN,
						   consumer->rpc->config, &consumer->listen_queue,
						   keys, error);
	if (result == BROKER_OK)
		result = topology_consume(consumer->connection, CHANNEL_LISTEN,
					  consumer->listen_queue, "listen", true, error);
	return result;
}

/* What was taken keeps its channel, for the acks that it still owes. */
static enum broker_result cancel_server(struct consumer *consumer, GError **error)
{
	const struct rpc_config *config = consumer->rpc->config;
	g_autofree char *own = g_strdup_printf("%s.%s", config->topic, config->host);
	const char *tags[] = {config->topic, own, server_fanout_queue(consumer->rpc->server)};
	enum broker_result result = BROKER_OK;

	for (size_t i = 0; i < G_N_ELEMENTS(tags) && result == BROKER_OK; i++)
		result = topology_cancel(consumer->connection, CHANNEL_SERVER, tags[i], error);
	return result;
}

/* Brings what is consumed in line with what is wanted. */
static int consume_wanted(struct consumer *consumer, GError **error)
{
	static enum broker_result (*const consume[CHANNELS])(struct consumer *, GError **) = {
		[CHANNEL_SERVER] = consume_server,
		[CHANNEL_REPLY] = consume_replies,
		[CHANNEL_LISTEN] = consume_copies,
	};

	for (enum consumer_channel i = CHANNEL_SERVER; i < CHANNELS; i++) {
		bool wanted = atomic_load(&consumer->wanted[i]);

		if (wanted == consumer->consumed[i])
			continue;
		if (!wanted) {
			if (cancel_server(consumer, error) != BROKER_OK)
				return -1;
		} else {
			if (!consumer->open[i] &&
			    broker_open_channel(consumer->connection, i, error) != BROKER_OK)
				return -1;
			consumer->open[i] = true;
			if (consume[i](consumer, error) != BROKER_OK)
				return -1;
			g_info("consuming at %s, channel %u", broker_peer(consumer->connection), i);
		}
		set_consumed(consumer, i, wanted);
	}
	return 0;
}

static void connect_now(struct consumer *consumer)
{
	GError *error = NULL;

	consumer->connection = broker_open(consumer->rpc->config, consumer->rpc->url,
					   &consumer->retry, "novasnap consumer", &error);
	if (!consumer->connection || consume_wanted(consumer, &error) < 0) {
		disconnect(consumer, error);
		return;
	}
	set_connected(consumer, true);
	broker_retry_reset(&consumer->retry, consumer->rpc->config);
}

static void send_acks(struct consumer *consumer)
{
	GArray *acks;

	pthread_mutex_lock(&consumer->lock);
	acks = consumer->acks;
	consumer->acks = consumer->acks_taken;
	pthread_mutex_unlock(&consumer->lock);
	consumer->acks_taken = acks;
	for (guint i = 0; i < acks->len && consumer->connection; i++) {
		const struct delivery *delivery = &g_array_index(acks, struct delivery, i);
		int rc;

		/* Of an older connection: the broker gives that message again. */
		if (delivery->generation != consumer->generation)
			continue;
		rc = amqp_basic_ack(broker_amqp_state(consumer->connection), delivery->channel,
				    delivery->tag, 0);
		if (rc != AMQP_STATUS_OK)
			disconnect(consumer,
				   g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED,
					       "acking a message: %s", amqp_error_string2(rc)));
	}
	g_array_set_size(acks, 0);
}

static void take_copy(struct consumer *consumer, const char *body, size_t length)
{
	g_autoptr(GError) error = NULL;
	cJSON *message = rpc_body_decode(body, length, &error);
	const char *event_type;

	if (!message) {
		g_info("a message that was listened for is dropped: %s", error->message);
		return;
	}
	event_type = json_string(message, "event_type");
	consumer->rpc->heard(event_type ? event_type : "", message, consumer->rpc->heard_opaque);
	cJSON_Delete(message);
}

static void take_delivery(struct consumer *consumer, enum consumer_channel channel)
{
	const struct incoming *incoming = &consumer->incoming[channel];
	struct delivery delivery = {consumer->generation, channel, incoming->tag};

	switch (channel) {
	case CHANNEL_SERVER:
		if (!atomic_load(&consumer->wanted[channel]))
			/* It came while we said that we take no more: to another server. */
			(void)amqp_basic_reject(broker_amqp_state(consumer->connection), channel,
						incoming->tag, 1);
		else if (incoming->size > RPC_MAX_BODY_BYTES)
			server_take_too_long(consumer->rpc, incoming->body, incoming->length,
					     incoming->size, &delivery);
		else
			server_take(consumer->rpc, incoming->body, incoming->length, &delivery);
		break;
	case CHANNEL_REPLY:
		if (incoming->size > RPC_MAX_BODY_BYTES)
			g_warning("a reply is dropped: it has %" G_GUINT64_FORMAT " bytes",
				  incoming->size);
		else
			client_take_reply(consumer->rpc, incoming->body, incoming->length);
		break;
	case CHANNEL_LISTEN:
		if (incoming->size <= RPC_MAX_BODY_BYTES)
			take_copy(consumer, incoming->body, incoming->length);
		break;
	case CHANNELS:
	default:
		break;
	}
}

/* 1 when a delivery is complete with this frame, and was taken. */
static int take_piece(struct consumer *consumer, const amqp_frame_t *frame, GError **error)
{
	struct incoming *incoming = &consumer->incoming[frame->channel];
	int rc = incoming_take(incoming, frame, error);

	if (rc > 0) {
		take_delivery(consumer, frame->channel);
		incoming_forget(incoming);
	}
	return rc;
}

static int take_method(struct consumer *consumer, const amqp_frame_t *frame, GError **error)
{
	struct incoming *incoming = &consumer->incoming[frame->channel];

	if (frame->payload.method.id == AMQP_BASIC_DELIVER_METHOD) {
		const amqp_basic_deliver_t *deliver = frame->payload.method.decoded;

		incoming_begin(incoming, deliver->delivery_tag);
	} else if (frame->payload.method.id == AMQP_BASIC_CANCEL_METHOD) {
		const amqp_basic_cancel_t *cancel = frame->payload.method.decoded;

		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "%s: the queue %.*s was deleted; all are declared again",
			    broker_peer(consumer->connection),
			    (int)MIN(cancel->consumer_tag.len, 255),
			    (const char *)cancel->consumer_tag.bytes);
		return -1;
	}
	return 0;
}

static void take_frames(struct consumer *consumer)
{
	unsigned deliveries = 0;

	while (consumer->connection && deliveries < DELIVERIES_A_TURN) {
		amqp_frame_t frame;
		GError *error = NULL;
		int rc;

		if (broker_next_frame(consumer->connection, &frame, &error) != BROKER_OK) {
			disconnect(consumer, error);
			return;
		}
		if (frame.frame_type == 0)
			break;
		if (frame.channel == 0 || frame.channel >= CHANNELS)
			continue;
		rc = frame.frame_type == AMQP_FRAME_METHOD ? take_method(consumer, &frame, &error)
							   : take_piece(consumer, &frame, &error);
		if (rc < 0) {
			disconnect(consumer, error);
			return;
		}
		deliveries += (unsigned)rc;
		amqp_maybe_release_buffers(broker_amqp_state(consumer->connection));
	}
	if (consumer->connection)
		amqp_maybe_release_buffers(broker_amqp_state(consumer->connection));
}

static void *consumer_main(void *opaque)
{
	struct consumer *consumer = opaque;

	while (!atomic_load(&consumer->stopping)) {
		GError *error = NULL;
		gint64 until;

		if (!consumer->connection && g_get_monotonic_time() >= consumer->retry.not_before)
			connect_now(consumer);
		else if (consumer->connection && consume_wanted(consumer, &error) < 0)
			disconnect(consumer, error);
		send_acks(consumer);
		until = server_beat(consumer->rpc);
		publisher_check_stuck_write(consumer->rpc->publisher);
		if (!consumer->connection)
			until = MIN(until, consumer->retry.not_before);
		broker_wait(consumer->connection, consumer->event_fd, until);
		take_frames(consumer);
	}
	send_acks(consumer);
	broker_close(g_steal_pointer(&consumer->connection));
	set_connected(consumer, false);
	return NULL;
}

static void consumer_free(struct consumer *consumer)
{
	for (int i = 0; i < CHANNELS; i++)
		incoming_forget(&consumer->incoming[i]);
	g_array_unref(consumer->acks);
	g_array_unref(consumer->acks_taken);
	g_free(consumer->listen_queue);
	pthread_cond_destroy(&consumer->changed);
	pthread_mutex_destroy(&consumer->lock);
	(void)close(consumer->event_fd);
	g_free(consumer);
}

struct consumer *consumer_start(struct rpc *rpc, GError **error)
{
	struct consumer *consumer = g_new0(struct consumer, 1);

	consumer->rpc = rpc;
	consumer->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	broker_retry_reset(&consumer->retry, rpc->config);
	consumer->retry.not_before = 0;
	consumer->acks = g_array_new(FALSE, FALSE, sizeof(struct delivery));
	consumer->acks_taken = g_array_new(FALSE, FALSE, sizeof(struct delivery));
	pthread_mutex_init(&consumer->lock, NULL);
	pthread_cond_init(&consumer->changed, NULL);
	/* The thread reads it. */
	rpc->consumer = consumer;
	if (rpc_thread_start(&consumer->thread, consumer_main, consumer, "consuming", error) == 0)
		return consumer;
	rpc->consumer = NULL;
	consumer_free(consumer);
	return NULL;
}

static void kick(struct consumer *consumer)
{
	uint64_t one = 1;

	(void)!write(consumer->event_fd, &one, sizeof(one));
}

void consumer_stop(struct consumer *consumer)
{
	atomic_store(&consumer->stopping, true);
	kick(consumer);
	pthread_join(consumer->thread, NULL);
	consumer_free(consumer);
}

bool consumer_ready(struct consumer *consumer)
{
	bool ready;

	pthread_mutex_lock(&consumer->lock);
	ready = consumer->connected;
	for (int i = CHANNEL_SERVER; i < CHANNELS; i++)
		ready = ready && atomic_load(&consumer->wanted[i]) == consumer->consumed[i];
	pthread_mutex_unlock(&consumer->lock);
	return ready;
}

void consumer_want(struct consumer *consumer, enum consumer_channel channel, bool wanted)
{
	if (atomic_exchange(&consumer->wanted[channel], wanted) != wanted)
		kick(consumer);
}

bool consumer_wait(struct consumer *consumer, enum consumer_channel channel, bool consumed,
		   gint64 deadline)
{
	struct timespec until = {deadline / G_USEC_PER_SEC, (deadline % G_USEC_PER_SEC) * 1000};
	bool reached;
	int rc = 0;

	pthread_mutex_lock(&consumer->lock);
	while (consumer->consumed[channel] != consumed && rc == 0)
		rc = pthread_cond_clockwait(&consumer->changed, &consumer->lock, CLOCK_MONOTONIC,
					    &until);
	reached = consumer->consumed[channel] == consumed;
	pthread_mutex_unlock(&consumer->lock);
	return reached;
}

void consumer_ack(struct consumer *consumer, const struct delivery *delivery)
{
	bool first;

	pthread_mutex_lock(&consumer->lock);
	first = consumer->acks->len == 0;
	g_array_append_val(consumer->acks, *delivery);
	pthread_mutex_unlock(&consumer->lock);
	/* The thread takes all of them, and knows already when there are others. */
	if (first)
		kick(consumer);
}
