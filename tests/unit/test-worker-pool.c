/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker pool: one job at a time for each key, cancelling and stopping.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "agent/task/thread.h"
#include "agent/task/worker-pool.h"

#define ID "8a2f4c1e-0000-4000-8000-000000000001"

/* What a test and its job share. */
struct talk {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned stage;		     /* how far the job is; guarded by the lock */
	bool refuses, refused;	     /* it refuses a cancel, and could */
	bool releases;		     /* it releases its key */
	bool cancelled, out_of_time; /* what it sees at its end */
	bool stopping;		     /* the same */
	atomic_bool ran, freed;
};

/* The linker replaces thread_start() by a function that fails as long as this is set. */
static bool no_threads;

__typeof__(thread_start) __wrap_thread_start, __real_thread_start;

int __wrap_thread_start(pthread_t *ret_thread, size_t stack_size, void *(*run)(void *opaque),
			void *opaque)
{
	return no_threads ? EAGAIN : __real_thread_start(ret_thread, stack_size, run, opaque);
}

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

static void set_stage(struct talk *talk, unsigned stage)
{
	pthread_mutex_lock(&talk->lock);
	talk->stage = MAX(talk->stage, stage);
	pthread_cond_broadcast(&talk->changed);
	pthread_mutex_unlock(&talk->lock);
}

static void wait_for_stage(struct talk *talk, unsigned stage)
{
	pthread_mutex_lock(&talk->lock);
	while (talk->stage < stage)
		pthread_cond_wait(&talk->changed, &talk->lock);
	pthread_mutex_unlock(&talk->lock);
}

/* Stage 1: it runs. 2: go on. 3: it has refused a cancel, or tried to. 4: end. */
static void run_job(struct job *job, void *opaque)
{
	struct talk *talk = opaque;

	talk->ran = true;
	set_stage(talk, 1);
	wait_for_stage(talk, 2);
	talk->refused = talk->refuses && job_refuse_cancel(job);
	if (talk->releases)
		job_release_key(job);
	set_stage(talk, 3);
	wait_for_stage(talk, 4);
	talk->cancelled = job_is_cancelled(job);
	talk->out_of_time = job_is_out_of_time(job);
	talk->stopping = job_is_stopping(job);
}

static void free_job(void *opaque)
{
	((struct talk *)opaque)->freed = true;
}

static const struct job_ops ops = {.run = run_job, .free = free_job};

static void end_pool(struct worker_pool *pool)
{
	g_assert_cmpuint(worker_pool_stop(pool, 30, 0), ==, 0);
	worker_pool_free(pool);
}

static void test_a_cancel_comes_before_it_is_refused(void)
{
	struct worker_pool *pool = worker_pool_new(0);
	struct talk *talk = talk_new();

	talk->refuses = true;
	worker_pool_submit(pool, "key", ID, &ops, talk);
	wait_for_stage(talk, 1);
	g_assert_cmpuint(worker_pool_cancel(pool, "another"), ==, 0);
	g_assert_cmpuint(worker_pool_cancel(pool, ID), ==, 1);
	set_stage(talk, 2);
	wait_for_stage(talk, 3);
	g_assert_false(talk->refused);
	set_stage(talk, 4);
	end_pool(pool);
	g_assert_true(talk->cancelled && talk->freed);
	talk_free(talk);
}

static void test_a_cancel_comes_after_it_is_refused(void)
{
	struct worker_pool *pool = worker_pool_new(0);
	struct talk *talk = talk_new();

	talk->refuses = true;
	worker_pool_submit(pool, "key", ID, &ops, talk);
	wait_for_stage(talk, 1);
	set_stage(talk, 2);
	wait_for_stage(talk, 3);
	g_assert_true(talk->refused);
	g_assert_cmpuint(worker_pool_cancel(pool, "key"), ==, 0);
	set_stage(talk, 4);
	end_pool(pool);
	g_assert_false(talk->cancelled);
	talk_free(talk);
}

static void test_one_job_at_a_time_for_each_key(void)
{
	struct worker_pool *pool = worker_pool_new(0);
	struct talk *first = talk_new(), *second = talk_new(), *other = talk_new();

	worker_pool_submit(pool, "key", ID, &ops, first);
	wait_for_stage(first, 1);
	worker_pool_submit(pool, "key", NULL, &ops, second);
	worker_pool_submit(pool, "another", NULL, &ops, other);
	wait_for_stage(other, 1);
	g_assert_false(second->ran);
	/* One that has no name is not cancelled by its key. */
	g_assert_cmpuint(worker_pool_cancel(pool, "another"), ==, 0);
	set_stage(first, 4);
	wait_for_stage(second, 1);
	g_assert_true(first->freed);
	set_stage(second, 4);
	set_stage(other, 4);
	end_pool(pool);
	g_assert_true(second->freed && other->freed);
	talk_free(first);
	talk_free(second);
	talk_free(other);
}

/* The job that has released its key counts as running until it ends. */
static void test_a_released_key(void)
{
	struct worker_pool *pool = worker_pool_new(0);
	struct talk *first = talk_new(), *second = talk_new(), *third = talk_new();

	first->releases = true;
	worker_pool_submit(pool, "key", ID, &ops, first);
	wait_for_stage(first, 1);
	worker_pool_submit(pool, "key", NULL, &ops, second);
	worker_pool_submit(pool, "key", NULL, &ops, third);
	g_assert_false(second->ran);
	set_stage(first, 2);
	wait_for_stage(second, 1);
	/* Its end does not release the key of the second one. */
	set_stage(first, 4);
	while (!first->freed)
		g_usleep(1000);
	g_usleep(50 * 1000);
	g_assert_false(third->ran);
	set_stage(second, 4);
	wait_for_stage(third, 1);
	g_assert_cmpuint(worker_pool_stop(pool, 0, 0), ==, 1);
	set_stage(third, 4);
	end_pool(pool);
	talk_free(first);
	talk_free(second);
	talk_free(third);
}

static void test_waiting_jobs_are_dropped_at_the_stop(void)
{
	struct worker_pool *pool = worker_pool_new(0);
	struct talk *first = talk_new(), *second = talk_new();

	worker_pool_submit(pool, "key", NULL, &ops, first);
	wait_for_stage(first, 1);
	worker_pool_submit(pool, "key", NULL, &ops, second);
	/* The first does not end in time. */
	g_assert_cmpuint(worker_pool_stop(pool, 0, 0), ==, 1);
	g_assert_true(second->freed && !second->ran);
	set_stage(first, 4);
	end_pool(pool);
	talk_free(first);
	talk_free(second);
}

static void test_a_stop_does_not_hide_a_cancel(void)
{
	struct worker_pool *pool = worker_pool_new(0);
	struct talk *cancelled = talk_new(), *stopped = talk_new();

	worker_pool_submit(pool, "key", ID, &ops, cancelled);
	worker_pool_submit(pool, "another", NULL, &ops, stopped);
	wait_for_stage(cancelled, 1);
	wait_for_stage(stopped, 1);
	g_assert_cmpuint(worker_pool_cancel(pool, ID), ==, 1);
	g_assert_cmpuint(worker_pool_stop(pool, 0, 0), ==, 2);
	set_stage(cancelled, 4);
	set_stage(stopped, 4);
	end_pool(pool);
	g_assert_true(cancelled->cancelled && cancelled->out_of_time);
	g_assert_true(!stopped->cancelled && stopped->out_of_time);
	talk_free(cancelled);
	talk_free(stopped);
}

/* The grace time is skipped before the pool is stopped if both signals come at once. The calls of
 * the jobs end then: a job that fails because of that must see that novasnapd is stopping. */
static void test_a_job_without_grace_is_stopping(void)
{
	struct worker_pool *pool = worker_pool_new(0);
	struct talk *talk = talk_new(), *late = talk_new();

	worker_pool_submit(pool, "key", NULL, &ops, talk);
	wait_for_stage(talk, 1);
	worker_pool_skip_grace(pool);
	worker_pool_submit(pool, "another", NULL, &ops, late);
	set_stage(talk, 4);
	/* Without a grace time the job has only the time after its abort to end. */
	g_assert_cmpuint(worker_pool_stop(pool, 30, 30), ==, 0);
	worker_pool_free(pool);
	g_assert_true(talk->stopping && !talk->cancelled);
	g_assert_true(late->freed && !late->ran);
	talk_free(talk);
	talk_free(late);
}

static void run_with_slot(struct job *job, void *opaque)
{
	struct talk *talk = opaque;

	talk->ran = job_acquire_slot(job);
	set_stage(talk, 1);
	wait_for_stage(talk, 2);
}

/* A snapshot that has no slot yet is not begun during the grace time: it ends at once. */
static void test_a_stop_gives_out_no_slots(void)
{
	static const struct job_ops slot_ops = {.run = run_with_slot, .free = free_job};
	struct worker_pool *pool = worker_pool_new(1);
	struct talk *first = talk_new(), *second = talk_new();

	worker_pool_submit(pool, "key", ID, &slot_ops, first);
	wait_for_stage(first, 1);
	worker_pool_submit(pool, "another", ID, &slot_ops, second);
	g_assert_cmpuint(worker_pool_drain(pool, 0), ==, 2);
	wait_for_stage(second, 1);
	g_assert_true(first->ran && !second->ran);
	set_stage(first, 2);
	set_stage(second, 2);
	end_pool(pool);
	talk_free(first);
	talk_free(second);
}

static void test_a_job_without_a_thread_is_started_later(void)
{
	struct worker_pool *pool = worker_pool_new(0);
	struct talk *talk = talk_new();

	no_threads = true;
	g_test_expect_message("agent", G_LOG_LEVEL_WARNING, "*cannot start a thread*");
	worker_pool_submit(pool, "key", NULL, &ops, talk);
	g_test_assert_expected_messages();
	no_threads = false;
	worker_pool_start_waiting(pool);
	wait_for_stage(talk, 1);
	set_stage(talk, 4);
	end_pool(pool);
	talk_free(talk);
}

/* A lock of the pool's user, as leftovers have one. */
struct user {
	struct worker_pool *pool;
	pthread_mutex_t lock;
	atomic_bool is_freeing, freed;
};

static void run_nothing(struct job *job, void *opaque)
{
	(void)job;
	(void)opaque;
}

static void free_with_users_lock(void *opaque)
{
	struct user *user = opaque;

	user->is_freeing = true;
	pthread_mutex_lock(&user->lock);
	user->freed = true;
	pthread_mutex_unlock(&user->lock);
}

/* Otherwise the user's thread and that of the job wait for each other's lock. */
static void test_job_data_is_freed_without_the_lock(void)
{
	static const struct job_ops user_ops = {.run = run_nothing, .free = free_with_users_lock};
	struct user user = {.pool = worker_pool_new(0)};

	pthread_mutex_init(&user.lock, NULL);
	pthread_mutex_lock(&user.lock);
	worker_pool_submit(user.pool, "key", ID, &user_ops, &user);
	while (!user.is_freeing)
		g_usleep(1000);
	worker_pool_start_waiting(user.pool);
	g_assert_cmpuint(worker_pool_cancel(user.pool, ID), ==, 0);
	g_assert_cmpuint(worker_pool_drain(user.pool, 0), ==, 1);
	pthread_mutex_unlock(&user.lock);
	end_pool(user.pool);
	g_assert_true(user.freed);
	pthread_mutex_destroy(&user.lock);
}

#define TEST(name) g_test_add_func("/worker-pool/" #name, test_##name)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(a_cancel_comes_before_it_is_refused);
	TEST(a_cancel_comes_after_it_is_refused);
	TEST(one_job_at_a_time_for_each_key);
	TEST(a_released_key);
	TEST(waiting_jobs_are_dropped_at_the_stop);
	TEST(a_stop_does_not_hide_a_cancel);
	TEST(a_job_without_grace_is_stopping);
	TEST(a_stop_gives_out_no_slots);
	TEST(a_job_without_a_thread_is_started_later);
	TEST(job_data_is_freed_without_the_lock);
	return g_test_run();
}
