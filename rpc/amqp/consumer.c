/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The consuming connection and its thread.
 */
#include "rpc/amqp/consumer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "rpc/amqp/answers.h"
#include "rpc/amqp/retry.h"
#include "rpc/base.h"
#include "rpc/limits.h"

/* After this many deliveries, acks and other work are done: the broker sends at most `prefetch`
 * messages before it gets acks. */
#define DELIVERIES_PER_TURN 32

/* A channel on which the broker refused to declare or consume. */
struct channel_retry {
	unsigned pause_s;  /* the next pause; 0: it was not refused */
	gint64 not_before; /* monotonic us */
};

struct consumer {
	const struct rpc_config *config;
	const struct transport_url *url;
	struct consumer_ops ops;
	pthread_t thread;
	int event_fd;
	struct delivery_answers *answers;
	atomic_bool stopping;
	atomic_llong turned_at; /* monotonic us of the thread's last turn */
	atomic_bool wanted[CONSUMER_CHANNELS];

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock; written only by the thread. */
	bool connected; /* true once the wanted channels are consumed */
	bool consumed[CONSUMER_CHANNELS];
	bool waits_ended; /* guarded by the lock */

	/* Used only by the thread. */
	struct broker_connection *connection;
	struct broker_retry retry;
	unsigned connection_number;
	bool channel_open[CONSUMER_CHANNELS];
	bool denial_logged;
	bool loss_logged; /* since the last connection */
	struct channel_retry refused[CONSUMER_CHANNELS];
	struct delivery_assembler assemblers[CONSUMER_CHANNELS];
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

static void consumer_disconnect(struct consumer *consumer, GError *why)
{
	bool established = consumer->connected;
	bool denied = consumer->connection && broker_denied_transient(consumer->connection);

	set_connected(consumer, false);
	broker_abandon(g_steal_pointer(&consumer->connection));
	memset(consumer->channel_open, 0, sizeof(consumer->channel_open));
	memset(consumer->refused, 0, sizeof(consumer->refused));
	for (int i = 0; i < CONSUMER_CHANNELS; i++)
		delivery_reset(&consumer->assemblers[i]);
	consumer->connection_number++;
	if (established)
		broker_retry_lost(&consumer->retry, consumer->config);
	else
		broker_retry_failed(&consumer->retry, consumer->config);
	/* A denial does not change, so it is a warning only once. */
	g_log(G_LOG_DOMAIN,
	      denied && consumer->denial_logged ? G_LOG_LEVEL_INFO : G_LOG_LEVEL_WARNING, "%s: %s",
	      established ? "the consuming connection is lost" : "cannot consume yet",
	      why->message);
	consumer->denial_logged = consumer->denial_logged || denied;
	consumer->loss_logged = true;
	g_error_free(why);
}

static enum broker_result subscribe_channel(struct consumer *consumer,
					    enum consumer_channel channel, GError **error)
{
	enum broker_result result;

	if (!consumer->channel_open[channel] &&
	    broker_open_channel(consumer->connection, channel, error) != BROKER_OK)
		return BROKER_LOST;
	consumer->channel_open[channel] = true;
	result = consumer->ops.channels[channel]->subscribe(consumer->connection, channel,
							    consumer->ops.opaque, error);
	if (result == BROKER_OK)
		g_info("consuming at %s, channel %u", broker_peer(consumer->connection), channel);
	return result;
}

/* As oslo (impl_rabbit.Consumer.declare), tries once more after a 404: the queue or exchange was
 * deleted at that moment. If the broker still refuses, only this channel waits: the others, such as
 * that of the replies, are not affected. */
static int try_subscribe(struct consumer *consumer, enum consumer_channel channel, GError **error)
{
	struct channel_retry *refused = &consumer->refused[channel];
	GError *local = NULL;
	enum broker_result result;

	if (g_get_monotonic_time() < refused->not_before)
		return 0;
	result = subscribe_channel(consumer, channel, &local);
	if (result == BROKER_CHANNEL_CLOSED &&
	    broker_reply_code(consumer->connection) == AMQP_NOT_FOUND) {
		g_clear_error(&local);
		result = subscribe_channel(consumer, channel, &local);
	}
	if (result == BROKER_OK) {
		*refused = (struct channel_retry){0};
		set_consumed(consumer, channel, true);
		return 0;
	}
	if (result == BROKER_LOST) {
		g_propagate_error(error, local);
		return -1;
	}
	refused->pause_s = broker_retry_grow(refused->pause_s, consumer->config);
	refused->not_before = g_get_monotonic_time() + broker_retry_jitter(refused->pause_s);
	g_warning("cannot consume: %s; trying again in about %u s", local->message,
		  refused->pause_s);
	g_error_free(local);
	return 0;
}

static int try_unsubscribe(struct consumer *consumer, enum consumer_channel channel, GError **error)
{
	if (consumer->ops.channels[channel]->unsubscribe(consumer->connection, channel,
							 consumer->ops.opaque, error) != BROKER_OK)
		return -1;
	set_consumed(consumer, channel, false);
	return 0;
}

/* Starts and stops consuming until it matches what is wanted. */
static int update_subscriptions(struct consumer *consumer, GError **error)
{
	for (enum consumer_channel i = CONSUMER_SERVER; i < CONSUMER_CHANNELS; i++) {
		bool wanted = atomic_load(&consumer->wanted[i]);

		if (wanted == consumer->consumed[i])
			continue;
		if ((wanted ? try_subscribe(consumer, i, error)
			    : try_unsubscribe(consumer, i, error)) < 0)
			return -1;
	}
	return 0;
}

static void consumer_connect(struct consumer *consumer)
{
	GError *error = NULL;

	consumer->connection =
		broker_open(consumer->config, broker_retry_address(&consumer->retry, consumer->url),
			    consumer->url->vhost, "novasnap consumer", &error);
	if (!consumer->connection || update_subscriptions(consumer, &error) < 0) {
		consumer_disconnect(consumer, error);
		return;
	}
	set_connected(consumer, true);
	broker_retry_connected(&consumer->retry);
	if (consumer->loss_logged)
		g_message("consuming again at %s", broker_peer(consumer->connection));
	consumer->loss_logged = false;
}

/* A message that is requeued while its channel is still consumed would be delivered here again. */
static bool holds_requeues(amqp_channel_t channel, void *opaque)
{
	const struct consumer *consumer = opaque;

	return consumer->consumed[channel] && !atomic_load(&consumer->wanted[channel]);
}

static void send_answers(struct consumer *consumer)
{
	GError *error = NULL;

	if (!consumer->connection)
		delivery_answers_clear(consumer->answers);
	else if (delivery_answers_send(consumer->answers, consumer->connection,
				       consumer->connection_number, holds_requeues, consumer,
				       &error) < 0)
		consumer_disconnect(consumer, error);
}

static void deliver_message(struct consumer *consumer, amqp_channel_t channel)
{
	const struct delivery delivery = delivery_describe(&consumer->assemblers[channel],
							   consumer->connection_number, channel);

	if (atomic_load(&consumer->wanted[channel]))
		consumer->ops.channels[channel]->deliver(&delivery, consumer->ops.opaque);
	else
		/* The message was sent before the broker ended consuming. */
		consumer_requeue(consumer, &delivery.tag);
}

/* Returns 1 if this frame completed a delivery, which was passed to its receiver. */
static int handle_content(struct consumer *consumer, const amqp_frame_t *frame, GError **error)
{
	struct delivery_assembler *assembler = &consumer->assemblers[frame->channel];
	int rc = delivery_add_frame(assembler, frame, error);

	if (rc > 0) {
		deliver_message(consumer, frame->channel);
		delivery_reset(assembler);
	}
	return rc;
}

static int consumer_handle_method(struct consumer *consumer, const amqp_frame_t *frame,
				  GError **error)
{
	if (frame->payload.method.id == AMQP_BASIC_DELIVER_METHOD) {
		const amqp_basic_deliver_t *method = frame->payload.method.decoded;

		delivery_begin(&consumer->assemblers[frame->channel], method->delivery_tag,
			       method->consumer_tag);
	} else if (frame->payload.method.id == AMQP_BASIC_CANCEL_METHOD) {
		const amqp_basic_cancel_t *cancel = frame->payload.method.decoded;
		const struct consumer_channel_ops *ops = consumer->ops.channels[frame->channel];
		g_autofree char *tag = g_strndup(cancel->consumer_tag.bytes,
						 MIN(cancel->consumer_tag.len, RPC_MAX_NAME_BYTES));

		if (ops->cancelled)
			ops->cancelled(tag, consumer->ops.opaque);
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "%s: the queue %s was deleted: declaring all queues again",
			    broker_peer(consumer->connection), tag);
		return -1;
	}
	return 0;
}

static void consumer_read_frames(struct consumer *consumer)
{
	unsigned deliveries = 0;

	while (consumer->connection && deliveries < DELIVERIES_PER_TURN) {
		amqp_frame_t frame;
		GError *error = NULL;
		int rc;

		if (broker_next_frame(consumer->connection, &frame, &error) != BROKER_OK) {
			consumer_disconnect(consumer, error);
			return;
		}
		if (frame.frame_type == 0)
			break;
		if (frame.channel == 0 || frame.channel >= CONSUMER_CHANNELS)
			continue;
		rc = frame.frame_type == AMQP_FRAME_METHOD
			     ? consumer_handle_method(consumer, &frame, &error)
			     : handle_content(consumer, &frame, &error);
		if (rc < 0) {
			consumer_disconnect(consumer, error);
			return;
		}
		deliveries += (unsigned)rc;
		amqp_maybe_release_buffers(broker_amqp_state(consumer->connection));
	}
	if (consumer->connection)
		amqp_maybe_release_buffers(broker_amqp_state(consumer->connection));
}

/* When it connects or subscribes again, monotonic us; G_MAXINT64 if it does not wait for that. */
static gint64 next_attempt(const struct consumer *consumer)
{
	gint64 next = G_MAXINT64;

	if (!consumer->connection)
		return consumer->retry.not_before;
	for (int i = CONSUMER_SERVER; i < CONSUMER_CHANNELS; i++) {
		if (consumer->refused[i].pause_s > 0 && atomic_load(&consumer->wanted[i]))
			next = MIN(next, consumer->refused[i].not_before);
	}
	return next;
}

static void leave_channels(struct consumer *consumer)
{
	for (int i = CONSUMER_SERVER; i < CONSUMER_CHANNELS; i++) {
		const struct consumer_channel_ops *ops = consumer->ops.channels[i];

		if (consumer->connection && consumer->channel_open[i] && ops->leave)
			ops->leave(consumer->connection, (amqp_channel_t)i, consumer->ops.opaque);
	}
}

static void *consumer_main(void *opaque)
{
	struct consumer *consumer = opaque;

	while (!atomic_load(&consumer->stopping)) {
		GError *error = NULL;
		gint64 until;

		atomic_store(&consumer->turned_at, g_get_monotonic_time());
		if (!consumer->connection && g_get_monotonic_time() >= consumer->retry.not_before)
			consumer_connect(consumer);
		else if (consumer->connection && update_subscriptions(consumer, &error) < 0)
			consumer_disconnect(consumer, error);
		send_answers(consumer);
		until = consumer->ops.tick(consumer->ops.opaque);
		until = MIN(until, next_attempt(consumer));
		broker_wait(consumer->connection, consumer->event_fd, until);
		consumer_read_frames(consumer);
	}
	send_answers(consumer);
	leave_channels(consumer);
	broker_close(g_steal_pointer(&consumer->connection));
	set_connected(consumer, false);
	return NULL;
}

static void consumer_free(struct consumer *consumer)
{
	for (int i = 0; i < CONSUMER_CHANNELS; i++)
		delivery_reset(&consumer->assemblers[i]);
	broker_retry_clear(&consumer->retry);
	delivery_answers_free(consumer->answers);
	pthread_cond_destroy(&consumer->changed);
	pthread_mutex_destroy(&consumer->lock);
	(void)close(consumer->event_fd);
	g_free(consumer);
}

struct consumer *consumer_start(const struct rpc_config *config, const struct transport_url *url,
				const struct consumer_ops *ops, GError **error)
{
	struct consumer *consumer = g_new0(struct consumer, 1);

	consumer->config = config;
	consumer->url = url;
	consumer->ops = *ops;
	consumer->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	consumer->turned_at = g_get_monotonic_time();
	broker_retry_init(&consumer->retry, config, url);
	consumer->answers = delivery_answers_new();
	pthread_mutex_init(&consumer->lock, NULL);
	pthread_cond_init(&consumer->changed, NULL);
	if (rpc_thread_start(&consumer->thread, consumer_main, consumer, "consuming", error) == 0)
		return consumer;
	consumer_free(consumer);
	return NULL;
}

static void consumer_wake(struct consumer *consumer)
{
	uint64_t one = 1;

	(void)!write(consumer->event_fd, &one, sizeof(one));
}

void consumer_stop(struct consumer *consumer)
{
	atomic_store(&consumer->stopping, true);
	consumer_wake(consumer);
	pthread_join(consumer->thread, NULL);
	consumer_free(consumer);
}

bool consumer_is_ready(struct consumer *consumer)
{
	bool ready;

	pthread_mutex_lock(&consumer->lock);
	ready = consumer->connected;
	for (int i = CONSUMER_SERVER; i < CONSUMER_CHANNELS; i++)
		ready = ready && atomic_load(&consumer->wanted[i]) == consumer->consumed[i];
	pthread_mutex_unlock(&consumer->lock);
	return ready;
}

gint64 consumer_turned_at(const struct consumer *consumer)
{
	return atomic_load(&consumer->turned_at);
}

void consumer_want(struct consumer *consumer, enum consumer_channel channel, bool wanted)
{
	if (atomic_exchange(&consumer->wanted[channel], wanted) != wanted)
		consumer_wake(consumer);
}

bool consumer_wait(struct consumer *consumer, enum consumer_channel channel, bool consumed,
		   gint64 deadline)
{
	struct timespec until = rpc_timespec(deadline);
	bool reached;
	int rc = 0;

	pthread_mutex_lock(&consumer->lock);
	while (consumer->consumed[channel] != consumed && !consumer->waits_ended && rc == 0)
		rc = pthread_cond_clockwait(&consumer->changed, &consumer->lock, CLOCK_MONOTONIC,
					    &until);
	reached = consumer->consumed[channel] == consumed;
	pthread_mutex_unlock(&consumer->lock);
	return reached;
}

void consumer_end_waits(struct consumer *consumer)
{
	pthread_mutex_lock(&consumer->lock);
	consumer->waits_ended = true;
	pthread_cond_broadcast(&consumer->changed);
	pthread_mutex_unlock(&consumer->lock);
}

void consumer_ack(struct consumer *consumer, const struct delivery_tag *tag)
{
	/* The thread takes all answers at once, and was woken for the first one. */
	if (delivery_answers_add(consumer->answers, tag, false))
		consumer_wake(consumer);
}

void consumer_requeue(struct consumer *consumer, const struct delivery_tag *tag)
{
	if (delivery_answers_add(consumer->answers, tag, true))
		consumer_wake(consumer);
}
