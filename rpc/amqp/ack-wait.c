/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See ack-wait.h.
 */
#include "rpc/amqp/ack-wait.h"

#include <glib.h>
#include <pthread.h>

#include "rpc/base.h"

enum ack_stage {
	ACK_QUEUED,
	ACK_ABANDONED, /* nobody waits any more */
	ACK_BEGUN,
	ACK_DONE,
	ACK_UNKNOWN, /* not sent, or perhaps lost */
};

struct ack_wait {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	enum ack_stage stage;
	unsigned owners;
};

struct ack_wait *ack_wait_new(void)
{
	struct ack_wait *wait = g_new0(struct ack_wait, 1);

	pthread_mutex_init(&wait->lock, NULL);
	pthread_cond_init(&wait->changed, NULL);
	wait->owners = 2;
	return wait;
}

void ack_wait_unref(struct ack_wait *wait)
{
	bool is_last;

	if (!wait)
		return;
	pthread_mutex_lock(&wait->lock);
	is_last = --wait->owners == 0;
	pthread_mutex_unlock(&wait->lock);
	if (!is_last)
		return;
	pthread_cond_destroy(&wait->changed);
	pthread_mutex_destroy(&wait->lock);
	g_free(wait);
}

bool ack_wait_begin(struct ack_wait *wait)
{
	bool is_wanted;

	pthread_mutex_lock(&wait->lock);
	is_wanted = wait->stage == ACK_QUEUED;
	if (is_wanted)
		wait->stage = ACK_BEGUN;
	pthread_cond_signal(&wait->changed);
	pthread_mutex_unlock(&wait->lock);
	return is_wanted;
}

void ack_wait_end(struct ack_wait *wait, bool is_acked)
{
	pthread_mutex_lock(&wait->lock);
	if (wait->stage == ACK_QUEUED || wait->stage == ACK_BEGUN)
		wait->stage = is_acked ? ACK_DONE : ACK_UNKNOWN;
	pthread_cond_signal(&wait->changed);
	pthread_mutex_unlock(&wait->lock);
}

/* The lock is held. Waits while it is in that stage. */
static void wait_in_stage(struct ack_wait *wait, enum ack_stage stage, unsigned limit_s)
{
	struct timespec until =
		rpc_timespec(g_get_monotonic_time() + (gint64)limit_s * G_USEC_PER_SEC);
	int rc = 0;

	while (wait->stage == stage && rc == 0)
		rc = pthread_cond_clockwait(&wait->changed, &wait->lock, CLOCK_MONOTONIC, &until);
}

bool ack_wait_result(struct ack_wait *wait, unsigned limit_s)
{
	bool is_acked;

	pthread_mutex_lock(&wait->lock);
	wait_in_stage(wait, ACK_QUEUED, limit_s);
	wait_in_stage(wait, ACK_BEGUN, limit_s);
	if (wait->stage == ACK_QUEUED)
		wait->stage = ACK_ABANDONED;
	is_acked = wait->stage == ACK_DONE;
	pthread_mutex_unlock(&wait->lock);
	return is_acked;
}
