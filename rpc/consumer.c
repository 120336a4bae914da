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

#define POLL_MS 500
#define STACK_SIZE ((size_t)512 * 1024)
#define BEAT_US G_USEC_PER_SEC

enum { CHANNEL_SERVER = 1, CHANNEL_REPLY, CHANNEL_LISTEN, CHANNELS };

struct consumer {
	struct rpc *rpc;
	pthread_t thread;
	int event_fd;
	atomic_uint asked;  /* how often more was to be consumed, */
	atomic_uint served; /* and which of these the connection has done */
	atomic_bool stopping;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	GArray *acks; /* struct delivery */
	bool server_stopped;

	/* The thread's own. */
	struct link *link;
	unsigned next_server;
	unsigned generation;
	bool consuming[CHANNELS];
	gint64 connect_at; /* monotonic us */
	unsigned pause_s;
	gint64 beat_at;
	char *listen_queue;
};

static void disconnect(struct consumer *consumer, GError *why)
{
	if (why)
		g_warning("the consuming connection is lost: %s", why->message);
	g_clear_error(&why);
	atomic_store(&consumer->served, 0);
	link_close(g_steal_pointer(&consumer->link));
	memset(consumer->consuming, 0, sizeof(consumer->consuming));
	consumer->generation++;
	consumer->connect_at = g_get_monotonic_time() + (gint64)consumer->pause_s * G_USEC_PER_SEC;
	consumer->pause_s = MIN(consumer->pause_s + consumer->rpc->config->retry_backoff_s,
				consumer->rpc->config->interval_max_s);
}

/* The queues that a server of oslo has (AMQPDriverBase.listen). */
static enum link_result consume_server(struct consumer *consumer, GError **error)
{
	const struct rpc_config *config = consumer->rpc->config;
	const char *fanout = server_fanout_queue(consumer->rpc->server);
	g_autofree char *own = g_strdup_printf("%s.%s", config->topic, config->host);
	const char *queues[] = {config->topic, own, fanout};
	struct link *link = consumer->link;
	enum link_result result;

	result = link_open_channel(link, CHANNEL_SERVER, error);
	if (result == LINK_OK)
		result = topology_declare_exchange(link, CHANNEL_SERVER, config, error);
	if (result == LINK_OK)
		result = topology_declare_topic(link, CHANNEL_SERVER, config, config->topic, error);
	if (result == LINK_OK)
		result = topology_declare_topic(link, CHANNEL_SERVER, config, own, error);
	if (result == LINK_OK)
		result = topology_declare_fanout(link, CHANNEL_SERVER, config, fanout, error);
	if (result != LINK_OK)
		return result;
	(void)amqp_basic_qos(link_state(link), CHANNEL_SERVER, 0, (uint16_t)config->prefetch, 0);
	result = link_check(link, "setting the prefetch", error);
	for (size_t i = 0; i < G_N_ELEMENTS(queues) && result == LINK_OK; i++)
		result = topology_consume(link, CHANNEL_SERVER, queues[i], queues[i], false, error);
	return result;
}

static enum link_result consume_replies(struct consumer *consumer, GError **error)
{
	const char *queue = client_reply_queue(consumer->rpc->client);
	enum link_result result = link_open_channel(consumer->link, CHANNEL_REPLY, error);

	if (result == LINK_OK)
		result = topology_declare_reply(consumer->link, CHANNEL_REPLY,
						consumer->rpc->config, queue, error);
	if (result == LINK_OK)
		result = topology_consume(consumer->link, CHANNEL_REPLY, queue, queue, true, error);
	return result;
}

static enum link_result consume_notifications(struct consumer *consumer, GError **error)
{
	const char *const *topics = atomic_load(&consumer->rpc->listen_topics);
	enum link_result result = link_open_channel(consumer->link, CHANNEL_LISTEN, error);

	if (result == LINK_OK)
		result = topology_declare_exchange(consumer->link, CHANNEL_LISTEN,
						   consumer->rpc->config, error);
	if (result == LINK_OK)
		result = topology_declare_listener(consumer->link, CHANNEL_LISTEN,
						   consumer->rpc->config, &consumer->listen_queue,
						   topics, error);
	if (result == LINK_OK)
		result = topology_consume(consumer->link, CHANNEL_LISTEN, consumer->listen_queue,
					  "listen", true, error);
	return result;
}

/* Consumes whatever is wanted by now and is not consumed yet. */
static int consume_wanted(struct consumer *consumer, GError **error)
{
	static enum link_result (*const consume[CHANNELS])(struct consumer *, GError **) = {
		[CHANNEL_SERVER] = consume_server,
		[CHANNEL_REPLY] = consume_replies,
		[CHANNEL_LISTEN] = consume_notifications,
	};
	bool wanted[CHANNELS] = {
		[CHANNEL_SERVER] = server_wanted(consumer->rpc->server),
		[CHANNEL_REPLY] = client_wanted(consumer->rpc->client),
		[CHANNEL_LISTEN] = atomic_load(&consumer->rpc->listen_topics) != NULL,
	};

	for (int i = CHANNEL_SERVER; i < CHANNELS; i++) {
		if (!wanted[i] || consumer->consuming[i])
			continue;
		if (consume[i](consumer, error) != LINK_OK)
			return -1;
		consumer->consuming[i] = true;
		g_info("consuming at %s, channel %d", link_peer(consumer->link), i);
	}
	return 0;
}

static void stop_server(struct consumer *consumer)
{
	bool stopped = !server_wanted(consumer->rpc->server);

	if (!stopped)
		return;
	if (consumer->consuming[CHANNEL_SERVER]) {
		const struct rpc_config *config = consumer->rpc->config;
		g_autofree char *own = g_strdup_printf("%s.%s", config->topic, config->host);
		const char *tags[] = {config->topic, own,
				      server_fanout_queue(consumer->rpc->server)};

		for (size_t i = 0; i < G_N_ELEMENTS(tags); i++)
			(void)amqp_basic_cancel(link_state(consumer->link), CHANNEL_SERVER,
						amqp_cstring_bytes(tags[i]));
		consumer->consuming[CHANNEL_SERVER] = false;
	}
	pthread_mutex_lock(&consumer->lock);
	consumer->server_stopped = true;
	pthread_cond_broadcast(&consumer->changed);
	pthread_mutex_unlock(&consumer->lock);
}

static void connect_now(struct consumer *consumer)
{
	GError *error = NULL;

	consumer->link = link_open(consumer->rpc->config, consumer->rpc->url,
				   &consumer->next_server, "novasnap consumer", &error);
	if (!consumer->link || consume_wanted(consumer, &error) < 0) {
		g_prefix_error(&error, "cannot consume yet: ");
		disconnect(consumer, error);
		return;
	}
	consumer->pause_s = consumer->rpc->config->retry_interval_s;
}

static void send_acks(struct consumer *consumer)
{
	g_autoptr(GArray) acks = NULL;

	pthread_mutex_lock(&consumer->lock);
	acks = consumer->acks;
	consumer->acks = g_array_new(FALSE, FALSE, sizeof(struct delivery));
	pthread_mutex_unlock(&consumer->lock);
	for (guint i = 0; i < acks->len && consumer->link; i++) {
		const struct delivery *delivery = &g_array_index(acks, struct delivery, i);
		int rc;

		/* Of an older connection: the broker gives that message again, and it is a
		 * duplicate. */
		if (delivery->generation != consumer->generation)
			continue;
		rc = amqp_basic_ack(link_state(consumer->link), delivery->channel, delivery->tag,
				    0);
		if (rc != AMQP_STATUS_OK)
			disconnect(consumer,
				   g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED,
					       "acking a message: %s", amqp_error_string2(rc)));
	}
}

static void take_notification(struct consumer *consumer, const char *body, size_t length)
{
	g_autoptr(GError) error = NULL;
	cJSON *message = rpc_body_decode(body, length, &error);
	const char *event_type;

	if (!message) {
		g_info("a notification is dropped: %s", error->message);
		return;
	}
	event_type = json_string(message, "event_type");
	consumer->rpc->notified(event_type ? event_type : "", message,
				consumer->rpc->notified_opaque);
	cJSON_Delete(message);
}

static void take_delivery(struct consumer *consumer, const amqp_envelope_t *envelope)
{
	struct delivery delivery = {consumer->generation, envelope->channel,
				    envelope->delivery_tag};
	const char *body = envelope->message.body.bytes;
	size_t length = envelope->message.body.len;

	switch (envelope->channel) {
	case CHANNEL_SERVER:
		server_take(consumer->rpc, body, length, &delivery);
		break;
	case CHANNEL_REPLY:
		client_take_reply(consumer->rpc, body, length);
		break;
	case CHANNEL_LISTEN:
		take_notification(consumer, body, length);
		break;
	default:
		break;
	}
}

/* A frame that is no delivery: the broker closes something, or a queue of ours was deleted. */
static int take_other_frame(struct consumer *consumer, GError **error)
{
	struct timeval now = {0, 0};
	amqp_frame_t frame;
	int rc = amqp_simple_wait_frame_noblock(link_state(consumer->link), &frame, &now);

	if (rc == AMQP_STATUS_TIMEOUT)
		return 0;
	if (rc != AMQP_STATUS_OK) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "%s: %s",
			    link_peer(consumer->link), amqp_error_string2(rc));
		return -1;
	}
	if (frame.frame_type != AMQP_FRAME_METHOD)
		return 0;
	switch (frame.payload.method.id) {
	case AMQP_BASIC_CANCEL_METHOD:
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "%s: a queue was deleted; it is declared again",
			    link_peer(consumer->link));
		return -1;
	case AMQP_CHANNEL_CLOSE_METHOD:
	case AMQP_CONNECTION_CLOSE_METHOD: {
		/* Both methods begin alike. */
		const amqp_channel_close_t *closed = frame.payload.method.decoded;

		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "%s: the broker closed it: %d %.*s", link_peer(consumer->link),
			    closed->reply_code, (int)MIN(closed->reply_text.len, 500),
			    (const char *)closed->reply_text.bytes);
		return -1;
	}
	default:
		return 0;
	}
}

static void take_frames(struct consumer *consumer)
{
	while (consumer->link && !atomic_load(&consumer->stopping)) {
		struct timeval now = {0, 0};
		amqp_envelope_t envelope;
		GError *error = NULL;
		amqp_rpc_reply_t reply =
			amqp_consume_message(link_state(consumer->link), &envelope, &now, 0);

		if (reply.reply_type == AMQP_RESPONSE_NORMAL) {
			take_delivery(consumer, &envelope);
			amqp_destroy_envelope(&envelope);
			continue;
		}
		if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION &&
		    reply.library_error == AMQP_STATUS_TIMEOUT)
			break;
		if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION &&
		    reply.library_error == AMQP_STATUS_UNEXPECTED_STATE) {
			if (take_other_frame(consumer, &error) == 0)
				continue;
		} else {
			(void)g_set_error(&error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "%s: %s",
					  link_peer(consumer->link),
					  amqp_error_string2(reply.library_error));
		}
		disconnect(consumer, error);
	}
	if (consumer->link)
		amqp_maybe_release_buffers(link_state(consumer->link));
}

static void *consumer_main(void *opaque)
{
	struct consumer *consumer = opaque;

	while (!atomic_load(&consumer->stopping)) {
		GError *error = NULL;
		gint64 now = g_get_monotonic_time();
		unsigned asked = atomic_load(&consumer->asked);

		stop_server(consumer);
		if (!consumer->link && now >= consumer->connect_at)
			connect_now(consumer);
		else if (consumer->link && consume_wanted(consumer, &error) < 0)
			disconnect(consumer, error);
		atomic_store(&consumer->served, consumer->link ? asked : 0);
		send_acks(consumer);
		if (now >= consumer->beat_at) {
			consumer->beat_at = now + BEAT_US;
			server_beat(consumer->rpc);
			publisher_watch(consumer->rpc->publisher);
		}
		link_poll(consumer->link, consumer->event_fd, POLL_MS);
		take_frames(consumer);
	}
	send_acks(consumer);
	disconnect(consumer, NULL);
	return NULL;
}

static void consumer_free(struct consumer *consumer)
{
	g_array_unref(consumer->acks);
	g_free(consumer->listen_queue);
	pthread_cond_destroy(&consumer->changed);
	pthread_mutex_destroy(&consumer->lock);
	(void)close(consumer->event_fd);
	g_free(consumer);
}

struct consumer *consumer_start(struct rpc *rpc, GError **error)
{
	struct consumer *consumer = g_new0(struct consumer, 1);
	pthread_attr_t attributes;
	int rc;

	consumer->rpc = rpc;
	atomic_init(&consumer->asked, 1);
	consumer->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	consumer->pause_s = rpc->config->retry_interval_s;
	consumer->acks = g_array_new(FALSE, FALSE, sizeof(struct delivery));
	pthread_mutex_init(&consumer->lock, NULL);
	pthread_cond_init(&consumer->changed, NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	rc = pthread_create(&consumer->thread, &attributes, consumer_main, consumer);
	pthread_attr_destroy(&attributes);
	if (rc == 0)
		return consumer;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED, "cannot start the consuming thread: %s",
		    g_strerror(rc));
	consumer_free(consumer);
	return NULL;
}

void consumer_stop(struct consumer *consumer)
{
	atomic_store(&consumer->stopping, true);
	consumer_kick(consumer);
	pthread_join(consumer->thread, NULL);
	consumer_free(consumer);
}

bool consumer_ready(struct consumer *consumer)
{
	return atomic_load(&consumer->served) == atomic_load(&consumer->asked);
}

void consumer_ask(struct consumer *consumer)
{
	atomic_fetch_add(&consumer->asked, 1);
	consumer_kick(consumer);
}

void consumer_kick(struct consumer *consumer)
{
	uint64_t one = 1;

	(void)!write(consumer->event_fd, &one, sizeof(one));
}

bool consumer_wait_stopped(struct consumer *consumer, unsigned timeout_s)
{
	struct timespec deadline;
	bool stopped;

	consumer_kick(consumer);
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += timeout_s;
	pthread_mutex_lock(&consumer->lock);
	while (!consumer->server_stopped &&
	       pthread_cond_clockwait(&consumer->changed, &consumer->lock, CLOCK_MONOTONIC,
				      &deadline) == 0)
		;
	stopped = consumer->server_stopped;
	pthread_mutex_unlock(&consumer->lock);
	return stopped;
}

void consumer_ack(struct consumer *consumer, const struct delivery *delivery)
{
	pthread_mutex_lock(&consumer->lock);
	g_array_append_val(consumer->acks, *delivery);
	pthread_mutex_unlock(&consumer->lock);
	consumer_kick(consumer);
}
