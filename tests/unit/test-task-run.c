/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A task from its begin to its end. The linker puts the functions below in the place of the
 * conductor, of libvirt, and of the job's thread.
 */
#include "agent/daemon/task-run.h"

#include "agent/journal/db.h"
#include "agent/recovery/rollback.h"
#include "agent/task/report-end.h"
#include "agent/task/step.h"
#include "tests/unit/journal-folder.h"

#define INSTANCE_UUID "8a2f4c1e-0000-4000-8000-000000000001"
#define HOST "host-1"
#define STEP "save"

static struct {
	unsigned undelivered; /* how often the conductor does not answer first */
	unsigned reports, rollbacks;
	unsigned away; /* how often libvirt cannot be reached first */
	bool method_fails;
	bool released_key;
	gint64 waited; /* us, in the pauses between two tries */
	unsigned refreshes, given_up;
	const char *undo; /* of the step that stays open */
} fake;

__typeof__(report_end) __wrap_report_end;
__typeof__(virt_guest_rollback_step) __wrap_virt_guest_rollback_step;
__typeof__(job_is_cancelled) __wrap_job_is_cancelled;
__typeof__(job_is_stopping) __wrap_job_is_stopping;
__typeof__(job_is_out_of_time) __wrap_job_is_out_of_time;
__typeof__(nova_conductor_instance_refresh) __wrap_nova_conductor_instance_refresh;
__typeof__(g_get_monotonic_time) __real_g_get_monotonic_time, __wrap_g_get_monotonic_time;
__typeof__(job_holds_key) __wrap_job_holds_key;
__typeof__(job_wait_despite_cancel) __wrap_job_wait_despite_cancel;

bool __wrap_report_end(struct task *task, const GError *error, bool is_retry)
{
	(void)task;
	(void)error;
	g_assert_cmpint(is_retry, ==, fake.reports > 0);
	fake.reports++;
	if (fake.undelivered == 0)
		return true;
	fake.undelivered--;
	return false;
}

int __wrap_virt_guest_rollback_step(struct virt_host *host, const char *uuid, const char *step,
				    const char *undo, GError **error)
{
	(void)host;
	g_assert_cmpstr(uuid, ==, INSTANCE_UUID);
	g_assert_cmpstr(step, ==, STEP);
	g_assert_cmpstr(undo, ==, fake.undo);
	fake.rollbacks++;
	if (fake.away == 0)
		return 0;
	fake.away--;
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED, "made up");
	return -1;
}

bool __wrap_job_is_cancelled(const struct job *job)
{
	(void)job;
	return false;
}

bool __wrap_job_is_stopping(struct job *job)
{
	(void)job;
	return false;
}

bool __wrap_job_is_out_of_time(const struct job *job)
{
	(void)job;
	return false;
}

bool __wrap_job_holds_key(const struct job *job)
{
	(void)job;
	return !fake.released_key;
}

bool __wrap_job_wait_despite_cancel(struct job *job, unsigned ms)
{
	(void)job;
	fake.waited += (gint64)ms * 1000;
	return true;
}

gint64 __wrap_g_get_monotonic_time(void)
{
	return __real_g_get_monotonic_time() + fake.waited;
}

/* The instance is where the request says. */
int __wrap_nova_conductor_instance_refresh(struct rpc *rpc, struct rpc_context *context,
					   struct nova_instance *instance, GError **error)
{
	(void)rpc;
	(void)context;
	(void)instance;
	(void)error;
	fake.refreshes++;
	return 0;
}

/* Leaves a step open, as a snapshot whose guest cannot be restored does. */
static int run_method(struct task *task, GError **error)
{
	g_assert_cmpint(task_step_begin(task, STEP, fake.undo, NULL), ==, 0);
	if (!fake.method_fails)
		return 0;
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED, "made up");
	return -1;
}

static void give_up_method(struct task *task)
{
	(void)task;
	fake.given_up++;
}

static const struct task_method method = {
	.name = "pause_instance", .run = run_method, .give_up = give_up_method};

#define REQUEST                                                                                    \
	"{\"method\": \"pause_instance\", \"version\": \"6.0\", \"args\": {\"instance\": "         \
	"{\"nova_object.name\": \"Instance\", \"nova_object.data\": {\"uuid\": "                   \
	"\"" INSTANCE_UUID "\", \"host\": \"" HOST "\"}}}}"

struct fixture {
	struct config config;
	struct agent agent;
	struct task *task;
	char *dir;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	struct journal_cast cast = {
		.method = method.name, .instance = INSTANCE_UUID, .message = "{}"};
	struct rpc_request *request = rpc_request_new_local(cJSON_Parse(REQUEST));
	g_autoptr(GError) error = NULL;

	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fake.undo = "{}";
	fixture->dir = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	fixture->agent.config = &fixture->config;
	fixture->agent.journal = journal_open(fixture->dir, 1, &error);
	g_assert_no_error(error);
	g_assert_cmpint(journal_casts_add(fixture->agent.journal, &cast, 1, NULL), ==, 0);
	fixture->task = task_new(&fixture->agent, &method, request, &error);
	g_assert_no_error(error);
	fixture->task->journal_job = cast.job;
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	task_job_ops.free(fixture->task);
	journal_close(fixture->agent.journal);
	journal_folder_remove(fixture->dir);
	g_free(fixture->dir);
}

/* A job's thread would give it its job, which only the functions above look at. */
static void run(struct fixture *fixture)
{
	task_job_ops.run((struct job *)fixture, fixture->task);
	g_assert_cmpstr(task_stage_name(task_state_stage(fixture->task->state)), ==,
			task_stage_name(STAGE_CLOSED));
}

static guint count_jobs(const struct fixture *fixture, enum journal_which which)
{
	g_autoptr(GPtrArray) jobs = journal_list(fixture->agent.journal, which, 0, NULL);

	g_assert_nonnull(jobs);
	return jobs->len;
}

/* What an ended job has open is rolled back by leftovers.h. */
static void test_the_end_is_reported(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.method_fails = true;
	run(fixture);
	g_assert_cmpuint(fake.reports, ==, 1);
	g_assert_cmpuint(fake.rollbacks, ==, 0);
	g_assert_cmpuint(count_jobs(fixture, JOURNAL_OPEN), ==, 0);
	g_assert_cmpuint(count_jobs(fixture, JOURNAL_LEFTOVERS), ==, 1);
}

/* A guest does not stay saved while the conductor does not answer. */
static void test_rollback_does_not_wait_for_the_conductor(struct fixture *fixture,
							  gconstpointer unused)
{
	g_autofree char *undo =
		g_strdup_printf("{\"" VIRT_UNDO_PROCESS "\":\"%s\"}", virt_process_id());

	(void)unused;
	fake.undo = undo;
	fake.method_fails = true;
	fake.undelivered = 5;
	fake.away = 2;
	for (int i = 0; i < 2; i++)
		g_test_expect_message("agent", G_LOG_LEVEL_WARNING, "*made up*");
	run(fixture);
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.reports, ==, 6);
	g_assert_cmpuint(fake.rollbacks, ==, 3);
	g_assert_cmpuint(count_jobs(fixture, JOURNAL_LEFTOVERS), ==, 0);
}

/* A host that reaches neither conductor nor storage may be taken for dead, and its guests evacuated
 * meanwhile. */
static void roll_back_later(struct fixture *fixture, const char *host)
{
	g_autofree char *undo =
		g_strdup_printf("{\"" VIRT_UNDO_PROCESS "\":\"%s\"}", virt_process_id());

	/* Retries are logged as warnings. */
	g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
	fixture->config.control = true;
	fixture->config.rpc.host = host;
	fake.undo = undo;
	fake.method_fails = true;
	fake.undelivered = 30;
	fake.away = 20;
	run(fixture);
	g_assert_cmpuint(count_jobs(fixture, JOURNAL_LEFTOVERS), ==, 0);
}

static void test_guest_that_moved_meanwhile(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	roll_back_later(fixture, "host-2");
	g_assert_cmpuint(fake.refreshes, ==, 1);
	g_assert_cmpuint(fake.rollbacks, <, 20);
}

static void test_guest_that_stayed_meanwhile(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	roll_back_later(fixture, HOST);
	g_assert_cmpuint(fake.refreshes, >, 1);
	g_assert_cmpuint(fake.rollbacks, ==, 21);
}

/* Another job uses the guest. */
static void test_no_rollback_beside_another_job(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.method_fails = fake.released_key = true;
	fake.undelivered = 5;
	run(fixture);
	g_assert_cmpuint(fake.reports, ==, 6);
	g_assert_cmpuint(fake.rollbacks, ==, 0);
	g_assert_cmpuint(count_jobs(fixture, JOURNAL_LEFTOVERS), ==, 1);
}

/* While an earlier process was dead the guest may have moved, which only the conductor knows. */
static void test_steps_of_another_process_wait(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.method_fails = true;
	fake.undelivered = 5;
	fake.undo = "{\"" VIRT_UNDO_PROCESS "\":\"another\"}";
	run(fixture);
	g_assert_cmpuint(fake.reports, ==, 6);
	g_assert_cmpuint(fake.rollbacks, ==, 0);
	g_assert_cmpuint(count_jobs(fixture, JOURNAL_LEFTOVERS), ==, 1);
}

/* A task whose step outlives it: its job stays open, unless it failed. */
static void test_job_with_a_lasting_step(struct fixture *fixture, gconstpointer unused)
{
	static const struct task_method lasting = {
		.name = "quiesce_instance", .run = run_method, .flags = METHOD_LEAVES_STEP};

	(void)unused;
	fixture->task->method = &lasting;
	run(fixture);
	g_assert_cmpuint(count_jobs(fixture, JOURNAL_OPEN), ==, 1);
	g_assert_cmpuint(count_jobs(fixture, JOURNAL_LEFTOVERS), ==, 0);
	g_assert_cmpuint(fake.rollbacks, ==, 0);
}

#define TEST(name)                                                                                 \
	g_test_add("/task-run/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

/* What the journal has, the next process executes. */
static void test_never_run(struct fixture *fixture, gconstpointer unused)
{
	struct rpc_request *request = rpc_request_new_local(cJSON_Parse(REQUEST));
	struct task *task = task_new(&fixture->agent, &method, request, NULL);

	(void)unused;
	task->journal_job = fixture->task->journal_job;
	task_job_ops.free(task);
	g_assert_cmpuint(fake.given_up, ==, 0);
	request = rpc_request_new_local(cJSON_Parse(REQUEST));
	g_test_expect_message("agent", G_LOG_LEVEL_WARNING, "*pause_instance is not executed*");
	task_job_ops.free(task_new(&fixture->agent, &method, request, NULL));
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.given_up, ==, 1);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(the_end_is_reported);
	TEST(rollback_does_not_wait_for_the_conductor);
	TEST(guest_that_moved_meanwhile);
	TEST(guest_that_stayed_meanwhile);
	TEST(no_rollback_beside_another_job);
	TEST(steps_of_another_process_wait);
	TEST(job_with_a_lasting_step);
	TEST(never_run);
	return g_test_run();
}
