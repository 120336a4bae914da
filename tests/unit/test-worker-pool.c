/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs: one at a time of a key, and who may still be cancelled.
 */
#include <pthread.h>

#include "agent/task/worker-pool.h"

#define ID "8a2f4c1e-0000-4000-8000-000000000001"

/* What a test and its job tell each other. */
struct talk {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned stage; /* what the job has come to; guarded by the lock */
	bool settles, settled, ran, freed;
};

static struct talk *talk_new(void)
{
	struct talk *talk = g_new0(struct talk, 1);

	pthread_mutex_init(&talk->lock, NULL);
	pthread_cond_init(&talk->changed, NULL);
	return talk;
}

static void talk_free(struct talk *talk)
{
	pthread_cond_destroy(&talk->changed);
	pthread_mutex_destroy(&talk->lock);
	g_free(talk);
}

static void say(struct talk *talk, unsigned stage)
{
	pthread_mutex_lock(&talk->lock);
	talk->stage = MAX(talk->stage, stage);
	pthread_cond_broadcast(&talk->changed);
	pthread_mutex_unlock(&talk->lock);
}

static void await(struct talk *talk, unsigned stage)
{
	pthread_mutex_lock(&talk->lock);
	while (talk->stage < stage)
		pthread_cond_wait(&talk->changed, &talk->lock);
	pthread_mutex_unlock(&talk->lock);
}

/* Stage 1: it runs. 2: go on. 3: it has settled, or tried to. 4: end. */
static void run(struct job *job, void *opaque)
{
	struct talk *talk = opaque;

	talk->ran = true;
	say(talk, 1);
	await(talk, 2);
	talk->settled = talk->settles && job_refuse_cancel(job);
	say(talk, 3);
	await(talk, 4);
	talk->settles = job_is_cancelled(job);
}

static void done(void *opaque)
{
	((struct talk *)opaque)->freed = true;
}

static const struct job_ops ops = {.run = run, .free = done};

static void end(struct worker_pool *pool)
{
	g_assert_cmpuint(worker_pool_stop(pool, 30, 0), ==, 0);
	worker_pool_free(pool);
}

static void test_cancelled_before_it_settles(void)
{
	struct worker_pool *pool = worker_pool_new(0);
	struct talk *talk = talk_new();

	talk->settles = true;
	worker_pool_submit(pool, "key", ID, &ops, talk);
	await(talk, 1);
	g_assert_cmpuint(worker_pool_cancel(pool, "another"), ==, 0);
	g_assert_cmpuint(worker_pool_cancel(pool, ID), ==, 1);
	say(talk, 2);
	await(talk, 3);
	g_assert_false(talk->settled);
	say(talk, 4);
	end(pool);
	g_assert_true(talk->settles && talk->freed);
	talk_free(talk);
}

static void test_too_late_to_be_cancelled(void)
{
	struct worker_pool *pool = worker_pool_new(0);
	struct talk *talk = talk_new();

	talk->settles = true;
	worker_pool_submit(pool, "key", ID, &ops, talk);
	await(talk, 1);
	say(talk, 2);
	await(talk, 3);
	g_assert_true(talk->settled);
	g_assert_cmpuint(worker_pool_cancel(pool, "key"), ==, 0);
	say(talk, 4);
	end(pool);
	g_assert_false(talk->settles);
	talk_free(talk);
}

static void test_one_at_a_time_of_a_key(void)
{
	struct worker_pool *pool = worker_pool_new(0);
	struct talk *first = talk_new(), *second = talk_new(), *other = talk_new();

	worker_pool_submit(pool, "key", ID, &ops, first);
	await(first, 1);
	worker_pool_submit(pool, "key", NULL, &ops, second);
	worker_pool_submit(pool, "another", NULL, &ops, other);
	await(other, 1);
	g_assert_false(second->ran);
	/* One that has no name is not cancelled by its key. */
	g_assert_cmpuint(worker_pool_cancel(pool, "another"), ==, 0);
	say(first, 4);
	await(second, 1);
	g_assert_true(first->freed);
	say(second, 4);
	say(other, 4);
	end(pool);
	g_assert_true(second->freed && other->freed);
	talk_free(first);
	talk_free(second);
	talk_free(other);
}

static void test_what_waits_is_dropped_at_the_end(void)
{
	struct worker_pool *pool = worker_pool_new(0);
	struct talk *first = talk_new(), *second = talk_new();

	worker_pool_submit(pool, "key", NULL, &ops, first);
	await(first, 1);
	worker_pool_submit(pool, "key", NULL, &ops, second);
	/* The first does not end in time. */
	g_assert_cmpuint(worker_pool_stop(pool, 0, 0), ==, 1);
	g_assert_true(second->freed && !second->ran);
	say(first, 4);
	end(pool);
	talk_free(first);
	talk_free(second);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/worker-pool/cancelled before it settles",
			test_cancelled_before_it_settles);
	g_test_add_func("/worker-pool/too late to be cancelled", test_too_late_to_be_cancelled);
	g_test_add_func("/worker-pool/one at a time of a key", test_one_at_a_time_of_a_key);
	g_test_add_func("/worker-pool/what waits is dropped at the end",
			test_what_waits_is_dropped_at_the_end);
	return g_test_run();
}
