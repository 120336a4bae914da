/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See mover.h.
 */
#include "rpc/amqp/mover.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "rpc/amqp/declarations.h"
#include "rpc/amqp/raw-publish.h"
#include "rpc/amqp/retry.h"
#include "rpc/amqp/topology.h"
#include "rpc/base.h"

/* Declarations use a separate channel: an error closes it, and confirms would end. */
#define MOVER_CHANNEL 1
#define MOVER_DECLARE_CHANNEL 2
#define MOVER_CONFIRM_US (10 * G_USEC_PER_SEC)
#define MOVER_PAUSE_MAX_S 30
/* A connection that moves nothing for this long is closed: a large cloud has one less per host. */
#define MOVER_IDLE_US (10 * G_USEC_PER_SEC)
/* How long a write may be stuck while the mover stops. */
#define MOVER_STUCK_US G_USEC_PER_SEC

struct waiting_message {
	struct raw_message *message;
	mover_done done;
	void *opaque;
};

struct mover {
	const struct rpc_config *config;
	const struct transport_url *url;
	const char *queue;
	pthread_t thread;
	int event_fd;
	struct write_watchdog watchdog;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* `ended` was set */
	/* Guarded by the lock. */
	GQueue waiting; /* struct waiting_message; the thread uses the first one without the lock */
	size_t bytes;	/* of their bodies */
	bool stopping;
	bool ended;
	gint64 stop_at; /* monotonic us */

	/* Used only by the thread. */
	gint64 failing_since; /* monotonic us: no message was moved since; 0: the last one was */
	struct broker_connection *connection;
	bool is_idle;	/* there is no connection, because nothing was moved */
	gint64 used_at; /* monotonic us: when the connection was last needed */
	struct broker_retry retry;
	bool loss_logged;  /* since the last connection */
	unsigned refusals; /* of the first message, in turn */
	gint64 not_before; /* monotonic us: when it is tried again */
};

static void mover_disconnect(struct mover *mover, bool established, GError *why)
{
	broker_abandon(g_steal_pointer(&mover->connection));
	if (established)
		broker_retry_lost(&mover->retry, mover->config);
	else
		broker_retry_failed(&mover->retry, mover->config);
	g_warning("cannot move messages to the queue %s: %s", mover->queue, why->message);
	mover->loss_logged = true;
	g_error_free(why);
}

static int mover_declare(struct mover *mover, GError **error)
{
	g_autoptr(GPtrArray) queue = declarations_of_unhandled(mover->config, mover->queue);

	return topology_declare(mover->connection, MOVER_DECLARE_CHANNEL, queue, error) == BROKER_OK
		       ? 0
		       : -1;
}

static struct waiting_message *mover_first(struct mover *mover)
{
	struct waiting_message *first;

	pthread_mutex_lock(&mover->lock);
	first = g_queue_peek_head(&mover->waiting);
	pthread_mutex_unlock(&mover->lock);
	return first;
}

static void mover_connect(struct mover *mover)
{
	GError *error = NULL;

	mover->is_idle = false;
	mover->connection =
		broker_open(mover->config, broker_retry_address(&mover->retry, mover->url),
			    mover->url->vhost, "novasnap mover", &error);
	if (!mover->connection ||
	    broker_open_publishing(mover->connection, MOVER_CHANNEL, &error) != BROKER_OK ||
	    broker_open_channel(mover->connection, MOVER_DECLARE_CHANNEL, &error) != BROKER_OK ||
	    mover_declare(mover, &error) < 0) {
		mover_disconnect(mover, false, error);
		return;
	}
	broker_retry_connected(&mover->retry);
	mover->used_at = g_get_monotonic_time();
	mover->not_before = 0;
	if (mover->loss_logged)
		g_message("moving messages to the queue %s is possible again", mover->queue);
	mover->loss_logged = false;
	if (!mover_first(mover))
		mover->failing_since = 0;
}

static void end_message(struct mover *mover, struct waiting_message *ended, enum mover_end end)
{
	pthread_mutex_lock(&mover->lock);
	g_queue_remove(&mover->waiting, ended);
	mover->bytes -= ended->message->length;
	pthread_mutex_unlock(&mover->lock);
	ended->done(end, ended->message, ended->opaque);
	raw_message_free(ended->message);
	g_free(ended);
}

/* The newest message, if more wait than may wait while the queue takes nothing. NULL: not so. */
static struct waiting_message *mover_excess(struct mover *mover)
{
	unsigned limit = mover->config->prefetch > 0 ? MAX(mover->config->prefetch / 2, 1)
						     : MOVER_MAX_MESSAGES / 2;
	struct waiting_message *newest = NULL;

	if (mover->failing_since == 0 ||
	    g_get_monotonic_time() - mover->failing_since < MOVER_PATIENCE_S * G_USEC_PER_SEC)
		return NULL;
	pthread_mutex_lock(&mover->lock);
	if (mover->waiting.length > limit)
		newest = g_queue_peek_tail(&mover->waiting);
	pthread_mutex_unlock(&mover->lock);
	return newest;
}

/* Only the first refusal of several is a warning: the reason seldom changes. */
static void note_refusal(struct mover *mover, GError *why)
{
	unsigned pause_s = MIN(1U << MIN(mover->refusals, 5), MOVER_PAUSE_MAX_S);

	g_log(G_LOG_DOMAIN, mover->refusals == 0 ? G_LOG_LEVEL_WARNING : G_LOG_LEVEL_INFO,
	      "cannot move a message to the queue %s: %s; it stays in its own queue, and is tried "
	      "again every %d s; make room with `novasnap replay --unhandled`",
	      mover->queue, why->message, MOVER_PAUSE_MAX_S);
	g_error_free(why);
	mover->refusals++;
	mover->not_before = g_get_monotonic_time() + broker_retry_jitter(pause_s);
}

/* Returns whether the message is moved. */
static bool move_message(struct mover *mover, const struct raw_message *message)
{
	GError *error = NULL;

	/* The queue may have been deleted. */
	if (mover->refusals > 0 && mover_declare(mover, &error) < 0) {
		mover_disconnect(mover, true, error);
		return false;
	}
	switch (raw_publish(mover->connection, MOVER_CHANNEL, mover->queue, message,
			    &mover->watchdog, g_get_monotonic_time() + MOVER_CONFIRM_US, &error)) {
	case RAW_PUBLISH_CONFIRMED:
		mover->failing_since = 0;
		if (mover->refusals > 0)
			g_message("the queue %s takes messages again", mover->queue);
		mover->refusals = 0;
		return true;
	case RAW_PUBLISH_REFUSED:
		note_refusal(mover, error);
		return false;
	case RAW_PUBLISH_LOST:
	default:
		mover_disconnect(mover, true, error);
		return false;
	}
}

static bool must_continue(struct mover *mover)
{
	bool stopping, in_time, has_work;

	pthread_mutex_lock(&mover->lock);
	stopping = mover->stopping;
	in_time = g_get_monotonic_time() < mover->stop_at;
	has_work = !g_queue_is_empty(&mover->waiting);
	pthread_mutex_unlock(&mover->lock);
	return !stopping || (in_time && has_work && (mover->connection || mover->is_idle) &&
			     mover->refusals == 0);
}

/* Reads what the broker sends while nothing is published, such as the end of the connection. */
static void mover_read_frames(struct mover *mover)
{
	GError *error = NULL;
	amqp_frame_t frame = {.frame_type = 0};

	do {
		if (broker_next_frame(mover->connection, &frame, &error) != BROKER_OK) {
			mover_disconnect(mover, true, error);
			return;
		}
		amqp_maybe_release_buffers(broker_amqp_state(mover->connection));
	} while (frame.frame_type != 0);
}

/* The declared queue stays, since it is durable. */
static void close_if_idle(struct mover *mover, gint64 now)
{
	if (!mover->connection || now - mover->used_at < MOVER_IDLE_US)
		return;
	broker_close(g_steal_pointer(&mover->connection));
	mover->is_idle = true;
}

/* Until when nothing is to be done, unless a message or the broker comes. */
static gint64 wait_until(const struct mover *mover, const struct waiting_message *first)
{
	if (!mover->connection)
		return mover->is_idle && !first ? G_MAXINT64 : mover->retry.not_before;
	return first ? mover->not_before : mover->used_at + MOVER_IDLE_US;
}

static void *mover_main(void *opaque)
{
	struct mover *mover = opaque;

	while (must_continue(mover)) {
		struct waiting_message *first = mover_first(mover), *excess;
		gint64 now = g_get_monotonic_time();

		if (!mover->connection && now >= mover->retry.not_before &&
		    (first || !mover->is_idle))
			mover_connect(mover);
		if (mover->connection && first && now >= mover->not_before) {
			mover->used_at = now;
			if (move_message(mover, first->message))
				end_message(mover, first, MOVER_MOVED);
			else if (mover->failing_since == 0)
				mover->failing_since = now;
			continue;
		}
		if (!first)
			close_if_idle(mover, now);
		if (!mover->connection && !mover->is_idle && mover->failing_since == 0)
			mover->failing_since = now;
		while ((excess = mover_excess(mover)))
			end_message(mover, excess, MOVER_GIVEN_UP);
		broker_wait(mover->connection, mover->event_fd, wait_until(mover, first));
		if (mover->connection)
			mover_read_frames(mover);
	}
	broker_close(g_steal_pointer(&mover->connection));
	pthread_mutex_lock(&mover->lock);
	mover->ended = true;
	pthread_cond_signal(&mover->changed);
	pthread_mutex_unlock(&mover->lock);
	return NULL;
}

static void mover_free(struct mover *mover)
{
	broker_retry_clear(&mover->retry);
	write_watchdog_destroy(&mover->watchdog);
	pthread_cond_destroy(&mover->changed);
	pthread_mutex_destroy(&mover->lock);
	(void)close(mover->event_fd);
	g_free(mover);
}

struct mover *mover_start(const struct rpc_config *config, const struct transport_url *url,
			  const char *queue, GError **error)
{
	struct mover *mover = g_new0(struct mover, 1);

	mover->config = config;
	mover->url = url;
	mover->queue = queue;
	mover->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	write_watchdog_init(&mover->watchdog);
	broker_retry_init(&mover->retry, config, url);
	g_queue_init(&mover->waiting);
	pthread_mutex_init(&mover->lock, NULL);
	pthread_cond_init(&mover->changed, NULL);
	if (rpc_thread_start(&mover->thread, mover_main, mover, "moving", error) == 0)
		return mover;
	mover_free(mover);
	return NULL;
}

static void mover_wake(struct mover *mover)
{
	uint64_t one = 1;

	(void)!write(mover->event_fd, &one, sizeof(one));
}

bool mover_add(struct mover *mover, struct raw_message *message, mover_done done, void *opaque)
{
	struct waiting_message *added;
	bool has_room;

	pthread_mutex_lock(&mover->lock);
	has_room =
		mover->waiting.length == 0 || (mover->waiting.length < MOVER_MAX_MESSAGES &&
					       mover->bytes + message->length <= MOVER_MAX_BYTES);
	if (has_room) {
		added = g_new0(struct waiting_message, 1);
		*added = (struct waiting_message){message, done, opaque};
		g_queue_push_tail(&mover->waiting, added);
		mover->bytes += message->length;
	}
	pthread_mutex_unlock(&mover->lock);
	if (has_room)
		mover_wake(mover);
	return has_room;
}

unsigned mover_count(struct mover *mover)
{
	unsigned count;

	pthread_mutex_lock(&mover->lock);
	count = mover->waiting.length;
	pthread_mutex_unlock(&mover->lock);
	return count;
}

void mover_stop(struct mover *mover, unsigned grace_s)
{
	if (!mover)
		return;
	pthread_mutex_lock(&mover->lock);
	mover->stopping = true;
	mover->stop_at = g_get_monotonic_time() + (gint64)grace_s * G_USEC_PER_SEC;
	mover_wake(mover);
	while (!mover->ended) {
		struct timespec until = rpc_timespec(g_get_monotonic_time() + G_USEC_PER_SEC);

		(void)pthread_cond_clockwait(&mover->changed, &mover->lock, CLOCK_MONOTONIC,
					     &until);
		if (!mover->ended && g_get_monotonic_time() > mover->stop_at)
			write_watchdog_check(&mover->watchdog, MOVER_STUCK_US);
	}
	pthread_mutex_unlock(&mover->lock);
	pthread_join(mover->thread, NULL);
	while (mover->waiting.length > 0)
		end_message(mover, g_queue_peek_head(&mover->waiting), MOVER_STOPPED);
	mover_free(mover);
}
