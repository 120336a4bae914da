/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who has a request, by the answers to its first save. The linker puts the functions below in the
 * place of the conductor, of image store and libvirt, and of the job's thread.
 */
#include "agent/task/claim.h"

#include "agent/journal/db.h"
#include "agent/method/methods.h"
#include "agent/task/claim-due.h"
#include "agent/task/facts.h"
#include "agent/task/report.h"
#include "agent/task/want.h"
#include "tests/unit/journal-folder.h"

#define INSTANCE_UUID "8a2f4c1e-0000-4000-8000-000000000001"
#define IMAGE_UUID "8a2f4c1e-0000-4000-8000-000000000002"
#define LOST "lost"	/* no reply */
#define BROKEN "broken" /* an error of the conductor's */
#define GONE "gone"
#define OK "ok" /* saved */

static struct {
	const char *answers[6]; /* to the saves, in order: the above, or the actual task state */
	unsigned saves;
	const char *expected; /* of the last save */
	int event;	      /* what nova_conductor_event_find returns */
	unsigned event_after; /* ... and before, as often: NOVA_EVENT_NONE */
	enum want want;
	bool is_stopping;
	gint64 pause;  /* us, that each wait takes instead of its time; 0: none */
	gint64 waited; /* us */
} fake;

__typeof__(report_save_once) __wrap_report_save_once;
__typeof__(report_progress) __wrap_report_progress;
__typeof__(rpc_failure_actual_task_state) __wrap_rpc_failure_actual_task_state;
__typeof__(nova_conductor_event_find) __wrap_nova_conductor_event_find;
__typeof__(nova_conductor_instance_save) __wrap_nova_conductor_instance_save;
__typeof__(snapshot_want) __wrap_snapshot_want;
__typeof__(job_is_stopping) __wrap_job_is_stopping;
__typeof__(job_wait_despite_cancel) __wrap_job_wait_despite_cancel;
__typeof__(g_get_monotonic_time) __real_g_get_monotonic_time, __wrap_g_get_monotonic_time;

static const char *answer(void)
{
	unsigned last = G_N_ELEMENTS(fake.answers) - 1;

	while (!fake.answers[last])
		last--;
	return fake.answers[MIN(fake.saves, last)];
}

int __wrap_report_save_once(struct task *task, const char *wanted, const char *expected,
			    GError **error)
{
	const char *said = answer();

	g_assert_cmpstr(wanted, ==, task->method->claim_state);
	fake.saves++;
	g_free((char *)fake.expected);
	fake.expected = g_strdup(expected);
	if (g_str_equal(said, OK))
		return 0;
	if (g_str_equal(said, LOST))
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_TIMEOUT, said);
	else if (g_str_equal(said, BROKEN))
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_FAILED, said);
	else if (g_str_equal(said, GONE))
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND, said);
	else
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE, said);
	return -1;
}

const char *__wrap_rpc_failure_actual_task_state(const GError *error)
{
	return error->message;
}

void __wrap_report_progress(struct task *task, const char *phase, const char *detail, uint64_t done,
			    uint64_t total, bool forced)
{
	(void)task;
	(void)phase;
	(void)detail;
	(void)done;
	(void)total;
	(void)forced;
}

int __wrap_nova_conductor_event_find(struct rpc *rpc, struct rpc_context *context,
				     const struct nova_release *release, const char *uuid,
				     const char *event, GError **error)
{
	(void)rpc;
	(void)context;
	(void)release;
	g_assert_cmpstr(uuid, ==, INSTANCE_UUID);
	g_assert_cmpstr(event, ==, "compute_snapshot_instance");
	if (fake.event_after > 0) {
		fake.event_after--;
		return NOVA_EVENT_NONE;
	}
	if (fake.event < 0)
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_TIMEOUT, LOST);
	return fake.event;
}

int __wrap_nova_conductor_instance_save(struct rpc *rpc, struct rpc_context *context,
					struct nova_instance *instance, const char *expected,
					GError **error)
{
	(void)rpc;
	(void)context;
	(void)instance;
	(void)error;
	g_free((char *)fake.expected);
	fake.expected = g_strdup(expected);
	return 0;
}

enum want __wrap_snapshot_want(struct task *task, bool is_begun)
{
	(void)task;
	g_assert_false(is_begun);
	return fake.want;
}

bool __wrap_job_is_stopping(struct job *job)
{
	(void)job;
	return fake.is_stopping;
}

bool __wrap_job_wait_despite_cancel(struct job *job, unsigned ms)
{
	(void)job;
	fake.waited += fake.pause > 0 ? fake.pause : (gint64)ms * 1000;
	return !fake.is_stopping;
}

gint64 __wrap_g_get_monotonic_time(void)
{
	return __real_g_get_monotonic_time() + fake.waited;
}

struct fixture {
	struct config config;
	struct agent agent;
	struct task *task;
	char *dir;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	struct journal_cast cast = {.method = "snapshot_instance",
				    .instance = INSTANCE_UUID,
				    .image = IMAGE_UUID,
				    .message = "{}"};
	struct rpc_request *request = rpc_request_new_local(
		cJSON_Parse("{\"method\": \"snapshot_instance\", \"version\": \"6.0\", \"args\": "
			    "{\"image_id\": \"" IMAGE_UUID "\", \"instance\": "
			    "{\"nova_object.name\": \"Instance\", \"nova_object.data\": "
			    "{\"uuid\": \"" INSTANCE_UUID "\"}}}}"));
	g_autoptr(GError) error = NULL;

	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fixture->dir = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	fixture->config.beside = fixture->config.control = true;
	fixture->agent.config = &fixture->config;
	fixture->agent.journal = journal_open(fixture->dir, 1, &error);
	g_assert_no_error(error);
	g_assert_cmpint(journal_casts_add(fixture->agent.journal, &cast, 1, NULL), ==, 0);
	fixture->task = task_new(&fixture->agent, &method_snapshot_instance, request, &error);
	g_assert_no_error(error);
	fixture->task->journal_job = cast.job;
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_clear_pointer((char **)&fake.expected, g_free);
	task_free(fixture->task);
	journal_close(fixture->agent.journal);
	journal_folder_remove(fixture->dir);
	g_free(fixture->dir);
}

static struct journal_job *read_job(const struct fixture *fixture)
{
	struct journal_job *job = journal_find(fixture->agent.journal, IMAGE_UUID, NULL);

	g_assert_nonnull(job);
	return job;
}

/* Also the time that was only simulated. */
static gint64 seconds_since(gint64 began)
{
	return (g_get_monotonic_time() - began) / G_USEC_PER_SEC;
}

/* Checks the result, and that the journal and the task say the same. */
static void expect(struct fixture *fixture, enum claim_result result)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(journal_job_t) job = NULL;

	g_assert_true(claim_is_due(fixture->task));
	g_assert_cmpint(claim_take(fixture->task, &error), ==, result);
	job = read_job(fixture);
	g_assert_cmpint(fact_is_known(job, FACT_CLAIMED), ==, result == CLAIM_OURS);
	g_assert_cmpint(fixture->task->is_claimed, ==, result == CLAIM_OURS);
	g_assert_cmpint(claim_is_due(fixture->task), ==, result != CLAIM_OURS);
	g_assert_cmpint(error != NULL, ==, result != CLAIM_OURS);
}

static void test_saved(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.answers[0] = OK;
	expect(fixture, CLAIM_OURS);
	g_assert_cmpstr(fake.expected, ==, "image_snapshot_pending");
}

static void test_refused(struct fixture *fixture, gconstpointer states)
{
	fake.answers[0] = states;
	fake.event = NOVA_EVENT_LIVE;
	expect(fixture, CLAIM_TAKEN);
	g_assert_cmpuint(fake.saves, ==, 1);
}

static void test_refused_and_failed_by_nova(struct fixture *fixture, gconstpointer states)
{
	fake.answers[0] = states;
	fake.event = NOVA_EVENT_FAILED;
	expect(fixture, CLAIM_TAKEN);
	g_assert_cmpuint(fake.saves, ==, 1);
}

/* Nobody else would report it. But nova-compute may get a copy within seconds. */
static void test_refused_and_not_begun(struct fixture *fixture, gconstpointer states)
{
	gint64 began = g_get_monotonic_time();

	fake.answers[0] = states;
	expect(fixture, CLAIM_FAILED);
	g_assert_cmpint(seconds_since(began), >=, 20);
	g_assert_cmpint(seconds_since(began), <, 60);
}

static void test_refused_and_begun_later(struct fixture *fixture, gconstpointer states)
{
	fake.answers[0] = states;
	fake.event_after = 3;
	fake.event = NOVA_EVENT_LIVE;
	expect(fixture, CLAIM_TAKEN);
	g_assert_cmpuint(fake.saves, ==, 4);
}

/* `first`: no reply, or an error: for example a database connection that was lost in the commit. */
static void test_unclear_and_ours(struct fixture *fixture, gconstpointer first)
{
	fake.answers[0] = first;
	fake.answers[1] = "image_snapshot";
	expect(fixture, CLAIM_OURS);
}

static void test_unclear_and_taken_by_nova(struct fixture *fixture, gconstpointer first)
{
	fake.event = NOVA_EVENT_LIVE;
	fake.answers[0] = first;
	fake.answers[1] = "image_snapshot";
	expect(fixture, CLAIM_TAKEN);
}

/* Nobody knows who has it: it is asked for a day, and nothing is reported then. */
static void test_owner_unknown(struct fixture *fixture, gconstpointer unused)
{
	gint64 began = g_get_monotonic_time();

	(void)unused;
	fake.event = -1;
	fake.answers[0] = LOST;
	fake.answers[1] = "image_snapshot";
	expect(fixture, CLAIM_TAKEN);
	g_assert_cmpint(seconds_since(began), >=, 24 * 3600);
}

static void test_stopping(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.answers[0] = LOST;
	fake.is_stopping = true;
	expect(fixture, CLAIM_FAILED);
}

static void test_gone(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.answers[0] = GONE;
	expect(fixture, CLAIM_FAILED);
	g_assert_cmpuint(fake.saves, ==, 1);
}

static void test_gone_while_nova_has_it(struct fixture *fixture, gconstpointer answer)
{
	fake.answers[0] = answer;
	fake.event = NOVA_EVENT_LIVE;
	expect(fixture, CLAIM_TAKEN);
}

static void test_errors_of_the_conductor(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.answers[0] = BROKEN;
	fake.answers[1] = OK;
	expect(fixture, CLAIM_OURS);
}

static void test_soft_deleted(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.answers[0] = "soft-deleting";
	expect(fixture, CLAIM_FAILED);
	g_assert_cmpuint(fake.saves, ==, 1);
}

static void test_conductor_stays_broken(struct fixture *fixture, gconstpointer unused)
{
	gint64 began = g_get_monotonic_time();

	(void)unused;
	fake.answers[0] = BROKEN;
	expect(fixture, CLAIM_FAILED);
	g_assert_cmpint(seconds_since(began), >=, 600);
	g_assert_cmpint(seconds_since(began), <, 3600);
}

/* Then nothing may be reported, and a fault of ours least of all. */
static void test_conductor_stays_broken_and_nova_has_it(struct fixture *fixture,
							gconstpointer unused)
{
	gint64 began = g_get_monotonic_time();

	(void)unused;
	fake.answers[0] = BROKEN;
	fake.event = NOVA_EVENT_LIVE;
	expect(fixture, CLAIM_TAKEN);
	g_assert_cmpint(seconds_since(began), <, 3600);
}

static void test_conductor_stays_broken_for_all_calls(struct fixture *fixture, gconstpointer unused)
{
	gint64 began = g_get_monotonic_time();

	(void)unused;
	fake.answers[0] = BROKEN;
	fake.event = -1;
	expect(fixture, CLAIM_TAKEN);
	g_assert_cmpint(seconds_since(began), >=, 24 * 3600);
}

/* The first errors after a long silence: the conductor's database may need a while. */
static void test_broken_after_an_outage(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.answers[0] = LOST;
	fake.answers[1] = BROKEN;
	fake.answers[2] = OK;
	fake.pause = 900 * G_USEC_PER_SEC;
	expect(fixture, CLAIM_OURS);
}

/* nova-compute's start clears the task state of a request that waits. */
static void test_cleared(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.answers[0] = "";
	fake.answers[1] = OK;
	fake.want = WANT_YES;
	expect(fixture, CLAIM_OURS);
	g_assert_cmpstr(fake.expected, ==, ",image_snapshot_pending");
}

static void test_cleared_and_not_wanted(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.answers[0] = "";
	fake.want = WANT_NO;
	expect(fixture, CLAIM_FAILED);
}

static void test_cleared_after_nova_began(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.answers[0] = "";
	fake.want = WANT_YES;
	fake.event = NOVA_EVENT_LIVE;
	expect(fixture, CLAIM_TAKEN);
}

/* A failed backup leaves its image behind. */
static void test_cleared_after_nova_failed(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.answers[0] = "";
	fake.answers[1] = OK;
	fake.want = WANT_YES;
	fake.event = NOVA_EVENT_FAILED;
	expect(fixture, CLAIM_TAKEN);
}

/* nova-compute lost, and has reported that. */
static void test_lost_and_nova_failed(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.event = NOVA_EVENT_FAILED;
	fake.answers[0] = LOST;
	fake.answers[1] = "image_snapshot";
	expect(fixture, CLAIM_OURS);
}

static void test_cleared_twice(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.answers[0] = "";
	fake.answers[1] = "rebooting";
	fake.want = WANT_YES;
	expect(fixture, CLAIM_FAILED);
}

/* Also of a job that ends before its run is journaled. */
static void test_begun_by_an_earlier_process(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.answers[0] = LOST;
	fake.is_stopping = true;
	expect(fixture, CLAIM_FAILED);
	fixture->task->recovered_job = read_job(fixture);
	fake.answers[0] = "image_snapshot";
	fake.is_stopping = false;
	expect(fixture, CLAIM_OURS);
}

/* A process that died before its first save has not saved: it is the state of another request. */
static void test_run_by_an_earlier_process(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(journal_job_run(fixture->agent.journal, fixture->task->journal_job, NULL),
			==, 0);
	fixture->task->recovered_job = read_job(fixture);
	fake.answers[0] = "image_snapshot";
	expect(fixture, CLAIM_FAILED);
}

/* A failure before the claim does not clear the task state of what nova-compute does by then. */
static void test_failure_of_an_unclaimed_task(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(journal_job_run(fixture->agent.journal, fixture->task->journal_job, NULL),
			==, 0);
	fixture->task->recovered_job = read_job(fixture);
	g_assert_cmpint(report_task_state(fixture->task, NULL, "image_snapshot", NULL), ==, 0);
	g_assert_cmpstr(fake.expected, ==, "image_snapshot");
}

/* An instance that has moved: there is nothing to save. */
static void test_asked(struct fixture *fixture, gconstpointer event)
{
	g_autoptr(GError) error = NULL;

	fake.event = GPOINTER_TO_INT(event);
	g_assert_cmpint(claim_ask(fixture->task, &error), ==,
			fake.event == NOVA_EVENT_NONE ? CLAIM_OURS : CLAIM_TAKEN);
	g_assert_cmpint(error != NULL, ==, fake.event != NOVA_EVENT_NONE);
	g_assert_cmpuint(fake.saves, ==, 0);
	g_assert_true(claim_is_due(fixture->task));
}

static void test_journal_is_lost(struct fixture *fixture, gconstpointer event)
{
	g_autoptr(GError) error = NULL;
	bool is_begun = GPOINTER_TO_INT(event) != NOVA_EVENT_NONE;

	fake.event = GPOINTER_TO_INT(event);
	fake.pause = (gint64)3600 * G_USEC_PER_SEC;
	g_assert_cmpint(
		sqlite3_exec(fixture->agent.journal->db, "DROP TABLE steps", NULL, NULL, NULL), ==,
		SQLITE_OK);
	g_assert_cmpint(claim_take(fixture->task, &error), ==,
			is_begun ? CLAIM_TAKEN : CLAIM_FAILED);
	g_assert_cmpint(error->domain == JOURNAL_ERROR, ==, !is_begun);
	g_assert_cmpuint(fake.saves, ==, 0);
}

static void test_when_it_is_due(struct fixture *fixture, gconstpointer unused)
{
	struct journal *journal = fixture->agent.journal;
	int64_t job = fixture->task->journal_job;

	(void)unused;
	fixture->config.beside = false;
	g_assert_false(claim_is_due(fixture->task));
	fixture->config.beside = true;
	fixture->config.control = false;
	g_assert_false(claim_is_due(fixture->task));
	fixture->config.control = true;
	g_assert_cmpint(journal_step_add(journal, job, FACT_STOPPED, "", NULL), ==, 0);
	g_assert_cmpint(journal_step_add(journal, job, FACT_FAILURE " rpc 1", "", NULL), ==, 0);
	fixture->task->recovered_job = read_job(fixture);
	g_assert_true(claim_is_due(fixture->task));
	/* Also of a process that did not claim. */
	g_assert_cmpint(journal_step_add(journal, job, FACT_DATA_SENT, "", NULL), ==, 0);
	journal_job_free(fixture->task->recovered_job);
	fixture->task->recovered_job = read_job(fixture);
	g_assert_false(claim_is_due(fixture->task));
}

#define TEST(name, variant, data)                                                                  \
	g_test_add("/claim/" #name variant, struct fixture, data, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	/* What waits is logged as a warning or message. */
	g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
	TEST(saved, "", NULL);
	TEST(refused, "/other", "powering-off");
	TEST(refused, "/wanted", "image_snapshot");
	TEST(refused, "/later", "image_uploading");
	TEST(refused_and_failed_by_nova, "", "powering-off");
	TEST(refused_and_not_begun, "/other", "powering-off");
	TEST(refused_and_not_begun, "/wanted", "image_snapshot");
	TEST(refused_and_begun_later, "", "powering-off");
	TEST(unclear_and_ours, "/lost", LOST);
	TEST(unclear_and_ours, "/error", BROKEN);
	TEST(unclear_and_taken_by_nova, "/lost", LOST);
	TEST(unclear_and_taken_by_nova, "/error", BROKEN);
	TEST(owner_unknown, "", NULL);
	TEST(stopping, "", NULL);
	TEST(gone, "", NULL);
	TEST(gone_while_nova_has_it, "/gone", GONE);
	TEST(gone_while_nova_has_it, "/soft-deleting", "soft-deleting");
	TEST(errors_of_the_conductor, "", NULL);
	TEST(soft_deleted, "", NULL);
	TEST(conductor_stays_broken, "", NULL);
	TEST(conductor_stays_broken_and_nova_has_it, "", NULL);
	TEST(conductor_stays_broken_for_all_calls, "", NULL);
	TEST(broken_after_an_outage, "", NULL);
	TEST(cleared, "", NULL);
	TEST(cleared_and_not_wanted, "", NULL);
	TEST(cleared_after_nova_began, "", NULL);
	TEST(cleared_after_nova_failed, "", NULL);
	TEST(lost_and_nova_failed, "", NULL);
	TEST(cleared_twice, "", NULL);
	TEST(begun_by_an_earlier_process, "", NULL);
	TEST(run_by_an_earlier_process, "", NULL);
	TEST(failure_of_an_unclaimed_task, "", NULL);
	TEST(asked, "/none", GINT_TO_POINTER(NOVA_EVENT_NONE));
	TEST(asked, "/live", GINT_TO_POINTER(NOVA_EVENT_LIVE));
	TEST(asked, "/failed", GINT_TO_POINTER(NOVA_EVENT_FAILED));
	TEST(asked, "/unknown", GINT_TO_POINTER(-1));
	TEST(journal_is_lost, "/none", GINT_TO_POINTER(NOVA_EVENT_NONE));
	TEST(journal_is_lost, "/live", GINT_TO_POINTER(NOVA_EVENT_LIVE));
	TEST(when_it_is_due, "", NULL);
	return g_test_run();
}
