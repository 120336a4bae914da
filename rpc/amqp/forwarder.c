/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See forwarder.h.
 */
#include "rpc/amqp/forwarder.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "rpc/amqp/forward-answers.h"
#include "rpc/amqp/forward-publish.h"
#include "rpc/amqp/forwarder-queue.h"
#include "rpc/amqp/held.h"
#include "rpc/amqp/retry.h"
#include "rpc/amqp/write-watchdog.h"
#include "rpc/base.h"

#define THREAD_NAME "forwarding"
/* After this many deliveries, answers and copies are sent. */
#define DELIVERIES_PER_TURN 32
/* At most this many messages wait to be acked by their receiver. More are forwarded, so that a
 * receiver that does not ack cannot keep the others waiting. */
#define TAKEN_MAX (FORWARDER_PREFETCH / 2)
#define CANARY_INTERVAL_US (30 * G_USEC_PER_SEC)
#define CANARY_LOST_US (10 * G_USEC_PER_SEC)
#define DRAIN_CHECK_US (G_USEC_PER_SEC / 5)
#define STUCK_WRITE_US (30 * G_USEC_PER_SEC)

struct forwarder {
	const struct rpc_config *config;
	const struct transport_url *url;
	const struct rpc_beside_names *names;
	struct forwarder_ops ops;
	char *key; /* of the requests to this host, and of the canary */
	pthread_t thread;
	int event_fd;
	struct forward_answers *answers;
	struct write_watchdog watchdog;
	atomic_bool wanted;
	atomic_bool wants_canary;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* `ended` was set */
	/* Guarded by the lock. */
	struct forwarder_status status;
	gint64 stop_at; /* monotonic us; 0: it does not stop */
	bool ended;

	/* Used only by the thread. */
	struct broker_connection *connection;
	const struct broker_address *address;
	struct broker_retry retry;
	unsigned connection_number;
	bool established;
	bool consuming;
	bool blocked;
	unsigned pause_s; /* after the broker has refused to let it consume; 0: it has not */
	gint64 consume_at;
	char *problem;
	struct held *held;
	struct delivery_assembler arriving, returning;
	bool from_nova_compute; /* the message that arrives was published by nova-compute */
	char *canary;		/* the id of the one that is under way */
	gint64 canary_sent_at;
	gint64 drain_check_at;
	bool drained;
};

static void wake(struct forwarder *forwarder)
{
	uint64_t one = 1;

	(void)!write(forwarder->event_fd, &one, sizeof(one));
}

static void note_turn(struct forwarder *forwarder)
{
	pthread_mutex_lock(&forwarder->lock);
	forwarder->status.connected = forwarder->established;
	forwarder->status.consuming = forwarder->consuming;
	forwarder->status.refused = held_is_refused(forwarder->held);
	forwarder->status.held = held_count(forwarder->held);
	forwarder->status.turn_at = g_get_monotonic_time();
	pthread_mutex_unlock(&forwarder->lock);
}

static void count_progress(struct forwarder *forwarder, uint64_t *counter)
{
	pthread_mutex_lock(&forwarder->lock);
	(*counter)++;
	forwarder->status.progress_at = g_get_monotonic_time();
	pthread_mutex_unlock(&forwarder->lock);
}

/* A problem is logged once, until it is solved or becomes another one. */
static void set_problem(struct forwarder *forwarder, const char *problem, const char *what)
{
	bool is_new = problem && g_strcmp0(forwarder->problem, problem) != 0;

	if (is_new)
		g_warning("%s: %s", what, problem);
	else if (problem)
		g_info("%s: %s", what, problem);
	g_free(forwarder->problem);
	forwarder->problem = g_strdup(problem);
	pthread_mutex_lock(&forwarder->lock);
	g_free(forwarder->status.problem);
	forwarder->status.problem = g_strdup(problem);
	pthread_mutex_unlock(&forwarder->lock);
}

static void forget_connection(struct forwarder *forwarder)
{
	forwarder->established = forwarder->consuming = forwarder->blocked = false;
	forwarder->pause_s = 0;
	forwarder->consume_at = 0;
	forwarder->connection_number++;
	held_clear(forwarder->held);
	delivery_reset(&forwarder->arriving);
	delivery_reset(&forwarder->returning);
	g_clear_pointer(&forwarder->canary, g_free);
}

static void disconnect(struct forwarder *forwarder, GError *why)
{
	bool established = forwarder->established;

	broker_abandon(g_steal_pointer(&forwarder->connection));
	forget_connection(forwarder);
	if (established)
		broker_retry_lost(&forwarder->retry, forwarder->config);
	else
		broker_retry_failed(&forwarder->retry, forwarder->config);
	set_problem(forwarder, why->message,
		    established ? "the forwarding connection is lost" : "cannot forward yet");
	g_error_free(why);
}

static void connect_to_broker(struct forwarder *forwarder)
{
	GError *error = NULL;

	forwarder->address = broker_retry_address(&forwarder->retry, forwarder->url);
	forwarder->connection = broker_open(forwarder->config, forwarder->address,
					    forwarder->url->vhost, "novasnap forwarder", &error);
	if (!forwarder->connection ||
	    forwarder_queue_open_channels(forwarder->connection, &error) != BROKER_OK) {
		disconnect(forwarder, error);
		return;
	}
	forwarder->established = true;
	broker_retry_connected(&forwarder->retry);
}

/* The queue does not exist before `novasnap beside --enable`. */
static void refuse_consuming(struct forwarder *forwarder, GError *why)
{
	const struct rpc_config *config = forwarder->config;

	forwarder->pause_s =
		forwarder->pause_s == 0
			? config->retry_interval_s
			: MIN(forwarder->pause_s + config->retry_backoff_s, config->interval_max_s);
	forwarder->consume_at = g_get_monotonic_time() + broker_retry_jitter(forwarder->pause_s);
	set_problem(forwarder, why->message, "cannot take requests beside nova-compute yet");
	g_error_free(why);
}

static void update_consuming(struct forwarder *forwarder)
{
	bool wanted = atomic_load(&forwarder->wanted) && !forwarder->drained;
	enum broker_result result;
	GError *error = NULL;

	if (!forwarder->connection || wanted == forwarder->consuming ||
	    (wanted && g_get_monotonic_time() < forwarder->consume_at))
		return;
	result = wanted ? forwarder_queue_consume(forwarder->connection, forwarder->names->queue,
						  &error)
			: forwarder_queue_cancel(forwarder->connection, forwarder->names->queue,
						 &error);
	if (result == BROKER_LOST || (result != BROKER_OK && !wanted)) {
		disconnect(forwarder, error);
	} else if (result != BROKER_OK) {
		refuse_consuming(forwarder, error);
	} else {
		forwarder->consuming = wanted;
		forwarder->pause_s = 0;
		if (wanted)
			g_message("consuming the queue %s beside nova-compute",
				  forwarder->names->queue);
		set_problem(forwarder, NULL, NULL);
	}
}

static void check_sent(struct forwarder *forwarder, int rc)
{
	if (rc == AMQP_STATUS_OK)
		return;
	disconnect(forwarder,
		   g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED, "%s: %s",
			       broker_peer(forwarder->connection), amqp_error_string2(rc)));
}

/* After the loss of the connection the broker delivers the message again. */
static void ack_number(struct forwarder *forwarder, uint64_t number)
{
	if (forwarder->connection)
		check_sent(forwarder, amqp_basic_ack(broker_amqp_state(forwarder->connection),
						     FORWARDER_CONSUME, number, 0));
}

static void ack_message(struct forwarder *forwarder, struct held_message *message)
{
	uint64_t number = message->number;

	held_remove(forwarder->held, message);
	ack_number(forwarder, number);
}

/* The broker moves the message to nova-compute's queue by dead-lettering. */
static void dead_letter(struct forwarder *forwarder, struct held_message *message, const char *why)
{
	uint64_t number = message->number;

	g_message("leaving a message of %zu bytes to the dead-lettering of the queue %s: %s",
		  message->raw->length, forwarder->names->queue, why);
	held_remove(forwarder->held, message);
	count_progress(forwarder, &forwarder->status.rejected);
	check_sent(forwarder, amqp_basic_reject(broker_amqp_state(forwarder->connection),
						FORWARDER_CONSUME, number, 0));
}

static void finish_copy(struct forwarder *forwarder, struct held_message *message)
{
	gint64 delay = g_get_monotonic_time() - message->arrived_at;

	if (!message->answer) {
		pthread_mutex_lock(&forwarder->lock);
		delays_add(&forwarder->status.hops, delay);
		pthread_mutex_unlock(&forwarder->lock);
		count_progress(forwarder, &forwarder->status.forwarded);
	}
	ack_number(forwarder, message->number);
}

static int publish_held(struct forwarder *forwarder, struct held_message *message, GError **error)
{
	if (message->answer)
		return forward_publish_answer(forwarder->connection, message->raw, message->answer,
					      error);
	return forward_publish_copy(forwarder->connection, forwarder->names->nova_queue,
				    message->raw, error);
}

static void publish_one(struct forwarder *forwarder, struct held_message *message)
{
	const char *obstacle =
		message->answer ? NULL
				: forward_find_obstacle(message->raw, forwarder->address->user);
	GError *error = NULL;
	int rc;

	if (obstacle) {
		dead_letter(forwarder, message, obstacle);
		return;
	}
	held_publish(forwarder->held, message);
	write_watchdog_begin(&forwarder->watchdog, broker_fd(forwarder->connection));
	rc = publish_held(forwarder, message, &error);
	write_watchdog_end(&forwarder->watchdog);
	if (rc == 0)
		return;
	if (g_error_matches(error, RPC_ERROR, RPC_ERROR_REFUSED) && !message->answer)
		dead_letter(forwarder, message, error->message);
	disconnect(forwarder, error);
}

/* Returns the time of the next try, monotonic us. */
static gint64 publish_waiting(struct forwarder *forwarder)
{
	struct held_message *message;
	gint64 next = G_MAXINT64;

	while (forwarder->connection && !forwarder->blocked &&
	       (message = held_next_waiting(forwarder->held, g_get_monotonic_time(), &next)))
		publish_one(forwarder, message);
	return next;
}

static void apply_answer(struct forwarder *forwarder, const struct forward_answer *answer)
{
	struct held_message *message;

	if (answer->tag.connection != forwarder->connection_number || !forwarder->connection)
		return;
	message = held_find(forwarder->held, answer->tag.number);
	if (!message)
		return;
	if (answer->kind == FORWARD_ANSWER_CONTROL) {
		g_free(message->answer);
		message->answer = g_strdup(answer->body);
	} else if (answer->kind == FORWARD_ANSWER_GIVE_UP) {
		held_wait(forwarder->held, message);
	} else {
		count_progress(forwarder, &forwarder->status.taken);
		ack_message(forwarder, message);
	}
}

static void apply_answers(struct forwarder *forwarder)
{
	guint count;
	const struct forward_answer *answers = forward_answers_take(forwarder->answers, &count);

	for (guint i = 0; i < count; i++)
		apply_answer(forwarder, &answers[i]);
}

/* A control message is answered when all messages before it were acked. */
static void answer_oldest(struct forwarder *forwarder)
{
	struct held_message *oldest;

	while (forwarder->connection && (oldest = held_oldest(forwarder->held)) &&
	       oldest->state == HELD_CONTROL && oldest->answer) {
		if (!(oldest->raw->properties._flags & AMQP_BASIC_REPLY_TO_FLAG)) {
			ack_message(forwarder, oldest);
			continue;
		}
		held_wait(forwarder->held, oldest);
		return;
	}
}

static void send_canary(struct forwarder *forwarder)
{
	gint64 age = g_get_monotonic_time() - forwarder->canary_sent_at;
	GError *error = NULL;

	if (!forwarder->consuming || forwarder->blocked || !atomic_load(&forwarder->wants_canary) ||
	    (forwarder->canary_sent_at > 0 && age < CANARY_INTERVAL_US))
		return;
	if (forwarder->canary)
		g_warning("a message to %s did not arrive within %d s: look at the bindings by "
			  "`novasnap beside --status`",
			  forwarder->key, (int)(CANARY_INTERVAL_US / G_USEC_PER_SEC));
	g_free(forwarder->canary);
	forwarder->canary = rpc_hex_id();
	forwarder->canary_sent_at = g_get_monotonic_time();
	held_publish_other(forwarder->held);
	if (forward_publish_canary(forwarder->connection, forwarder->config->control_exchange,
				   forwarder->key, forwarder->canary, &error) < 0)
		disconnect(forwarder, error);
}

/* One of an earlier process, or of an earlier connection, says nothing. */
static void receive_canary(struct forwarder *forwarder, const struct raw_message *raw)
{
	gint64 delay = g_get_monotonic_time() - forwarder->canary_sent_at;

	if (!forwarder->canary || !forward_has_text(raw, AMQP_BASIC_MESSAGE_ID_FLAG,
						    raw->properties.message_id, forwarder->canary))
		return;
	g_clear_pointer(&forwarder->canary, g_free);
	pthread_mutex_lock(&forwarder->lock);
	delays_add(&forwarder->status.canary, delay);
	pthread_mutex_unlock(&forwarder->lock);
	if (delay > CANARY_LOST_US)
		g_warning("a message to %s took %.1f s to arrive", forwarder->key,
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

static void hold_control(struct forwarder *forwarder, const struct delivery *delivery,
			 struct raw_message *raw, const char *type)
{
	const amqp_basic_properties_t *properties = &raw->properties;
	g_autofree char *id =
		properties->_flags & AMQP_BASIC_MESSAGE_ID_FLAG
			? g_strndup(properties->message_id.bytes, properties->message_id.len)
			: g_strdup("");

	(void)held_add(forwarder->held, delivery->tag.number, raw, HELD_CONTROL);
	forwarder->ops.control(delivery, type, id, forwarder->ops.opaque);
}

static void receive_message(struct forwarder *forwarder)
{
	const struct delivery delivery = delivery_describe(
		&forwarder->arriving, forwarder->connection_number, FORWARDER_CONSUME);
	struct raw_message *raw =
		delivery.raw ? raw_message_copy(delivery.raw, delivery.body, delivery.length)
			     : NULL;
	const char *type;
	bool taken;

	/* As g_malloc does. */
	if (!raw)
		g_error("no memory for a message of %zu bytes", delivery.length);
	type = find_control_type(raw);
	if (type == NULL) {
		taken = !forwarder->from_nova_compute &&
			held_count_taken(forwarder->held) < TAKEN_MAX &&
			forwarder->ops.take(&delivery, forwarder->ops.opaque);
	} else if (!g_str_equal(type, FORWARD_TYPE_CANARY)) {
		hold_control(forwarder, &delivery, raw, type);
		return;
	}
	if (type || forwarder->from_nova_compute) {
		struct held_message *message =
			held_add(forwarder->held, delivery.tag.number, raw, HELD_TAKEN);

		if (type)
			receive_canary(forwarder, raw);
		ack_message(forwarder, message);
		return;
	}
	(void)held_add(forwarder->held, delivery.tag.number, raw,
		       taken ? HELD_TAKEN : HELD_WAITING);
	pthread_mutex_lock(&forwarder->lock);
	forwarder->status.progress_at = g_get_monotonic_time();
	pthread_mutex_unlock(&forwarder->lock);
}

static void begin_delivery(struct forwarder *forwarder, const amqp_basic_deliver_t *method)
{
	const char *exchange = forwarder->names->exchange;

	delivery_begin(&forwarder->arriving, method->delivery_tag, method->consumer_tag);
	forwarder->from_nova_compute =
		method->exchange.len == strlen(exchange) &&
		memcmp(method->exchange.bytes, exchange, method->exchange.len) == 0;
}

static void confirm(struct forwarder *forwarder, uint64_t number, bool multiple, bool accepted)
{
	g_autoptr(GPtrArray) done =
		g_ptr_array_new_with_free_func((GDestroyNotify)held_message_free);
	unsigned failed = held_confirm(forwarder->held, number, multiple, accepted, done);
	g_autofree char *problem = NULL;

	for (guint i = 0; i < done->len; i++)
		finish_copy(forwarder, done->pdata[i]);
	if (!forwarder->connection)
		return;
	if (failed > 0) {
		problem = g_strdup_printf("the queue %s %s", forwarder->names->nova_queue,
					  accepted ? "does not exist; is nova-compute running?"
						   : "takes nothing at the moment");
		set_problem(forwarder, problem, "cannot forward yet, and trying again");
	} else if (!held_is_refused(forwarder->held)) {
		if (forwarder->problem)
			g_message("forwarding to %s again", forwarder->names->nova_queue);
		set_problem(forwarder, NULL, NULL);
	}
}

static void handle_method(struct forwarder *forwarder, const amqp_method_t *method)
{
	switch (method->id) {
	case AMQP_BASIC_DELIVER_METHOD:
		begin_delivery(forwarder, method->decoded);
		break;
	case AMQP_BASIC_RETURN_METHOD:
		delivery_begin(&forwarder->returning, 0, amqp_empty_bytes);
		break;
	case AMQP_BASIC_ACK_METHOD: {
		const amqp_basic_ack_t *ack = method->decoded;

		confirm(forwarder, ack->delivery_tag, ack->multiple, true);
		break;
	}
	case AMQP_BASIC_NACK_METHOD: {
		const amqp_basic_nack_t *nack = method->decoded;

		confirm(forwarder, nack->delivery_tag, nack->multiple, false);
		break;
	}
	case AMQP_BASIC_CANCEL_METHOD:
		forwarder->consuming = false;
		g_message("the queue %s was deleted", forwarder->names->queue);
		break;
	case AMQP_CONNECTION_BLOCKED_METHOD:
		forwarder->blocked = true;
		g_warning("%s: the broker is blocked: it is out of memory or disk space; messages "
			  "wait",
			  broker_peer(forwarder->connection));
		break;
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		forwarder->blocked = false;
		break;
	default:
		break;
	}
}

/* Returns how many deliveries are complete by this frame: 0 or 1; -1 with an error. */
static int handle_content(struct forwarder *forwarder, const amqp_frame_t *frame, GError **error)
{
	bool arrives = frame->channel == FORWARDER_CONSUME;
	struct delivery_assembler *assembler =
		arrives ? &forwarder->arriving : &forwarder->returning;
	int rc = delivery_add_frame(assembler, frame, error);

	if (rc <= 0)
		return rc;
	if (arrives)
		receive_message(forwarder);
	else
		held_return(forwarder->held, assembler->body, assembler->length);
	delivery_reset(assembler);
	return arrives;
}

/* The broker refuses one of the copies. */
static void handle_refusal(struct forwarder *forwarder, GError *why)
{
	struct held_message *refused = held_channel_closed(forwarder->held);
	GError *error = NULL;

	if (refused && refused->answer)
		ack_message(forwarder, refused);
	else if (refused)
		dead_letter(forwarder, refused, why->message);
	g_error_free(why);
	if (forwarder->connection &&
	    forwarder_queue_open_publishing(forwarder->connection, &error) != BROKER_OK)
		disconnect(forwarder, error);
}

/* Returns 1 if a delivery is complete by this frame, else 0; -1: no frame is left to read. */
static int read_frame(struct forwarder *forwarder)
{
	amqp_frame_t frame;
	GError *error = NULL;
	enum broker_result result = broker_next_frame(forwarder->connection, &frame, &error);
	int rc = 0;

	if (result == BROKER_CHANNEL_CLOSED && frame.channel == FORWARDER_PUBLISH) {
		handle_refusal(forwarder, error);
		return 0;
	}
	if (result == BROKER_OK && frame.frame_type == 0)
		return -1;
	if (result == BROKER_OK && frame.frame_type == AMQP_FRAME_METHOD)
		handle_method(forwarder, &frame.payload.method);
	else if (result == BROKER_OK && frame.channel != 0)
		rc = handle_content(forwarder, &frame, &error);
	if (error)
		disconnect(forwarder, error);
	return MAX(rc, 0);
}

static void read_frames(struct forwarder *forwarder)
{
	int rc = 0;

	for (unsigned deliveries = 0; forwarder->connection && rc >= 0 &&
				      deliveries<DELIVERIES_PER_TURN; deliveries += rc> 0) {
		rc = read_frame(forwarder);
		if (forwarder->connection)
			amqp_maybe_release_buffers(broker_amqp_state(forwarder->connection));
	}
}

/* Whether the queue is empty, of a forwarder that stops. */
static void check_drained(struct forwarder *forwarder)
{
	unsigned left = 0;
	GError *error = NULL;
	enum broker_result result;

	if (!forwarder->consuming) {
		forwarder->drained = true;
		return;
	}
	if (held_count(forwarder->held) > 0 || g_get_monotonic_time() < forwarder->drain_check_at)
		return;
	forwarder->drain_check_at = g_get_monotonic_time() + DRAIN_CHECK_US;
	result = forwarder_queue_count(forwarder->connection, forwarder->names->queue, &left,
				       &error);
	if (result == BROKER_LOST)
		disconnect(forwarder, g_steal_pointer(&error));
	g_clear_error(&error);
	forwarder->drained = result == BROKER_CHANNEL_CLOSED || (result == BROKER_OK && left == 0);
}

static bool must_continue(struct forwarder *forwarder)
{
	gint64 stop_at;

	pthread_mutex_lock(&forwarder->lock);
	stop_at = forwarder->stop_at;
	pthread_mutex_unlock(&forwarder->lock);
	if (stop_at == 0)
		return true;
	if (!forwarder->connection || g_get_monotonic_time() >= stop_at)
		return false;
	if (!forwarder->drained)
		check_drained(forwarder);
	return !forwarder->drained || forwarder->consuming || held_count(forwarder->held) > 0;
}

/* Without a queue to consume there is no connection. */
static void update_connection(struct forwarder *forwarder)
{
	bool wanted = atomic_load(&forwarder->wanted);

	if (wanted && !forwarder->connection &&
	    g_get_monotonic_time() >= forwarder->retry.not_before)
		connect_to_broker(forwarder);
	else if (!wanted && forwarder->connection && !forwarder->consuming &&
		 held_count(forwarder->held) == 0) {
		broker_close(g_steal_pointer(&forwarder->connection));
		forget_connection(forwarder);
	}
	if (!wanted)
		set_problem(forwarder, NULL, NULL);
}

static gint64 next_turn(const struct forwarder *forwarder, gint64 until)
{
	if (!forwarder->connection)
		return atomic_load(&forwarder->wanted) ? forwarder->retry.not_before : G_MAXINT64;
	if (!forwarder->consuming && forwarder->pause_s > 0)
		until = MIN(until, forwarder->consume_at);
	if (forwarder->drain_check_at > 0)
		until = MIN(until, g_get_monotonic_time() + DRAIN_CHECK_US);
	return until;
}

static void *forwarder_main(void *opaque)
{
	struct forwarder *forwarder = opaque;

	(void)pthread_setname_np(pthread_self(), THREAD_NAME);
	do {
		gint64 until = G_MAXINT64;

		note_turn(forwarder);
		update_connection(forwarder);
		update_consuming(forwarder);
		apply_answers(forwarder);
		answer_oldest(forwarder);
		if (forwarder->connection)
			send_canary(forwarder);
		until = publish_waiting(forwarder);
		broker_wait(forwarder->connection, forwarder->event_fd,
			    next_turn(forwarder, until));
		read_frames(forwarder);
	} while (must_continue(forwarder));
	broker_close(g_steal_pointer(&forwarder->connection));
	forget_connection(forwarder);
	note_turn(forwarder);
	pthread_mutex_lock(&forwarder->lock);
	forwarder->ended = true;
	pthread_cond_signal(&forwarder->changed);
	pthread_mutex_unlock(&forwarder->lock);
	return NULL;
}

static void forwarder_free(struct forwarder *forwarder)
{
	held_free(forwarder->held);
	forward_answers_free(forwarder->answers);
	broker_retry_clear(&forwarder->retry);
	write_watchdog_destroy(&forwarder->watchdog);
	pthread_cond_destroy(&forwarder->changed);
	pthread_mutex_destroy(&forwarder->lock);
	(void)close(forwarder->event_fd);
	g_free(forwarder->status.problem);
	g_free(forwarder->problem);
	g_free(forwarder->key);
	g_free(forwarder);
}

struct forwarder *forwarder_start(const struct rpc_config *config, const struct transport_url *url,
				  const struct rpc_beside_names *names,
				  const struct forwarder_ops *ops, GError **error)
{
	struct forwarder *forwarder = g_new0(struct forwarder, 1);

	forwarder->config = config;
	forwarder->url = url;
	forwarder->names = names;
	forwarder->ops = *ops;
	forwarder->key = g_strdup_printf("%s.%s", config->topic, config->host);
	forwarder->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	write_watchdog_init(&forwarder->watchdog);
	pthread_mutex_init(&forwarder->lock, NULL);
	pthread_cond_init(&forwarder->changed, NULL);
	forwarder->answers = forward_answers_new();
	broker_retry_init(&forwarder->retry, config, url);
	forwarder->held = held_new();
	forwarder->arriving.keeps_all = forwarder->returning.keeps_all = true;
	forwarder->status.turn_at = forwarder->status.progress_at = g_get_monotonic_time();
	if (rpc_thread_start(&forwarder->thread, forwarder_main, forwarder, THREAD_NAME, error) ==
	    0)
		return forwarder;
	forwarder_free(forwarder);
	return NULL;
}

void forwarder_stop(struct forwarder *forwarder, unsigned grace_s)
{
	pthread_mutex_lock(&forwarder->lock);
	forwarder->stop_at = g_get_monotonic_time() + (gint64)grace_s * G_USEC_PER_SEC;
	wake(forwarder);
	/* A write that is stuck when the grace time is over is aborted. */
	while (!forwarder->ended) {
		struct timespec until = rpc_timespec(g_get_monotonic_time() + G_USEC_PER_SEC);

		write_watchdog_check(&forwarder->watchdog,
				     g_get_monotonic_time() > forwarder->stop_at ? 0
										 : STUCK_WRITE_US);
		(void)pthread_cond_clockwait(&forwarder->changed, &forwarder->lock, CLOCK_MONOTONIC,
					     &until);
	}
	pthread_mutex_unlock(&forwarder->lock);
	pthread_join(forwarder->thread, NULL);
	forwarder_free(forwarder);
}

void forwarder_want(struct forwarder *forwarder, bool wanted)
{
	if (atomic_exchange(&forwarder->wanted, wanted) != wanted)
		wake(forwarder);
}

void forwarder_want_canary(struct forwarder *forwarder, bool wanted)
{
	if (atomic_exchange(&forwarder->wants_canary, wanted) != wanted)
		wake(forwarder);
}

static void add_answer(struct forwarder *forwarder, enum forward_answer_kind kind,
		       const struct delivery_tag *tag, char *body)
{
	forward_answers_add(forwarder->answers, kind, tag, body);
	wake(forwarder);
}

void forwarder_ack(struct forwarder *forwarder, const struct delivery_tag *tag)
{
	add_answer(forwarder, FORWARD_ANSWER_ACK, tag, NULL);
}

void forwarder_give_up(struct forwarder *forwarder, const struct delivery_tag *tag)
{
	add_answer(forwarder, FORWARD_ANSWER_GIVE_UP, tag, NULL);
}

void forwarder_answer(struct forwarder *forwarder, const struct delivery_tag *tag, char *body)
{
	add_answer(forwarder, FORWARD_ANSWER_CONTROL, tag, body);
}

void forwarder_get_status(struct forwarder *forwarder, struct forwarder_status *ret_status)
{
	pthread_mutex_lock(&forwarder->lock);
	*ret_status = forwarder->status;
	ret_status->problem = g_strdup(forwarder->status.problem);
	pthread_mutex_unlock(&forwarder->lock);
}

void forwarder_check_stuck_write(struct forwarder *forwarder)
{
	write_watchdog_check(&forwarder->watchdog, STUCK_WRITE_US);
}
