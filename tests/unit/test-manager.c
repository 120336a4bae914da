/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The start and stop of the manager, and until when it must exist, on a host with libvirt's test
 * driver. The linker replaces functions that need a broker, or whose calls are counted, by those
 * below.
 */
#include <poll.h>

#include "agent/daemon/leftovers.h"
#include "agent/daemon/manager.h"
#include "tests/unit/host.h"

#define ABORT_S 1 /* how long aborted jobs are waited for */

static struct {
	unsigned freed; /* how often the worker pool was freed */
	bool has_recovery;
	bool ignores_abort;  /* the job does not look at its abort flag */
	atomic_bool may_end; /* the job ends now */
} fake;

__typeof__(worker_pool_free) __real_worker_pool_free, __wrap_worker_pool_free;

void __wrap_worker_pool_free(struct worker_pool *pool)
{
	fake.freed++;
	__real_worker_pool_free(pool);
}

__typeof__(worker_pool_stop) __real_worker_pool_stop, __wrap_worker_pool_stop;
__typeof__(leftovers_start) __real_leftovers_start, __wrap_leftovers_start;
__typeof__(rpc_server_start) __wrap_rpc_server_start;
__typeof__(rpc_server_stop) __wrap_rpc_server_stop;
__typeof__(rpc_end_calls) __wrap_rpc_end_calls;

unsigned __wrap_worker_pool_stop(struct worker_pool *pool, unsigned grace_s, unsigned abort_s)
{
	g_assert_cmpuint(abort_s, >, ABORT_S);
	return __real_worker_pool_stop(pool, grace_s, ABORT_S);
}

static void run_job(struct job *job, void *opaque)
{
	(void)opaque;
	while (!atomic_load(&fake.may_end) &&
	       (fake.ignores_abort || atomic_load(job_abort_flag(job)) == 0))
		(void)poll(NULL, 0, 10);
}

static void free_job(void *opaque)
{
	(void)opaque;
}

/* The journal has one open job. */
struct leftovers *__wrap_leftovers_start(struct agent *agent, GError **error)
{
	static const struct job_ops ops = {.run = run_job, .free = free_job};

	worker_pool_submit(agent->pool, HOST_UUID, NULL, &ops, NULL);
	if (fake.has_recovery)
		return __real_leftovers_start(agent, error);
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED, "simulated: no recovery");
	return NULL;
}

int __wrap_rpc_server_start(struct rpc *rpc, const struct rpc_server_ops *ops, GError **error)
{
	(void)rpc;
	(void)ops;
	g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "simulated: no server");
	return -1;
}

void __wrap_rpc_server_stop(struct rpc *rpc)
{
	(void)rpc;
}

void __wrap_rpc_end_calls(struct rpc *rpc)
{
	(void)rpc;
}

struct fixture {
	struct host host;
	struct config config;
	char *state, *run, *images, *scratch;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	host_open(&fixture->host);
	/* The manager has one of its own, and a process has one loop for libvirt's events. */
	virt_host_close(fixture->host.virt);
	fixture->host.virt = NULL;
	fixture->state = g_build_filename(fixture->host.tmp, "state", NULL);
	fixture->run = g_build_filename(fixture->host.tmp, "run", NULL);
	fixture->images = g_build_filename(fixture->host.tmp, "images", NULL);
	fixture->scratch = g_build_filename(fixture->host.tmp, "scratch", NULL);
	fixture->config.virt = fixture->host.config;
	fixture->config.virt.run_dir = fixture->config.run_dir = fixture->run;
	fixture->config.virt.scratch_dir = fixture->scratch;
	fixture->config.image.directory = true;
	fixture->config.image.images_dir = fixture->images;
	fixture->config.state_dir = fixture->state;
	fixture->config.journal_days = 1;
	/* Which nobody waits for where the start fails. */
	fixture->config.shutdown_grace_s = 300;
}

static void remove_folder(char *path)
{
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *file = g_build_filename(path, name, NULL);

		(void)g_unlink(file);
	}
	(void)g_rmdir(path);
	g_free(path);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	remove_folder(g_build_filename(fixture->state, "journal", NULL));
	remove_folder(fixture->state);
	remove_folder(fixture->run);
	remove_folder(fixture->images);
	remove_folder(fixture->scratch);
	host_close(&fixture->host);
}

/* A second signal may come at the very end. */
static void test_grace_is_skipped_after_the_stop(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;
	struct manager *manager = manager_open(&fixture->config, NULL, &error);

	(void)unused;
	g_assert_no_error(error);
	g_assert_cmpuint(manager_stop(manager), ==, 0);
	g_assert_cmpuint(fake.freed, ==, 0);
	manager_skip_grace(manager);
	manager_free(manager);
	g_assert_cmpuint(fake.freed, ==, 1);
}

static struct manager *fail_start(struct fixture *fixture, const char *words)
{
	g_autoptr(GError) error = NULL;
	struct manager *manager = manager_open(&fixture->config, (struct rpc *)fixture, &error);

	g_assert_no_error(error);
	g_assert_cmpint(manager_start(manager, &error), ==, -1);
	g_assert_nonnull(error);
	g_assert_nonnull(strstr(error->message, words));
	g_assert_cmpuint(fake.freed, ==, 0);
	return manager;
}

/* Recovery has submitted a job before. */
static void test_start_fails(struct fixture *fixture, gconstpointer unused)
{
	struct manager *manager;

	(void)unused;
	fake.has_recovery = true;
	manager = fail_start(fixture, "no server");
	g_assert_cmpuint(manager_stop(manager), ==, 0);
	manager_free(manager);
	fake.freed = 0;
	fake.has_recovery = false;
	manager = fail_start(fixture, "no recovery");
	g_assert_cmpuint(manager_stop(manager), ==, 0);
	manager_free(manager);
}

/* The job's thread uses the manager, so it must not be freed yet. */
static void test_a_job_runs_longer_than_the_stop(struct fixture *fixture, gconstpointer unused)
{
	struct manager *manager;

	(void)unused;
	fake.ignores_abort = true;
	manager = fail_start(fixture, "no recovery");
	g_assert_cmpuint(manager_stop(manager), ==, 1);
	g_assert_cmpuint(fake.freed, ==, 0);
	atomic_store(&fake.may_end, true);
	g_assert_cmpuint(manager_stop(manager), ==, 0);
	manager_free(manager);
	g_assert_cmpuint(fake.freed, ==, 1);
}

#define TEST(name)                                                                                 \
	g_test_add("/manager/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(grace_is_skipped_after_the_stop);
	TEST(start_fails);
	TEST(a_job_runs_longer_than_the_stop);
	return g_test_run();
}
