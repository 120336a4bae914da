/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See forwarder-link.h.
 */
#include "rpc/amqp/forwarder-link.h"

#include <string.h>

#include "rpc/amqp/forward-publish.h"
#include "rpc/amqp/forwarder-queue.h"

/* How long the broker may take to confirm a copy. The watchdog gives the requests back before. */
#define CONFIRM_S 30

void forwarder_link_init(struct forwarder_link *link, const struct rpc_config *config,
			 const struct transport_url *url, const struct rpc_beside_names *names,
			 const struct forwarder_ops *ops)
{
	link->config = config;
	link->url = url;
	link->names = names;
	link->ops = *ops;
	link->key = g_strdup_printf("%s.%s", config->topic, config->host);
	link->prefetch = FORWARDER_PREFETCH;
	link->arriving.keeps_all = true;
	link->status.turn_at = link->status.progress_at = g_get_monotonic_time();
	link->held = held_new();
	link->excess.numbers = g_array_new(FALSE, FALSE, sizeof(uint64_t));
	write_watchdog_init(&link->watchdog);
	pthread_mutex_init(&link->lock, NULL);
	broker_retry_init(&link->retry, config, url);
}

void forwarder_link_clear(struct forwarder_link *link)
{
	held_free(link->held);
	g_array_unref(link->excess.numbers);
	broker_retry_clear(&link->retry);
	write_watchdog_destroy(&link->watchdog);
	pthread_mutex_destroy(&link->lock);
	g_free(link->status.problem);
	g_free(link->problem);
	g_free(link->key);
}

void forwarder_link_count(struct forwarder_link *link, uint64_t *counter)
{
	pthread_mutex_lock(&link->lock);
	(*counter)++;
	link->status.progress_at = g_get_monotonic_time();
	pthread_mutex_unlock(&link->lock);
}

/* A problem is logged once, until it is solved or becomes another one. */
void forwarder_link_set_problem(struct forwarder_link *link, const char *problem, const char *what)
{
	bool is_new = problem && g_strcmp0(link->problem, problem) != 0;

	if (is_new)
		g_warning("%s: %s", what, problem);
	else if (problem)
		g_info("%s: %s", what, problem);
	g_free(link->problem);
	link->problem = g_strdup(problem);
	pthread_mutex_lock(&link->lock);
	g_free(link->status.problem);
	link->status.problem = g_strdup(problem);
	pthread_mutex_unlock(&link->lock);
}

void forwarder_link_forget(struct forwarder_link *link)
{
	link->established = link->consuming = link->blocked = false;
	link->pause_s = 0;
	link->consume_at = 0;
	link->connection_number++;
	held_clear(link->held);
	link->excess.dropping = link->excess.cancelled = false;
	g_array_set_size(link->excess.numbers, 0);
	delivery_reset(&link->arriving);
	delivery_reset(&link->returning);
	g_clear_pointer(&link->canary, g_free);
}

void forwarder_link_disconnect(struct forwarder_link *link, GError *why)
{
	bool established = link->established;

	broker_abandon(g_steal_pointer(&link->connection));
	forwarder_link_forget(link);
	if (established)
		broker_retry_lost(&link->retry, link->config);
	else
		broker_retry_failed(&link->retry, link->config);
	forwarder_link_set_problem(link, why->message,
				   established ? "the forwarding connection is lost"
					       : "cannot forward yet");
	g_error_free(why);
}

void forwarder_link_connect(struct forwarder_link *link)
{
	GError *error = NULL;

	link->address = broker_retry_address(&link->retry, link->url);
	link->connection = broker_open(link->config, link->address, link->url->vhost,
				       "novasnap forwarder", &error);
	if (!link->connection ||
	    forwarder_queue_open_channels(link->connection, &error) != BROKER_OK) {
		forwarder_link_disconnect(link, error);
		return;
	}
	link->established = true;
	broker_retry_connected(&link->retry);
}

void forwarder_link_check_confirmation(struct forwarder_link *link)
{
	gint64 published_at = held_published_at(link->held);

	/* A broker that is blocked reads nothing, and notices the end of a connection only later.
	 */
	if (published_at == 0 || link->blocked ||
	    g_get_monotonic_time() - published_at < CONFIRM_S * G_USEC_PER_SEC)
		return;
	forwarder_link_disconnect(link, g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED,
						    "%s: the broker has not confirmed a message to "
						    "the queue %s within %d s",
						    broker_peer(link->connection),
						    link->names->nova_queue, CONFIRM_S));
}

/* The queue does not exist before `novasnap beside --enable`. */
static void refuse_consuming(struct forwarder_link *link, GError *why)
{
	link->pause_s = broker_retry_grow(link->pause_s, link->config);
	link->consume_at = g_get_monotonic_time() + broker_retry_jitter(link->pause_s);
	forwarder_link_set_problem(link, why->message,
				   "cannot take requests beside nova-compute yet");
	g_error_free(why);
}

void forwarder_link_update_consuming(struct forwarder_link *link)
{
	bool wanted = atomic_load(&link->wanted) && !link->drained;
	enum broker_result result;
	GError *error = NULL;

	if (!link->connection || wanted == link->consuming || link->excess.dropping ||
	    (wanted && g_get_monotonic_time() < link->consume_at))
		return;
	result = wanted ? forwarder_queue_consume(link->connection, link->names->queue,
						  link->prefetch, &error)
			: forwarder_queue_cancel(link->connection, link->names->queue, &error);
	if (result == BROKER_LOST || (result != BROKER_OK && !wanted)) {
		forwarder_link_disconnect(link, error);
	} else if (result != BROKER_OK) {
		refuse_consuming(link, error);
	} else {
		link->consuming = wanted;
		link->pause_s = 0;
		if (wanted)
			g_message("consuming the queue %s beside nova-compute", link->names->queue);
		forwarder_link_set_problem(link, NULL, NULL);
	}
}

void forwarder_link_check_sent(struct forwarder_link *link, int rc)
{
	if (rc == AMQP_STATUS_OK)
		return;
	forwarder_link_disconnect(link, g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED, "%s: %s",
						    broker_peer(link->connection),
						    amqp_error_string2(rc)));
}

/* After the loss of the connection the broker delivers the message again. */
static void ack_number(struct forwarder_link *link, uint64_t number)
{
	if (link->connection)
		forwarder_link_check_sent(link, amqp_basic_ack(broker_amqp_state(link->connection),
							       FORWARDER_CONSUME, number, 0));
}

void forwarder_link_ack(struct forwarder_link *link, struct held_message *message)
{
	uint64_t number = message->number;

	held_remove(link->held, message);
	ack_number(link, number);
}

/* The broker moves the message to nova-compute's queue by dead-lettering. */
static void dead_letter(struct forwarder_link *link, struct held_message *message, const char *why)
{
	uint64_t number = message->number;

	g_message("leaving a message of %zu bytes to the dead-lettering of the queue %s: %s",
		  message->raw->length, link->names->queue, why);
	held_remove(link->held, message);
	forwarder_link_count(link, &link->status.rejected);
	forwarder_link_check_sent(link, amqp_basic_reject(broker_amqp_state(link->connection),
							  FORWARDER_CONSUME, number, 0));
}

static void finish_copy(struct forwarder_link *link, struct held_message *message)
{
	gint64 now = g_get_monotonic_time();

	if (!message->answer) {
		pthread_mutex_lock(&link->lock);
		delays_add(&link->status.hops, now, now - message->arrived_at);
		pthread_mutex_unlock(&link->lock);
		forwarder_link_count(link, &link->status.forwarded);
	}
	ack_number(link, message->number);
}

static int publish_held(struct forwarder_link *link, struct held_message *message, GError **error)
{
	if (message->answer)
		return forward_publish_answer(link->connection, message->raw, message->answer,
					      error);
	return forward_publish_copy(link->connection, link->names->nova_queue, message->raw, error);
}

static void publish_one(struct forwarder_link *link, struct held_message *message)
{
	const char *obstacle =
		message->answer ? NULL : forward_find_obstacle(message->raw, link->address->user);
	GError *error = NULL;
	int rc;

	if (obstacle) {
		dead_letter(link, message, obstacle);
		return;
	}
	held_publish(link->held, message);
	write_watchdog_begin(&link->watchdog, broker_fd(link->connection));
	rc = publish_held(link, message, &error);
	write_watchdog_end(&link->watchdog);
	if (rc == 0)
		return;
	if (g_error_matches(error, RPC_ERROR, RPC_ERROR_REFUSED) && !message->answer)
		dead_letter(link, message, error->message);
	forwarder_link_disconnect(link, error);
}

/* Returns the time of the next try, monotonic us. */
gint64 forwarder_link_publish_waiting(struct forwarder_link *link)
{
	struct held_message *message;
	gint64 next = G_MAXINT64;

	while (link->connection && !link->blocked &&
	       (message = held_next_waiting(link->held, g_get_monotonic_time(), &next)))
		publish_one(link, message);
	return next;
}

/* A control message is answered when all messages before it were acked. */
void forwarder_link_answer_oldest(struct forwarder_link *link)
{
	struct held_message *oldest;

	while (link->connection && (oldest = held_oldest(link->held)) &&
	       oldest->state == HELD_CONTROL && oldest->answer) {
		if (!(oldest->raw->properties._flags & AMQP_BASIC_REPLY_TO_FLAG)) {
			forwarder_link_ack(link, oldest);
			continue;
		}
		held_wait(link->held, oldest);
		return;
	}
}

void forwarder_link_confirm(struct forwarder_link *link, uint64_t number, bool multiple,
			    bool accepted)
{
	struct held_message *done = NULL;
	enum held_result result = held_confirm(link->held, number, multiple, accepted, &done);
	g_autofree char *problem = NULL;

	if (result == HELD_FAILED) {
		problem = g_strdup_printf("the queue %s %s", link->names->nova_queue,
					  accepted ? "does not exist; is nova-compute running?"
						   : "takes nothing at the moment");
		forwarder_link_set_problem(link, problem, "cannot forward yet, and trying again");
	} else if (result == HELD_DONE) {
		if (link->problem)
			g_message("forwarding to %s again", link->names->nova_queue);
		forwarder_link_set_problem(link, NULL, NULL);
		finish_copy(link, done);
		held_message_free(done);
	}
}

/* The broker refuses the copy; or the canary, whose exchange does not exist. */
void forwarder_link_handle_refusal(struct forwarder_link *link, GError *why)
{
	bool of_canary = broker_reply_code(link->connection) == AMQP_NOT_FOUND;
	struct held_message *refused = held_channel_closed(link->held);
	GError *error = NULL;

	if (of_canary)
		g_info("%s", why->message);
	else if (refused && refused->answer)
		forwarder_link_ack(link, refused);
	else if (refused)
		dead_letter(link, refused, why->message);
	g_error_free(why);
	if (link->connection &&
	    broker_open_publishing(link->connection, FORWARDER_PUBLISH, &error) != BROKER_OK)
		forwarder_link_disconnect(link, error);
}
