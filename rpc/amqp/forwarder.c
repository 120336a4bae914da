/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See forwarder.h.
 */
#include "rpc/amqp/forwarder.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "rpc/amqp/forward-answers.h"
#include "rpc/amqp/forwarder-excess.h"
#include "rpc/amqp/forwarder-queue.h"
#include "rpc/amqp/forwarder-receive.h"
#include "rpc/base.h"

#define THREAD_NAME "forwarding"
#define DRAIN_CHECK_US (G_USEC_PER_SEC / 5)
#define STUCK_WRITE_US (30 * G_USEC_PER_SEC)
/* Longer than the broker may take to answer. */
#define ACK_WAIT_S 30

struct forwarder {
	struct forwarder_link link;
	pthread_t thread;
	int event_fd;
	struct forward_answers *answers;

	pthread_cond_t changed; /* `ended` was set */
	/* Guarded by link.lock. */
	gint64 stop_at; /* monotonic us; 0: it does not stop */
	bool ended;

	gint64 drain_check_at; /* monotonic us; used only by the thread */
};

static void wake(struct forwarder *forwarder)
{
	uint64_t one = 1;

	(void)!write(forwarder->event_fd, &one, sizeof(one));
}

static void note_turn(struct forwarder *forwarder)
{
	pthread_mutex_lock(&forwarder->link.lock);
	forwarder->link.status.connected = forwarder->link.established;
	forwarder->link.status.connection = forwarder->link.connection_number;
	forwarder->link.status.consuming =
		forwarder->link.consuming || forwarder->link.excess.dropping;
	forwarder->link.status.refused = held_is_refused(forwarder->link.held);
	forwarder->link.status.held = held_count(forwarder->link.held);
	forwarder->link.status.stalled_since = held_stalled_since(forwarder->link.held);
	forwarder->link.status.canary_sent_at =
		forwarder->link.canary ? forwarder->link.canary_sent_at : 0;
	forwarder->link.status.turn_at = g_get_monotonic_time();
	pthread_mutex_unlock(&forwarder->link.lock);
}

/* The broker handles the methods of a channel in turn. */
static void ack_surely(struct forwarder *forwarder, struct held_message *message,
		       struct ack_wait *wait)
{
	struct forwarder_link *link = &forwarder->link;
	GError *error = NULL;

	if (!ack_wait_begin(wait))
		return;
	forwarder_link_count(link, &link->status.taken);
	forwarder_link_ack(link, message);
	if (link->connection &&
	    forwarder_queue_set_prefetch(link->connection, link->prefetch, &error) != BROKER_OK)
		forwarder_link_disconnect(link, error);
	ack_wait_end(wait, link->connection != NULL);
}

static void apply_answer(struct forwarder *forwarder, const struct forward_answer *answer)
{
	struct held_message *message;

	if (answer->tag.connection != forwarder->link.connection_number ||
	    !forwarder->link.connection)
		return;
	message = held_find(forwarder->link.held, answer->tag.number);
	if (!message)
		return;
	if (answer->kind == FORWARD_ANSWER_CONTROL) {
		g_free(message->answer);
		message->answer = g_strdup(answer->body);
	} else if (answer->kind == FORWARD_ANSWER_GIVE_UP) {
		held_wait(forwarder->link.held, message);
	} else if (answer->kind == FORWARD_ANSWER_ACK_SURELY) {
		ack_surely(forwarder, message, answer->wait);
	} else {
		forwarder_link_count(&forwarder->link, &forwarder->link.status.taken);
		forwarder_link_ack(&forwarder->link, message);
	}
}

static void apply_answers(struct forwarder *forwarder)
{
	guint count;
	const struct forward_answer *answers = forward_answers_take(forwarder->answers, &count);

	for (guint i = 0; i < count; i++) {
		apply_answer(forwarder, &answers[i]);
		if (answers[i].wait)
			ack_wait_end(answers[i].wait, false);
	}
}

/* Whether the queue is empty, of a forwarder that stops. */
static void check_drained(struct forwarder *forwarder)
{
	unsigned left = 0;
	GError *error = NULL;
	enum broker_result result;

	if (forwarder->link.excess.dropping)
		return;
	if (!forwarder->link.consuming) {
		forwarder->link.drained = true;
		return;
	}
	if (held_count(forwarder->link.held) > 0 ||
	    g_get_monotonic_time() < forwarder->drain_check_at)
		return;
	forwarder->drain_check_at = g_get_monotonic_time() + DRAIN_CHECK_US;
	result = forwarder_queue_count(forwarder->link.connection, forwarder->link.names->queue,
				       &left, &error);
	if (result == BROKER_LOST)
		forwarder_link_disconnect(&forwarder->link, g_steal_pointer(&error));
	g_clear_error(&error);
	forwarder->link.drained =
		result == BROKER_CHANNEL_CLOSED || (result == BROKER_OK && left == 0);
}

static bool must_continue(struct forwarder *forwarder)
{
	gint64 stop_at;

	pthread_mutex_lock(&forwarder->link.lock);
	stop_at = forwarder->stop_at;
	pthread_mutex_unlock(&forwarder->link.lock);
	if (stop_at == 0)
		return true;
	if (!forwarder->link.connection || g_get_monotonic_time() >= stop_at)
		return false;
	if (!forwarder->link.drained)
		check_drained(forwarder);
	return !forwarder->link.drained || forwarder->link.consuming ||
	       held_count(forwarder->link.held) > 0;
}

/* Without a queue to consume there is no connection. */
static void update_connection(struct forwarder *forwarder)
{
	bool wanted = atomic_load(&forwarder->link.wanted);

	if (wanted && !forwarder->link.connection &&
	    g_get_monotonic_time() >= forwarder->link.retry.not_before)
		forwarder_link_connect(&forwarder->link);
	else if (!wanted && forwarder->link.connection && !forwarder->link.consuming &&
		 held_count(forwarder->link.held) == 0) {
		broker_close(g_steal_pointer(&forwarder->link.connection));
		forwarder_link_forget(&forwarder->link);
	}
	if (!wanted)
		forwarder_link_set_problem(&forwarder->link, NULL, NULL);
}

static gint64 next_turn(const struct forwarder *forwarder, gint64 until)
{
	if (!forwarder->link.connection)
		return atomic_load(&forwarder->link.wanted) ? forwarder->link.retry.not_before
							    : G_MAXINT64;
	if (!forwarder->link.consuming && forwarder->link.pause_s > 0)
		until = MIN(until, forwarder->link.consume_at);
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
		forwarder_link_check_confirmation(&forwarder->link);
		update_connection(forwarder);
		forwarder_excess_update(&forwarder->link);
		forwarder_link_update_consuming(&forwarder->link);
		apply_answers(forwarder);
		forwarder_link_answer_oldest(&forwarder->link);
		if (forwarder->link.connection)
			forwarder_send_canary(&forwarder->link);
		until = forwarder_link_publish_waiting(&forwarder->link);
		broker_wait(forwarder->link.connection, forwarder->event_fd,
			    next_turn(forwarder, until));
		forwarder_read_frames(&forwarder->link);
	} while (must_continue(forwarder));
	broker_close(g_steal_pointer(&forwarder->link.connection));
	forwarder_link_forget(&forwarder->link);
	note_turn(forwarder);
	pthread_mutex_lock(&forwarder->link.lock);
	forwarder->ended = true;
	pthread_cond_signal(&forwarder->changed);
	pthread_mutex_unlock(&forwarder->link.lock);
	return NULL;
}

static void forwarder_free(struct forwarder *forwarder)
{
	forwarder_link_clear(&forwarder->link);
	forward_answers_free(forwarder->answers);
	pthread_cond_destroy(&forwarder->changed);
	(void)close(forwarder->event_fd);
	g_free(forwarder);
}

struct forwarder *forwarder_start(const struct rpc_config *config, const struct transport_url *url,
				  const struct rpc_beside_names *names,
				  const struct forwarder_ops *ops, GError **error)
{
	struct forwarder *forwarder = g_new0(struct forwarder, 1);

	forwarder_link_init(&forwarder->link, config, url, names, ops);
	forwarder->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_cond_init(&forwarder->changed, NULL);
	forwarder->answers = forward_answers_new();
	if (rpc_thread_start(&forwarder->thread, forwarder_main, forwarder, THREAD_NAME, error) ==
	    0)
		return forwarder;
	forwarder_free(forwarder);
	return NULL;
}

void forwarder_stop(struct forwarder *forwarder, unsigned grace_s)
{
	pthread_mutex_lock(&forwarder->link.lock);
	forwarder->stop_at = g_get_monotonic_time() + (gint64)grace_s * G_USEC_PER_SEC;
	wake(forwarder);
	/* A write that is stuck when the grace time is over is aborted. */
	while (!forwarder->ended) {
		struct timespec until = rpc_timespec(g_get_monotonic_time() + G_USEC_PER_SEC);

		write_watchdog_check(&forwarder->link.watchdog,
				     g_get_monotonic_time() > forwarder->stop_at ? 0
										 : STUCK_WRITE_US);
		(void)pthread_cond_clockwait(&forwarder->changed, &forwarder->link.lock,
					     CLOCK_MONOTONIC, &until);
	}
	pthread_mutex_unlock(&forwarder->link.lock);
	pthread_join(forwarder->thread, NULL);
	forwarder_free(forwarder);
}

void forwarder_want(struct forwarder *forwarder, bool wanted)
{
	if (atomic_exchange(&forwarder->link.wanted, wanted) != wanted)
		wake(forwarder);
}

void forwarder_want_canary(struct forwarder *forwarder, bool wanted)
{
	if (atomic_exchange(&forwarder->link.wants_canary, wanted) != wanted)
		wake(forwarder);
}

static void add_answer(struct forwarder *forwarder, enum forward_answer_kind kind,
		       const struct delivery_tag *tag, char *body, struct ack_wait *wait)
{
	const struct forward_answer answer = {kind, *tag, body, wait};

	forward_answers_add(forwarder->answers, &answer);
	wake(forwarder);
}

void forwarder_ack(struct forwarder *forwarder, const struct delivery_tag *tag)
{
	add_answer(forwarder, FORWARD_ANSWER_ACK, tag, NULL, NULL);
}

bool forwarder_ack_surely(struct forwarder *forwarder, const struct delivery_tag *tag)
{
	struct ack_wait *wait = ack_wait_new();
	bool is_acked;

	add_answer(forwarder, FORWARD_ANSWER_ACK_SURELY, tag, NULL, wait);
	is_acked = ack_wait_result(wait, ACK_WAIT_S);
	ack_wait_unref(wait);
	return is_acked;
}

void forwarder_give_up(struct forwarder *forwarder, const struct delivery_tag *tag)
{
	add_answer(forwarder, FORWARD_ANSWER_GIVE_UP, tag, NULL, NULL);
}

void forwarder_answer(struct forwarder *forwarder, const struct delivery_tag *tag, char *body)
{
	add_answer(forwarder, FORWARD_ANSWER_CONTROL, tag, body, NULL);
}

void forwarder_get_status(struct forwarder *forwarder, struct forwarder_status *ret_status)
{
	pthread_mutex_lock(&forwarder->link.lock);
	*ret_status = forwarder->link.status;
	ret_status->problem = g_strdup(forwarder->link.status.problem);
	pthread_mutex_unlock(&forwarder->link.lock);
}

void forwarder_check_stuck_write(struct forwarder *forwarder)
{
	write_watchdog_check(&forwarder->link.watchdog, STUCK_WRITE_US);
}
