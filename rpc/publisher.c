/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The publishing connection and its thread: takes messages from a bounded outbox, publishes them,
 * and keeps each until the broker has confirmed it. What was not confirmed when a connection broke
 * is published again; its receiver knows it by its _unique_id.
 */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "rpc/internal.h"

#define CHANNEL 1
#define MAX_UNCONFIRMED 1000
#define POLL_MS 500
#define STUCK_S 30
#define UNROUTABLE_PAUSE_US G_USEC_PER_SEC
#define STACK_SIZE ((size_t)512 * 1024)

enum letter_state { LETTER_WAITS, LETTER_SENT, LETTER_CONFIRMED, LETTER_FAILED };

/* A message in the outbox. Its fields but `state`, `error` and `waited` are the thread's own. */
struct letter {
	struct outgoing message;
	char *exchange;
	char *key;
	gint64 deadline;   /* monotonic us; 0: none */
	gint64 not_before; /* monotonic us: an unroutable one pauses */
	uint64_t tag;	   /* the broker's number of it, while sent */
	bool returned;	   /* the broker had no queue for it */

	/* Guarded by the publisher's lock. */
	enum letter_state state;
	bool waited; /* a caller waits, and frees it */
	GError *error;
};

struct publisher {
	const struct rpc_config *config;
	const struct rpc_url *url;
	pthread_t thread;
	int event_fd;
	atomic_bool ready;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	GQueue waiting; /* struct letter, not yet sent */
	bool stopping;
	gint64 stop_at;
	int stuck_fd;	    /* of the connection that is being written to; -1: none */
	gint64 stuck_since; /* monotonic us */

	/* The thread's own. */
	struct link *link;
	unsigned next_server;
	uint64_t last_tag;
	GQueue sent;	      /* struct letter, in the order of their tags */
	GHashTable *declared; /* names of queues declared on this connection */
	bool blocked;	      /* the broker takes nothing for now */
	gint64 connect_at;    /* monotonic us: not before */
	unsigned pause_s;     /* before the next try to connect */
};

static void letter_free(struct letter *letter)
{
	cJSON_free(letter->message.body);
	g_free(letter->exchange);
	g_free(letter->key);
	g_clear_error(&letter->error);
	g_free(letter);
}

/* Its end, well or not: a caller that waits is told, else it is freed. */
static void letter_end(struct publisher *publisher, struct letter *letter, GError *error)
{
	bool waited;

	pthread_mutex_lock(&publisher->lock);
	letter->state = error ? LETTER_FAILED : LETTER_CONFIRMED;
	waited = letter->waited;
	if (waited)
		letter->error = error;
	pthread_cond_broadcast(&publisher->changed);
	pthread_mutex_unlock(&publisher->lock);
	if (waited)
		return;
	if (error && !letter->message.transient)
		g_warning("a message for %s is lost: %s", letter->key, error->message);
	g_clear_error(&error);
	letter_free(letter);
}

static void disconnect(struct publisher *publisher, GError *why)
{
	struct letter *letter;

	if (why)
		g_warning("the publishing connection is lost: %s", why->message);
	g_clear_error(&why);
	atomic_store(&publisher->ready, false);
	link_close(g_steal_pointer(&publisher->link));
	g_hash_table_remove_all(publisher->declared);
	publisher->blocked = false;
	/* Back to the head, in their order: the oldest ends up first. */
	while ((letter = g_queue_pop_tail(&publisher->sent))) {
		pthread_mutex_lock(&publisher->lock);
		letter->state = LETTER_WAITS;
		g_queue_push_head(&publisher->waiting, letter);
		pthread_mutex_unlock(&publisher->lock);
	}
	publisher->connect_at =
		g_get_monotonic_time() + (gint64)publisher->pause_s * G_USEC_PER_SEC;
	publisher->pause_s = MIN(publisher->pause_s + publisher->config->retry_backoff_s,
				 publisher->config->interval_max_s);
}

static int set_up(struct publisher *publisher, GError **error)
{
	struct link *link = publisher->link;

	if (link_open_channel(link, CHANNEL, error) != LINK_OK)
		return -1;
	(void)amqp_confirm_select(link_state(link), CHANNEL);
	if (link_check(link, "asking for confirms", error) != LINK_OK)
		return -1;
	if (topology_declare_exchange(link, CHANNEL, publisher->config, error) != LINK_OK)
		return -1;
	/* A refused declaration opened the channel anew, without confirms. */
	(void)amqp_confirm_select(link_state(link), CHANNEL);
	return link_check(link, "asking for confirms", error) == LINK_OK ? 0 : -1;
}

static void connect_now(struct publisher *publisher)
{
	GError *error = NULL;

	publisher->link = link_open(publisher->config, publisher->url, &publisher->next_server,
				    "novasnap publisher", &error);
	if (!publisher->link || set_up(publisher, &error) < 0) {
		g_prefix_error(&error, "cannot publish yet: ");
		disconnect(publisher, error);
		return;
	}
	publisher->last_tag = 0;
	publisher->pause_s = publisher->config->retry_interval_s;
	atomic_store(&publisher->ready, true);
	g_info("publishing at %s", link_peer(publisher->link));
}

static void set_stuck(struct publisher *publisher, int fd)
{
	pthread_mutex_lock(&publisher->lock);
	publisher->stuck_fd = fd;
	publisher->stuck_since = g_get_monotonic_time();
	pthread_mutex_unlock(&publisher->lock);
}

void publisher_watch(struct publisher *publisher)
{
	pthread_mutex_lock(&publisher->lock);
	if (publisher->stuck_fd >= 0) {
		gint64 limit = (publisher->stopping ? 1 : STUCK_S) * G_USEC_PER_SEC;

		if (g_get_monotonic_time() - publisher->stuck_since > limit)
			(void)shutdown(publisher->stuck_fd, SHUT_RDWR);
	}
	pthread_mutex_unlock(&publisher->lock);
}

static int declare_once(struct publisher *publisher, const char *queue, GError **error)
{
	enum link_result result;

	if (g_hash_table_contains(publisher->declared, queue))
		return 0;
	result = topology_declare_topic(publisher->link, CHANNEL, publisher->config, queue, error);
	if (result == LINK_LOST)
		return -1;
	g_clear_error(error);
	(void)amqp_confirm_select(link_state(publisher->link), CHANNEL);
	g_hash_table_add(publisher->declared, g_strdup(queue));
	return 0;
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
	amqp_bytes_t body = amqp_cstring_bytes(letter->message.body);
	int rc;

	if (letter->message.expiration_ms > 0) {
		g_snprintf(expiration, sizeof(expiration), "%u", letter->message.expiration_ms);
		properties._flags |= AMQP_BASIC_EXPIRATION_FLAG;
		properties.expiration = amqp_cstring_bytes(expiration);
	}
	if (letter->message.declare && declare_once(publisher, letter->key, error) < 0)
		return -1;
	set_stuck(publisher, link_fd(publisher->link));
	rc = amqp_basic_publish(
		link_state(publisher->link), CHANNEL, amqp_cstring_bytes(letter->exchange),
		amqp_cstring_bytes(letter->key), letter->message.mandatory, 0, &properties, body);
	set_stuck(publisher, -1);
	if (rc != AMQP_STATUS_OK) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "publishing to %s at %s: %s",
			    letter->key, link_peer(publisher->link), amqp_error_string2(rc));
		return -1;
	}
	letter->tag = ++publisher->last_tag;
	letter->returned = false;
	return 0;
}

static GError *too_late(const struct publisher *publisher, const struct letter *letter)
{
	if (letter->returned)
		return g_error_new(RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
				   "no queue takes messages for %s; does its service run?",
				   letter->key);
	return g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED,
			   "the broker did not take a message for %s in %u s%s", letter->key,
			   letter->message.timeout_s,
			   publisher->blocked ? "; it is blocked, out of memory or disk" : "");
}

/* The next one that may be sent now. Those that are too late end here. */
static struct letter *next_letter(struct publisher *publisher)
{
	gint64 now = g_get_monotonic_time();
	struct letter *found = NULL;
	GList *link, *next;
	GQueue late = G_QUEUE_INIT;
	struct letter *letter;

	pthread_mutex_lock(&publisher->lock);
	for (link = publisher->waiting.head; link && !found; link = next) {
		next = link->next;
		letter = link->data;
		if (letter->deadline > 0 && now > letter->deadline) {
			g_queue_delete_link(&publisher->waiting, link);
			g_queue_push_tail(&late, letter);
		} else if (publisher->link && !publisher->blocked && letter->not_before <= now &&
			   g_queue_get_length(&publisher->sent) < MAX_UNCONFIRMED) {
			g_queue_delete_link(&publisher->waiting, link);
			letter->state = LETTER_SENT;
			found = letter;
		}
	}
	pthread_mutex_unlock(&publisher->lock);
	while ((letter = g_queue_pop_head(&late)))
		letter_end(publisher, letter, too_late(publisher, letter));
	return found;
}

/* A broker that is blocked, or mute, confirms nothing: who waits for that is not kept longer. */
static void expire_sent(struct publisher *publisher)
{
	gint64 now = g_get_monotonic_time();

	for (GList *link = publisher->sent.head, *next; link; link = next) {
		struct letter *letter = link->data;

		next = link->next;
		if (letter->deadline > 0 && now > letter->deadline) {
			g_queue_delete_link(&publisher->sent, link);
			letter_end(publisher, letter, too_late(publisher, letter));
		}
	}
}

static void publish_waiting(struct publisher *publisher)
{
	struct letter *letter;

	while ((letter = next_letter(publisher))) {
		GError *error = NULL;

		/* Known as sent before it is: a failure puts it back with the others. */
		g_queue_push_tail(&publisher->sent, letter);
		if (publish_letter(publisher, letter, &error) < 0) {
			disconnect(publisher, error);
			return;
		}
	}
}

static void confirm(struct publisher *publisher, uint64_t tag, bool multiple, bool taken)
{
	GList *link = publisher->sent.head;

	while (link) {
		GList *next = link->next;
		struct letter *letter = link->data;
		GError *error = NULL;

		if (letter->tag > tag)
			return;
		if (letter->tag == tag || multiple) {
			g_queue_delete_link(&publisher->sent, link);
			if (letter->returned && letter->message.retry_unroutable) {
				letter->not_before = g_get_monotonic_time() + UNROUTABLE_PAUSE_US;
				pthread_mutex_lock(&publisher->lock);
				letter->state = LETTER_WAITS;
				g_queue_push_tail(&publisher->waiting, letter);
				pthread_mutex_unlock(&publisher->lock);
			} else {
				if (letter->returned)
					error = too_late(publisher, letter);
				else if (!taken)
					error = g_error_new(RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
							    "the broker refused a message for %s",
							    letter->key);
				letter_end(publisher, letter, error);
			}
		}
		link = next;
	}
}

/* A message that no queue took comes back before its confirmation: it is the first one of its key
 * that has not come back yet. */
static int take_returned(struct publisher *publisher, const amqp_basic_return_t *returned,
			 GError **error)
{
	g_autofree char *key = g_strndup(returned->routing_key.bytes, returned->routing_key.len);
	amqp_message_t message;
	amqp_rpc_reply_t reply;

	reply = amqp_read_message(link_state(publisher->link), CHANNEL, &message, 0);
	if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "reading a returned message at %s: %s", link_peer(publisher->link),
			    amqp_error_string2(reply.library_error));
		return -1;
	}
	amqp_destroy_message(&message);
	for (GList *link = publisher->sent.head; link; link = link->next) {
		struct letter *letter = link->data;

		if (!letter->returned && letter->message.mandatory &&
		    g_str_equal(letter->key, key)) {
			letter->returned = true;
			break;
		}
	}
	return 0;
}

static int take_method(struct publisher *publisher, const amqp_method_t *method, GError **error)
{
	switch (method->id) {
	case AMQP_BASIC_ACK_METHOD: {
		const amqp_basic_ack_t *ack = method->decoded;

		confirm(publisher, ack->delivery_tag, ack->multiple, true);
		return 0;
	}
	case AMQP_BASIC_NACK_METHOD: {
		const amqp_basic_nack_t *nack = method->decoded;

		confirm(publisher, nack->delivery_tag, nack->multiple, false);
		return 0;
	}
	case AMQP_BASIC_RETURN_METHOD:
		return take_returned(publisher, method->decoded, error);
	case AMQP_CONNECTION_BLOCKED_METHOD:
		publisher->blocked = true;
		g_warning("the broker at %s is blocked, out of memory or disk: messages wait",
			  link_peer(publisher->link));
		return 0;
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		publisher->blocked = false;
		g_message("the broker at %s takes messages again", link_peer(publisher->link));
		return 0;
	case AMQP_CHANNEL_CLOSE_METHOD: {
		const amqp_channel_close_t *closed = method->decoded;

		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "the broker at %s closed the channel: %d %.*s",
			    link_peer(publisher->link), closed->reply_code,
			    (int)MIN(closed->reply_text.len, 500),
			    (const char *)closed->reply_text.bytes);
		return -1;
	}
	case AMQP_CONNECTION_CLOSE_METHOD: {
		const amqp_connection_close_t *closed = method->decoded;

		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "the broker at %s closed the connection: %d %.*s",
			    link_peer(publisher->link), closed->reply_code,
			    (int)MIN(closed->reply_text.len, 500),
			    (const char *)closed->reply_text.bytes);
		return -1;
	}
	default:
		return 0;
	}
}

static void take_frames(struct publisher *publisher)
{
	for (;;) {
		struct timeval now = {0, 0};
		amqp_frame_t frame;
		GError *error = NULL;
		int rc = amqp_simple_wait_frame_noblock(link_state(publisher->link), &frame, &now);

		if (rc == AMQP_STATUS_TIMEOUT)
			break;
		if (rc != AMQP_STATUS_OK) {
			error = g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED, "%s: %s",
					    link_peer(publisher->link), amqp_error_string2(rc));
			disconnect(publisher, error);
			return;
		}
		if (frame.frame_type == AMQP_FRAME_METHOD &&
		    take_method(publisher, &frame.payload.method, &error) < 0) {
			disconnect(publisher, error);
			return;
		}
	}
	amqp_maybe_release_buffers(link_state(publisher->link));
}

/* Whether the thread shall go on. */
static bool goes_on(struct publisher *publisher)
{
	bool idle, on;

	pthread_mutex_lock(&publisher->lock);
	idle = g_queue_is_empty(&publisher->waiting) && g_queue_is_empty(&publisher->sent);
	on = !publisher->stopping ||
	     (!idle && publisher->link && g_get_monotonic_time() < publisher->stop_at);
	pthread_mutex_unlock(&publisher->lock);
	return on;
}

static void *publisher_main(void *opaque)
{
	struct publisher *publisher = opaque;

	while (goes_on(publisher)) {
		if (!publisher->link && g_get_monotonic_time() >= publisher->connect_at)
			connect_now(publisher);
		publish_waiting(publisher);
		expire_sent(publisher);
		link_poll(publisher->link, publisher->event_fd, POLL_MS);
		if (publisher->link)
			take_frames(publisher);
	}
	disconnect(publisher, NULL);
	return NULL;
}

static void publisher_free(struct publisher *publisher)
{
	g_hash_table_unref(publisher->declared);
	pthread_cond_destroy(&publisher->changed);
	pthread_mutex_destroy(&publisher->lock);
	(void)close(publisher->event_fd);
	g_free(publisher);
}

struct publisher *publisher_start(const struct rpc_config *config, const struct rpc_url *url,
				  GError **error)
{
	struct publisher *publisher = g_new0(struct publisher, 1);
	pthread_attr_t attributes;
	int rc;

	publisher->config = config;
	publisher->url = url;
	publisher->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	publisher->stuck_fd = -1;
	publisher->pause_s = config->retry_interval_s;
	publisher->declared = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_queue_init(&publisher->waiting);
	g_queue_init(&publisher->sent);
	pthread_mutex_init(&publisher->lock, NULL);
	pthread_cond_init(&publisher->changed, NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	rc = pthread_create(&publisher->thread, &attributes, publisher_main, publisher);
	pthread_attr_destroy(&attributes);
	if (rc == 0)
		return publisher;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED, "cannot start the publishing thread: %s",
		    g_strerror(rc));
	publisher_free(publisher);
	return NULL;
}

static void wake(struct publisher *publisher)
{
	uint64_t one = 1;

	(void)!write(publisher->event_fd, &one, sizeof(one));
}

/* A write that the broker does not take is broken off. */
static void join(struct publisher *publisher)
{
	struct timespec until;

	do {
		publisher_watch(publisher);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
	} while (pthread_clockjoin_np(publisher->thread, NULL, CLOCK_MONOTONIC, &until) != 0);
}

void publisher_stop(struct publisher *publisher, unsigned grace_s)
{
	struct letter *letter;

	pthread_mutex_lock(&publisher->lock);
	publisher->stopping = true;
	publisher->stop_at = g_get_monotonic_time() + (gint64)grace_s * G_USEC_PER_SEC;
	pthread_mutex_unlock(&publisher->lock);
	wake(publisher);
	join(publisher);
	while ((letter = g_queue_pop_head(&publisher->waiting)))
		letter_end(publisher, letter,
			   g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED,
				       "novasnap ended before the broker had taken it"));
	publisher_free(publisher);
}

bool publisher_ready(struct publisher *publisher)
{
	return atomic_load(&publisher->ready);
}

static struct letter *letter_new(const struct outgoing *message, bool waited)
{
	struct letter *letter = g_new0(struct letter, 1);

	letter->message = *message;
	letter->exchange = g_strdup(message->exchange);
	letter->key = g_strdup(message->key);
	letter->waited = waited;
	if (message->timeout_s > 0)
		letter->deadline =
			g_get_monotonic_time() + (gint64)message->timeout_s * G_USEC_PER_SEC;
	return letter;
}

int publisher_send(struct publisher *publisher, const struct outgoing *message, bool wait,
		   GError **error)
{
	struct letter *letter = letter_new(message, wait);
	bool full;
	int rc;

	pthread_mutex_lock(&publisher->lock);
	full = publisher->stopping ||
	       g_queue_get_length(&publisher->waiting) >= publisher->config->outbox_max;
	if (!full)
		g_queue_push_tail(&publisher->waiting, letter);
	pthread_mutex_unlock(&publisher->lock);
	if (full) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_OUTBOX_FULL,
			    "a message for %s is not sent: %u wait for the broker already",
			    letter->key, publisher->config->outbox_max);
		letter_free(letter);
		return -1;
	}
	wake(publisher);
	if (!wait)
		return 0;

	/* Ends always: a letter that is waited for has a deadline, and the thread looks at it. */
	pthread_mutex_lock(&publisher->lock);
	while (letter->state != LETTER_CONFIRMED && letter->state != LETTER_FAILED)
		pthread_cond_wait(&publisher->changed, &publisher->lock);
	rc = letter->state == LETTER_CONFIRMED ? 0 : -1;
	if (letter->error)
		g_propagate_error(error, g_steal_pointer(&letter->error));
	pthread_mutex_unlock(&publisher->lock);
	letter_free(letter);
	return rc;
}
