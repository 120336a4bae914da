/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The publishing connection and its thread: publishes what is in the outbox, and keeps each message
 * until the broker has confirmed it. What was not confirmed when a connection broke is published
 * again; its receiver knows it by its _unique_id.
 */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "rpc/amqp/outbox.h"
#include "rpc/internal.h"

/* Declarations have a channel of their own: one that is refused closes it, and with it would go the
 * confirms of what is under way. */
enum { CHANNEL_PUBLISH = 1, CHANNEL_DECLARE };

/* Not confirmed yet, at most. The bytes stay within what sockets hold, so that a broker that stops
 * reading is heard (connection.blocked) before a write gets stuck. */
#define MAX_UNCONFIRMED 1000
#define MAX_UNCONFIRMED_BYTES ((size_t)512 * 1024)
#define STUCK_S 30
#define UNROUTABLE_PAUSE_US (G_USEC_PER_SEC / 4) /* as oslo_messaging's reply */

struct publisher {
	const struct rpc_config *config;
	const struct transport_url *url;
	struct outbox *outbox;
	pthread_t thread;
	int event_fd;
	atomic_bool ready;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* `ended` is */
	/* Guarded by the lock. */
	bool stopping;
	bool ended;
	gint64 stop_at;	    /* monotonic us */
	int stuck_fd;	    /* of the connection that is being written to; -1: none */
	gint64 stuck_since; /* monotonic us */

	/* The thread's own. */
	struct broker_connection *connection;
	struct broker_retry retry;
	uint64_t last_tag;
	GQueue sent; /* struct letter, in the order of their tags */
	size_t sent_bytes;
	GHashTable *queues; /* names of queues to declare on each connection */
	bool blocked;	    /* the broker takes nothing for now */
};

static void put_back_sent(struct publisher *publisher)
{
	struct letter *letter;

	while ((letter = g_queue_pop_tail(&publisher->sent)))
		outbox_put_back(publisher->outbox, letter, false);
	publisher->sent_bytes = 0;
}

static void disconnect(struct publisher *publisher, GError *why)
{
	bool established = atomic_exchange(&publisher->ready, false);

	broker_abandon(g_steal_pointer(&publisher->connection));
	publisher->blocked = false;
	put_back_sent(publisher);
	if (established)
		broker_retry_reset(&publisher->retry, publisher->config);
	else
		broker_retry_failed(&publisher->retry, publisher->config, publisher->url);
	g_warning("%s: %s",
		  established ? "the publishing connection is lost" : "cannot publish yet",
		  why->message);
	outbox_set_trouble(publisher->outbox, why->message);
	g_error_free(why);
}

/* As oslo's notifier does, once a connection and queue. A refusal is said, and does not keep what
 * is published from whoever has bound a queue of his own. */
static int declare_queue(struct publisher *publisher, const char *queue, GError **error)
{
	g_autoptr(GError) refused = NULL;

	switch (topology_declare_topic(publisher->connection, CHANNEL_DECLARE, publisher->config,
				       queue, &refused)) {
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

static int declare_once(struct publisher *publisher, const char *queue, GError **error)
{
	if (g_hash_table_contains(publisher->queues, queue))
		return 0;
	/* Noted before: a broker that is blocked answers nothing to a connection that has
	 * published, but does to the next one. */
	g_hash_table_add(publisher->queues, g_strdup(queue));
	return declare_queue(publisher, queue, error);
}

static int set_up(struct publisher *publisher, GError **error)
{
	struct broker_connection *connection = publisher->connection;
	GHashTableIter iter;
	gpointer queue;

	if (broker_open_channel(connection, CHANNEL_DECLARE, error) != BROKER_OK)
		return -1;
	if (topology_declare_exchange(connection, CHANNEL_DECLARE, publisher->config, error) !=
	    BROKER_OK)
		return -1;
	g_hash_table_iter_init(&iter, publisher->queues);
	while (g_hash_table_iter_next(&iter, &queue, NULL)) {
		if (declare_queue(publisher, queue, error) < 0)
			return -1;
	}
	if (broker_open_channel(connection, CHANNEL_PUBLISH, error) != BROKER_OK)
		return -1;
	(void)amqp_confirm_select(broker_amqp_state(connection), CHANNEL_PUBLISH);
	return broker_check_reply(connection, CHANNEL_PUBLISH, "asking for confirms", error) ==
			       BROKER_OK
		       ? 0
		       : -1;
}

static void connect_now(struct publisher *publisher)
{
	GError *error = NULL;

	publisher->connection = broker_open(publisher->config, publisher->url, &publisher->retry,
					    "novasnap publisher", &error);
	if (!publisher->connection || set_up(publisher, &error) < 0) {
		disconnect(publisher, error);
		return;
	}
	publisher->last_tag = 0;
	broker_retry_reset(&publisher->retry, publisher->config);
	outbox_set_trouble(publisher->outbox, NULL);
	atomic_store(&publisher->ready, true);
	g_info("publishing at %s", broker_peer(publisher->connection));
}

static void set_stuck(struct publisher *publisher, int fd)
{
	pthread_mutex_lock(&publisher->lock);
	publisher->stuck_fd = fd;
	publisher->stuck_since = g_get_monotonic_time();
	pthread_mutex_unlock(&publisher->lock);
}

/* Under the lock. */
static void watch(struct publisher *publisher)
{
	gint64 now = g_get_monotonic_time();

	if (publisher->stuck_fd >= 0 && (now - publisher->stuck_since > STUCK_S * G_USEC_PER_SEC ||
					 (publisher->stopping && now > publisher->stop_at)))
		(void)shutdown(publisher->stuck_fd, SHUT_RDWR);
}

void publisher_watch(struct publisher *publisher)
{
	pthread_mutex_lock(&publisher->lock);
	watch(publisher);
	pthread_mutex_unlock(&publisher->lock);
}

static int publish_letter(struct publisher *publisher, struct letter *letter, GError **error)
{
	amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG |
			  AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG |
			  AMQP_BASIC_HEADERS_FLAG,
		.content_type = amqp_cstring_bytes("application/json"),
		.content_encoding = amqp_cstring_bytes("utf-8"),
		.delivery_mode = letter->message.transient ? 1 : 2,
		.priority = 0,
	};
	char expiration[16];
	amqp_bytes_t body = {letter->size, letter->message.body};
	int rc;

	if (letter->message.expiration_ms > 0) {
		g_snprintf(expiration, sizeof(expiration), "%u", letter->message.expiration_ms);
		properties._flags |= AMQP_BASIC_EXPIRATION_FLAG;
		properties.expiration = amqp_cstring_bytes(expiration);
	}
	if (letter->message.declare && declare_once(publisher, letter->message.key, error) < 0)
		return -1;
	set_stuck(publisher, broker_fd(publisher->connection));
	rc = amqp_basic_publish(broker_amqp_state(publisher->connection), CHANNEL_PUBLISH,
				amqp_cstring_bytes(letter->message.exchange),
				amqp_cstring_bytes(letter->message.key), letter->message.mandatory,
				0, &properties, body);
	set_stuck(publisher, -1);
	if (rc != AMQP_STATUS_OK) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "publishing to %s at %s: %s",
			    letter->message.key, broker_peer(publisher->connection),
			    amqp_error_string2(rc));
		return -1;
	}
	letter->tag = ++publisher->last_tag;
	letter->returned = false;
	return 0;
}

/* Publishes what may be; returns when there may be more, monotonic us. */
static gint64 publish_waiting(struct publisher *publisher)
{
	gint64 next = G_MAXINT64;
	struct letter *letter;

	while (publisher->connection && !publisher->blocked &&
	       g_queue_get_length(&publisher->sent) < MAX_UNCONFIRMED &&
	       publisher->sent_bytes < MAX_UNCONFIRMED_BYTES &&
	       (letter = outbox_take(publisher->outbox, &next))) {
		GError *error = NULL;

		/* Known as sent before it is: a failure puts it back with the others. */
		g_queue_push_tail(&publisher->sent, letter);
		publisher->sent_bytes += letter->size;
		if (publish_letter(publisher, letter, &error) < 0)
			disconnect(publisher, error);
	}
	return next;
}

static void end_sent(struct publisher *publisher, struct letter *letter, bool taken)
{
	GError *error = NULL;

	publisher->sent_bytes -= letter->size;
	if (letter->returned && letter->message.retry_unroutable) {
		letter->not_before = g_get_monotonic_time() + UNROUTABLE_PAUSE_US;
		outbox_put_back(publisher->outbox, letter, true);
		return;
	}
	if (letter->returned)
		error = g_error_new(RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
				    "no queue takes messages for %s; does its service run?",
				    letter->message.key);
	else if (!taken)
		error = g_error_new(RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
				    "the broker refused a message for %s", letter->message.key);
	outbox_end(publisher->outbox, letter, error);
}

static void confirm(struct publisher *publisher, uint64_t tag, bool multiple, bool taken)
{
	for (GList *link = publisher->sent.head, *next; link; link = next) {
		struct letter *letter = link->data;

		next = link->next;
		if (letter->tag > tag)
			return;
		if (letter->tag < tag && !multiple)
			continue;
		g_queue_delete_link(&publisher->sent, link);
		end_sent(publisher, letter, taken);
	}
}

/* A message that no queue took comes back before its confirmation: it is the first one of its key
 * that has not come back yet. Its header and body follow, and are passed over. */
static void take_returned(struct publisher *publisher, const amqp_basic_return_t *returned)
{
	for (GList *link = publisher->sent.head; link; link = link->next) {
		struct letter *letter = link->data;

		if (!letter->returned && letter->message.mandatory &&
		    strlen(letter->message.key) == returned->routing_key.len &&
		    memcmp(letter->message.key, returned->routing_key.bytes,
			   returned->routing_key.len) == 0) {
			letter->returned = true;
			return;
		}
	}
}

static void take_method(struct publisher *publisher, const amqp_method_t *method)
{
	static const char blocked[] = "the broker is blocked, out of memory or disk";

	switch (method->id) {
	case AMQP_BASIC_ACK_METHOD: {
		const amqp_basic_ack_t *ack = method->decoded;

		confirm(publisher, ack->delivery_tag, ack->multiple, true);
		break;
	}
	case AMQP_BASIC_NACK_METHOD: {
		const amqp_basic_nack_t *nack = method->decoded;

		confirm(publisher, nack->delivery_tag, nack->multiple, false);
		break;
	}
	case AMQP_BASIC_RETURN_METHOD:
		take_returned(publisher, method->decoded);
		break;
	case AMQP_CONNECTION_BLOCKED_METHOD:
		publisher->blocked = true;
		outbox_set_trouble(publisher->outbox, blocked);
		g_warning("%s: %s; messages wait", broker_peer(publisher->connection), blocked);
		break;
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		publisher->blocked = false;
		outbox_set_trouble(publisher->outbox, NULL);
		g_message("the broker at %s takes messages again",
			  broker_peer(publisher->connection));
		break;
	default:
		break;
	}
}

static void take_frames(struct publisher *publisher)
{
	while (publisher->connection) {
		amqp_frame_t frame;
		GError *error = NULL;

		if (broker_next_frame(publisher->connection, &frame, &error) != BROKER_OK) {
			disconnect(publisher, error);
			return;
		}
		if (frame.frame_type == AMQP_FRAME_METHOD)
			take_method(publisher, &frame.payload.method);
		amqp_maybe_release_buffers(broker_amqp_state(publisher->connection));
		if (frame.frame_type == 0)
			return;
	}
}

/* Whether the thread shall go on: when it is to stop, until all is confirmed or the time is up. */
static bool goes_on(struct publisher *publisher)
{
	bool on, stopping;

	pthread_mutex_lock(&publisher->lock);
	stopping = publisher->stopping;
	on = !stopping || g_get_monotonic_time() < publisher->stop_at;
	pthread_mutex_unlock(&publisher->lock);
	return on && !(stopping && g_queue_is_empty(&publisher->sent) &&
		       outbox_is_empty(publisher->outbox));
}

static void *publisher_main(void *opaque)
{
	struct publisher *publisher = opaque;

	while (goes_on(publisher)) {
		gint64 until;

		if (!publisher->connection && g_get_monotonic_time() >= publisher->retry.not_before)
			connect_now(publisher);
		until = publish_waiting(publisher);
		if (!publisher->connection)
			until = MIN(until, publisher->retry.not_before);
		broker_wait(publisher->connection, publisher->event_fd, until);
		take_frames(publisher);
	}
	put_back_sent(publisher);
	broker_close(g_steal_pointer(&publisher->connection));
	pthread_mutex_lock(&publisher->lock);
	publisher->ended = true;
	pthread_cond_signal(&publisher->changed);
	pthread_mutex_unlock(&publisher->lock);
	return NULL;
}

static void publisher_free(struct publisher *publisher)
{
	outbox_free(publisher->outbox);
	g_hash_table_unref(publisher->queues);
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
	publisher->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	publisher->stuck_fd = -1;
	broker_retry_reset(&publisher->retry, config);
	publisher->retry.not_before = 0;
	publisher->queues = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_queue_init(&publisher->sent);
	pthread_mutex_init(&publisher->lock, NULL);
	pthread_cond_init(&publisher->changed, NULL);
	if (rpc_thread_start(&publisher->thread, publisher_main, publisher, "publishing", error) ==
	    0)
		return publisher;
	publisher_free(publisher);
	return NULL;
}

static void wake(struct publisher *publisher)
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
	wake(publisher);
	/* A write that the broker does not take is broken off when the time is up. */
	while (!publisher->ended) {
		struct timespec until;

		watch(publisher);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
		(void)pthread_cond_clockwait(&publisher->changed, &publisher->lock, CLOCK_MONOTONIC,
					     &until);
	}
	pthread_mutex_unlock(&publisher->lock);
	pthread_join(publisher->thread, NULL);
	publisher_free(publisher);
}

bool publisher_ready(struct publisher *publisher)
{
	return atomic_load(&publisher->ready);
}

char *publisher_last_connect_error(struct publisher *publisher)
{
	return outbox_trouble(publisher->outbox);
}

int publisher_send(struct publisher *publisher, const struct outgoing *message, bool wait,
		   GError **error)
{
	struct letter *letter = outbox_add(publisher->outbox, message, wait, error);

	if (!letter)
		return -1;
	wake(publisher);
	return wait ? outbox_wait(publisher->outbox, letter, error) : 0;
}
