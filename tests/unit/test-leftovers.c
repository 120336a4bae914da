/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How often the leftover steps of ended jobs are tried again, and that the start waits for no
 * sweep. The linker replaces the functions below: the rollback always fails, and the clock advances
 * by each pause, which takes no time.
 */
#include "agent/daemon/leftovers.h"

#include <stdatomic.h>

#include "agent/task/thread.h"
#include "tests/unit/journal-folder.h"

#define FILES_UUID "8a2f4c1e-0000-4000-8000-000000000001"
#define GUEST_UUID "8a2f4c1e-0000-4000-8000-000000000002"
#define HOUR_S 3600
#define SEARCH_MS 5000
#define LIMIT_US (120 * G_USEC_PER_SEC)

static struct {
	atomic_llong advance_us; /* of the clock */
	atomic_uint files, guest;
	atomic_bool hangs; /* libvirt */
} fake;

__typeof__(virt_guest_rollback_step) __wrap_virt_guest_rollback_step;
__typeof__(virt_host_sweep) __wrap_virt_host_sweep;
__typeof__(thread_deadline) __real_thread_deadline, __wrap_thread_deadline;
__typeof__(g_get_monotonic_time) __real_g_get_monotonic_time, __wrap_g_get_monotonic_time;

int __wrap_virt_guest_rollback_step(struct virt_host *host, const char *uuid, const char *step,
				    const char *undo, GError **error)
{
	(void)host;
	(void)step;
	(void)undo;
	atomic_fetch_add(g_str_equal(uuid, FILES_UUID) ? &fake.files : &fake.guest, 1);
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED, "simulated: still there");
	return -1;
}

void __wrap_virt_host_sweep(struct virt_host *host)
{
	(void)host;
	while (atomic_load(&fake.hangs))
		g_usleep(2000);
}

/* Other pauses than that of the search are real. */
struct timespec __wrap_thread_deadline(unsigned ms)
{
	if (ms != SEARCH_MS)
		return __real_thread_deadline(ms);
	if (atomic_load(&fake.advance_us) < (gint64)HOUR_S * G_USEC_PER_SEC)
		(void)atomic_fetch_add(&fake.advance_us, (gint64)ms * 1000);
	return __real_thread_deadline(2);
}

gint64 __wrap_g_get_monotonic_time(void)
{
	return __real_g_get_monotonic_time() + atomic_load(&fake.advance_us);
}

static void add_ended_job(struct journal *journal, const char *uuid, const char *step)
{
	struct journal_cast cast = {
		.method = "snapshot_instance", .instance = uuid, .message = "{}"};

	g_assert_cmpint(journal_casts_add(journal, &cast, 1, NULL), ==, 0);
	g_assert_cmpint(journal_step_add(journal, cast.job, step, "{}", NULL), ==, 0);
	g_assert_cmpint(journal_job_end(journal, cast.job, "failed", NULL), ==, 0);
}

/* In an hour: a folder once in ten minutes in the end, a frozen guest once in a minute. */
static void test_pauses_grow(void)
{
	g_autofree char *dir = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	const struct config config = {.journal_days = 1};
	struct agent agent = {.config = &config,
			      .pool = worker_pool_new(0),
			      .journal = journal_open(dir, 1, NULL)};
	gint64 until = __real_g_get_monotonic_time() + LIMIT_US;
	struct leftovers *leftovers;

	/* Retries are logged as warnings. */
	g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
	add_ended_job(agent.journal, FILES_UUID, "folder");
	add_ended_job(agent.journal, GUEST_UUID, "freeze");
	leftovers = leftovers_start(&agent, NULL);
	g_assert_nonnull(leftovers);
	while (atomic_load(&fake.advance_us) < (gint64)HOUR_S * G_USEC_PER_SEC) {
		g_assert_cmpint(__real_g_get_monotonic_time(), <, until);
		g_usleep(5000);
	}
	g_assert_true(leftovers_stop(leftovers, 20));
	g_assert_cmpuint(worker_pool_stop(agent.pool, 20, 0), ==, 0);
	/* 5, 10, 20 ... 600 s: not more than 12; 5, 10, 20, 40, 60 s: not more than 63. */
	g_assert_cmpuint(atomic_load(&fake.files), >=, 5);
	g_assert_cmpuint(atomic_load(&fake.files), <=, 12);
	g_assert_cmpuint(atomic_load(&fake.guest), >, 2 * atomic_load(&fake.files));
	g_assert_cmpuint(atomic_load(&fake.guest), <=, 63);
	leftovers_free(leftovers);
	worker_pool_free(agent.pool);
	journal_close(agent.journal);
	journal_folder_remove(dir);
}

/* The search for exports waits for libvirt; novasnapd starts and stops nevertheless. */
static void test_libvirt_hangs(void)
{
	g_autofree char *dir = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	const struct config config = {.journal_days = 1};
	struct agent agent = {.config = &config,
			      .pool = worker_pool_new(0),
			      .journal = journal_open(dir, 1, NULL)};
	struct leftovers *leftovers;

	atomic_store(&fake.hangs, true);
	leftovers = leftovers_start(&agent, NULL);
	g_assert_nonnull(leftovers);
	g_assert_false(leftovers_stop(leftovers, 1));
	atomic_store(&fake.hangs, false);
	g_assert_true(leftovers_stop(leftovers, 20));
	g_assert_cmpuint(worker_pool_stop(agent.pool, 20, 0), ==, 0);
	leftovers_free(leftovers);
	worker_pool_free(agent.pool);
	journal_close(agent.journal);
	journal_folder_remove(dir);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/leftovers/libvirt_hangs", test_libvirt_hangs);
	g_test_add_func("/leftovers/pauses_grow", test_pauses_grow);
	return g_test_run();
}
