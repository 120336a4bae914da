/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of a recovered job. The linker puts the functions below in the place of the
 * conductor, the image store, and the job's thread.
 */
#include "agent/recovery/decide.h"

#include "agent/method/methods.h"
#include "agent/task/facts.h"
#include "tests/unit/journal-steps.h"

#define HOST "host-1"
#define INSTANCE_UUID "8a2f4c1e-0000-4000-8000-000000000001"
#define IMAGE_UUID "8a2f4c1e-0000-4000-8000-000000000002"
#define HASH "abcd"

static struct {
	const char *task_state;	     /* the instance's; NULL: none */
	unsigned unanswered_refresh; /* how often the conductor does not answer first */
	unsigned failed_refresh;     /* how often it answers with an error then */
	unsigned unanswered_image;   /* the same of the store */
	enum image_error refusal;    /* the store refuses every query so; 0: it does not */
	unsigned image_queries;
	const char *image_status;
	const char *image_hash;
	bool cancelled;
	unsigned waits;
	gint64 pause; /* us, that each wait takes */
} fake;

__typeof__(nova_conductor_instance_refresh) __wrap_nova_conductor_instance_refresh;
__typeof__(image_store_get) __wrap_image_store_get;
__typeof__(job_is_cancelled) __wrap_job_is_cancelled;
__typeof__(job_is_stopping) __wrap_job_is_stopping;
__typeof__(job_is_out_of_time) __wrap_job_is_out_of_time;
__typeof__(job_refuse_cancel) __wrap_job_refuse_cancel;
__typeof__(job_wait) __wrap_job_wait;
__typeof__(job_wait_despite_cancel) __wrap_job_wait_despite_cancel;
__typeof__(g_get_monotonic_time) __real_g_get_monotonic_time, __wrap_g_get_monotonic_time;

int __wrap_nova_conductor_instance_refresh(struct rpc *rpc, struct rpc_context *context,
					   struct nova_instance *instance, GError **error)
{
	(void)rpc;
	(void)context;
	if (fake.unanswered_refresh > 0) {
		fake.unanswered_refresh--;
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_TIMEOUT, "no answer");
		return -1;
	}
	if (fake.failed_refresh > 0) {
		fake.failed_refresh--;
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_FAILED, "an error");
		return -1;
	}
	nova_instance_set_task_state(instance, fake.task_state);
	return 0;
}

int __wrap_image_store_get(struct image_store *store, const struct image_identity *identity,
			   const char *id, struct image_record **ret_record, GError **error)
{
	struct image_record *record;

	(void)store;
	(void)identity;
	fake.image_queries++;
	if (fake.refusal) {
		g_set_error_literal(error, IMAGE_ERROR, (int)fake.refusal, "simulated: refused");
		return -1;
	}
	if (fake.unanswered_image > 0) {
		fake.unanswered_image--;
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "no answer");
		return -1;
	}
	record = g_new0(struct image_record, 1);
	record->id = g_strdup(id);
	record->status = g_strdup(fake.image_status);
	record->os_hash_algo = g_strdup("sha512");
	record->os_hash_value = g_strdup(fake.image_hash);
	record->size = 1;
	*ret_record = record;
	return 0;
}

bool __wrap_job_is_cancelled(const struct job *job)
{
	(void)job;
	return fake.cancelled;
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

bool __wrap_job_refuse_cancel(struct job *job)
{
	(void)job;
	return !fake.cancelled;
}

bool __wrap_job_wait(struct job *job, unsigned ms)
{
	(void)job;
	(void)ms;
	fake.waits++;
	return !fake.cancelled;
}

bool __wrap_job_wait_despite_cancel(struct job *job, unsigned ms)
{
	(void)job;
	(void)ms;
	fake.waits++;
	return true;
}

gint64 __wrap_g_get_monotonic_time(void)
{
	return __real_g_get_monotonic_time() + (gint64)fake.waits * fake.pause;
}

struct fixture {
	struct config config;
	struct agent agent;
	struct task *task;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fake.image_status = "queued";
	fake.image_hash = HASH;
	fixture->config.control = true;
	fixture->config.rpc.host = HOST;
	fixture->agent.config = &fixture->config;
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	task_free(fixture->task);
}

/* A job of the method that was begun so often, in the state of that event. */
static void recover(struct fixture *fixture, const struct task_method *method, unsigned runs,
		    enum task_event event)
{
	cJSON *cast = cJSON_Parse(
		"{\"version\": \"6.0\", \"args\": {\"image_id\": \"" IMAGE_UUID
		"\", \"instance\": {\"nova_object.name\": \"Instance\", \"nova_object.data\": "
		"{\"uuid\": \"" INSTANCE_UUID "\", \"host\": \"" HOST "\"}}}}");
	struct rpc_request *request;
	g_autoptr(GError) error = NULL;

	cJSON_AddStringToObject(cast, "method", method->name);
	request = rpc_request_new_local(cast);
	fixture->task = task_new(&fixture->agent, method, request, &error);
	g_assert_no_error(error);
	fixture->task->recovered_job = g_new0(struct journal_job, 1);
	fixture->task->recovered_job->instance = g_strdup(INSTANCE_UUID);
	fixture->task->recovered_job->runs = runs;
	fixture->task->recovered_job->steps = g_ptr_array_new_with_free_func(journal_steps_free);
	if (event == TASK_EVENT_RECOVER_SENT || event == TASK_EVENT_RECOVER_STORED)
		fixture->task->checksum = g_strdup(FACT_CHECKSUM " sha512 " HASH " 1");
	g_assert_cmpint(task_state_apply(fixture->task->state, event, NULL), ==, 0);
}

/* What a failure makes of the task's image. */
static enum task_image_deletion deletion_after(struct fixture *fixture, enum task_event event)
{
	g_assert_cmpint(task_state_apply(fixture->task->state, event, NULL), ==, 0);
	g_assert_true(task_state_due(fixture->task->state) & TASK_DUTY_IMAGE);
	return task_state_image_deletion(fixture->task->state);
}

static void expect(struct fixture *fixture, enum task_event event)
{
	g_autoptr(GError) error = NULL;
	enum task_event decided = recovery_decide(fixture->task, NULL, &error);

	g_assert_cmpstr(task_event_name(decided), ==, task_event_name(event));
}

/* The earlier process paused the guest: it clears the task state last. */
static void test_idle_instance_of_a_begun_job(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover(fixture, &method_pause_instance, 1, TASK_EVENT_RECOVER);
	expect(fixture, TASK_EVENT_NOTHING_LEFT);
}

/* Nothing was done for a cast that only waited: it must not be reported as done. */
static void test_idle_instance_of_a_job_that_waited(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover(fixture, &method_pause_instance, 0, TASK_EVENT_RECOVER);
	expect(fixture, TASK_EVENT_RUN);
}

static void test_idle_instance_of_a_shelve(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover(fixture, &method_shelve_instance, 0, TASK_EVENT_RECOVER);
	expect(fixture, TASK_EVENT_NOT_OURS);
}

/* Its image is complete. */
static void recover_kept(struct fixture *fixture)
{
	recover(fixture, &method_snapshot_instance, 1, TASK_EVENT_RECOVER_KEPT);
	journal_steps_add(fixture->task->recovered_job->steps, 0, FACT_KEEP_IMAGE, "");
	journal_steps_add(fixture->task->recovered_job->steps, 0,
			  FACT_CHECKSUM " sha512 " HASH " 1", "");
	fake.image_status = "active";
	fake.task_state = "image_uploading";
}

/* HACKING.md: a cancel has no effect on a task whose image is kept. */
static void test_kept_image_is_not_cancelled(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover_kept(fixture);
	fake.cancelled = true;
	expect(fixture, TASK_EVENT_RUN);
}

static void test_cancel_does_not_end_the_questions(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover_kept(fixture);
	fake.cancelled = true;
	fake.unanswered_refresh = fake.unanswered_image = 3;
	expect(fixture, TASK_EVENT_RUN);
	g_assert_cmpuint(fake.waits, ==, 3);
	g_assert_cmpuint(fake.unanswered_refresh, ==, 0);
}

/* Of any other task a cancel ends them. */
static void test_cancelled(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover(fixture, &method_snapshot_instance, 1, TASK_EVENT_RECOVER_WRITTEN);
	fake.cancelled = true;
	fake.unanswered_refresh = 3;
	expect(fixture, TASK_EVENT_CANCELLED);
	g_assert_cmpuint(fake.waits, ==, 1);
}

/* The store has confirmed it: it is not asked before the task state is cleared, and so it does not
 * matter that it refuses novasnap's own user. */
static void test_stored_image_is_not_queried(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover(fixture, &method_snapshot_instance, 1, TASK_EVENT_RECOVER_STORED);
	fake.task_state = "image_uploading";
	fake.refusal = IMAGE_ERROR_FORBIDDEN;
	expect(fixture, TASK_EVENT_RUN);
	g_assert_cmpuint(fake.image_queries, ==, 0);
}

static void test_stored_image_of_a_busy_instance(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover(fixture, &method_snapshot_instance, 1, TASK_EVENT_RECOVER_STORED);
	fake.task_state = "resize_prep";
	fake.image_status = "active";
	fake.refusal = IMAGE_ERROR_FORBIDDEN;
	expect(fixture, TASK_EVENT_NOTHING_LEFT);
	fake.refusal = 0;
	fake.image_hash = "other";
	expect(fixture, TASK_EVENT_IMAGE_DIFFERS);
	g_assert_cmpint(deletion_after(fixture, TASK_EVENT_IMAGE_DIFFERS), ==, TASK_IMAGE_DELETE);
}

/* The method does not run, so nothing else verifies it. */
static void test_stored_image_of_an_idle_shelve(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.image_status = "active";
	fake.image_hash = "other";
	recover(fixture, &method_shelve_instance, 1, TASK_EVENT_RECOVER_STORED);
	expect(fixture, TASK_EVENT_IMAGE_DIFFERS);
	task_free(fixture->task);
	fake.image_hash = HASH;
	recover(fixture, &method_shelve_instance, 1, TASK_EVENT_RECOVER_STORED);
	expect(fixture, TASK_EVENT_NOTHING_LEFT);
	g_assert_cmpint(task_state_image(fixture->task->state), ==, TASK_IMAGE_KEPT);
}

/* It may be complete: it is not deleted before it was compared. */
static void test_sent_image_of_a_store_that_refuses(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover(fixture, &method_snapshot_instance, 1, TASK_EVENT_RECOVER_SENT);
	fake.task_state = "image_uploading";
	fake.refusal = IMAGE_ERROR_FORBIDDEN;
	expect(fixture, TASK_EVENT_FAILED);
	g_assert_cmpint(deletion_after(fixture, TASK_EVENT_FAILED), ==, TASK_IMAGE_DELETE_WRONG);
}

static void test_sent_image_is_complete(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover(fixture, &method_snapshot_instance, 1, TASK_EVENT_RECOVER_SENT);
	fake.task_state = "image_uploading";
	fake.image_status = "active";
	fake.unanswered_image = 3;
	expect(fixture, TASK_EVENT_RUN);
	g_assert_cmpuint(fake.waits, ==, 3);
}

static void test_sent_image_differs(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover(fixture, &method_snapshot_instance, 1, TASK_EVENT_RECOVER_SENT);
	fake.task_state = "image_uploading";
	fake.image_status = "active";
	fake.image_hash = "other";
	expect(fixture, TASK_EVENT_IMAGE_DIFFERS);
}

/* Its data is at a location, which the store was given now without an answer. */
static void recover_location(struct fixture *fixture, unsigned request_timeout_s)
{
	recover(fixture, &method_snapshot_instance, 1, TASK_EVENT_RECOVER_SENT);
	g_free(fixture->task->checksum);
	fixture->task->checksum = fact_location_text("rbd://fsid/images/x/snap", 1);
	fixture->task->location_sent_at = g_get_real_time() / G_USEC_PER_SEC;
	fixture->config.image.request_timeout_s = request_timeout_s;
	fake.task_state = "image_uploading";
}

static void test_location_is_complete(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover_location(fixture, 60);
	fake.image_status = "active";
	expect(fixture, TASK_EVENT_RUN);
	g_assert_cmpint(task_state_image(fixture->task->state), ==, TASK_IMAGE_KEPT);
}

/* An image that waits for data may get it later: the method must not run meanwhile. */
static void test_location_may_still_come(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover_location(fixture, 3600);
	fixture->config.image.saving_timeout_s = 1;
	fake.pause = 900 * G_USEC_PER_SEC;
	expect(fixture, TASK_EVENT_FAILED);
	g_assert_cmpuint(fake.waits, >, 0);
}

static void test_location_did_not_come(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover_location(fixture, 0);
	expect(fixture, TASK_EVENT_RUN);
	g_assert_cmpuint(fake.waits, ==, 0);
	g_assert_null(fixture->task->checksum);
}

static void test_runs_that_were_stopped_do_not_count(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover(fixture, &method_snapshot_instance, 5, TASK_EVENT_RECOVER);
	fake.task_state = "image_uploading";
	for (unsigned i = 0; i < 3; i++)
		journal_steps_add(fixture->task->recovered_job->steps, 0, FACT_STOPPED, "");
	expect(fixture, TASK_EVENT_RUN);
	fixture->task->recovered_job->runs = 6;
	expect(fixture, TASK_EVENT_FAILED);
}

/* A conductor that comes back may need a while until its database does. */
static void test_errors_after_a_long_silence(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover(fixture, &method_snapshot_instance, 1, TASK_EVENT_RECOVER);
	fake.task_state = "image_snapshot";
	fake.unanswered_refresh = fake.failed_refresh = 1;
	fake.pause = 900 * G_USEC_PER_SEC;
	expect(fixture, TASK_EVENT_RUN);
}

static void test_errors_for_a_long_time(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	recover(fixture, &method_snapshot_instance, 1, TASK_EVENT_RECOVER);
	fake.failed_refresh = 3;
	fake.pause = 900 * G_USEC_PER_SEC;
	expect(fixture, TASK_EVENT_FAILED);
	g_assert_cmpuint(fake.failed_refresh, ==, 1);
}

static double seconds_until(const struct task *task, unsigned limit_s)
{
	return (double)(fact_image_asked_until(task, (gint64)limit_s * G_USEC_PER_SEC) -
			g_get_monotonic_time()) /
	       G_USEC_PER_SEC;
}

/* Else a process that is restarted often would ask for ever. */
static void test_restarts_do_not_extend_the_questions(struct fixture *fixture, gconstpointer unused)
{
	struct journal_job *left;
	struct journal_step *asked;

	(void)unused;
	recover(fixture, &method_snapshot_instance, 1, TASK_EVENT_RECOVER_SENT);
	left = fixture->task->recovered_job;
	g_assert_cmpint(fact_image_asked(left), ==, 0);
	g_assert_cmpfloat_with_epsilon(seconds_until(fixture->task, 1000), 1000, 5);
	journal_steps_add(fixture->task->recovered_job->steps, 0, FACT_DATA_SENT, "");
	journal_steps_add(fixture->task->recovered_job->steps, 0, FACT_IMAGE_ASKED, "");
	asked = left->steps->pdata[1];
	asked->at = g_get_real_time() / G_USEC_PER_SEC - 900;
	fixture->task->image_asked_at = fact_image_asked(left);
	g_assert_cmpfloat_with_epsilon(seconds_until(fixture->task, 1000), 100, 5);
	g_assert_cmpfloat_with_epsilon(seconds_until(fixture->task, 500), FACT_ASK_MIN_S, 5);
	g_assert_cmpfloat_with_epsilon(seconds_until(fixture->task, 10), 10, 5);
	/* A clock that was set back. */
	fixture->task->image_asked_at += 5000;
	g_assert_cmpfloat_with_epsilon(seconds_until(fixture->task, 1000), 1000, 5);
	/* The next upload begins again. */
	journal_steps_add(fixture->task->recovered_job->steps, 0, FACT_DATA_SENT, "");
	g_assert_cmpint(fact_image_asked(left), ==, 0);
}

static void test_questions_are_noted_once(struct fixture *fixture, gconstpointer unused)
{
	int64_t first;

	(void)unused;
	recover(fixture, &method_snapshot_instance, 1, TASK_EVENT_RECOVER_SENT);
	fake.task_state = "image_uploading";
	fake.image_status = "active";
	fake.unanswered_image = 1;
	expect(fixture, TASK_EVENT_RUN);
	first = fixture->task->image_asked_at;
	g_assert_cmpint(first, >, 0);
	fact_note_image_asked(fixture->task);
	g_assert_cmpint(fixture->task->image_asked_at, ==, first);
}

#define TEST(name)                                                                                 \
	g_test_add("/recovery-decide/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(idle_instance_of_a_begun_job);
	TEST(idle_instance_of_a_job_that_waited);
	TEST(idle_instance_of_a_shelve);
	TEST(kept_image_is_not_cancelled);
	TEST(cancel_does_not_end_the_questions);
	TEST(cancelled);
	TEST(stored_image_is_not_queried);
	TEST(stored_image_of_a_busy_instance);
	TEST(stored_image_of_an_idle_shelve);
	TEST(sent_image_of_a_store_that_refuses);
	TEST(sent_image_is_complete);
	TEST(sent_image_differs);
	TEST(location_is_complete);
	TEST(location_may_still_come);
	TEST(location_did_not_come);
	TEST(runs_that_were_stopped_do_not_count);
	TEST(errors_after_a_long_silence);
	TEST(errors_for_a_long_time);
	TEST(restarts_do_not_extend_the_questions);
	TEST(questions_are_noted_once);
	return g_test_run();
}
