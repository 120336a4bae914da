/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The intake: a cast is journaled, then acked, at its arrival, and only then waits for its turn.
 * The linker puts the functions below in the place of those of a broker's request.
 */
#include "agent/task/intake.h"

#include <sqlite3.h>

#include "agent/journal/db.h"
#include "tests/unit/journal-folder.h"

#define UUID_OF(n) "8a2f4c1e-0000-4000-8000-00000000000" #n
#define LIMIT_US (20 * G_USEC_PER_SEC)

__typeof__(rpc_request_ack) __wrap_rpc_request_ack;
__typeof__(rpc_request_ack_surely) __wrap_rpc_request_ack_surely;
__typeof__(rpc_request_requeue) __wrap_rpc_request_requeue;
__typeof__(rpc_request_is_call) __wrap_rpc_request_is_call;
__typeof__(rpc_request_free) __wrap_rpc_request_free, __real_rpc_request_free;

/* What happened, in its order: "ack one", "run one", "free one". */
static struct {
	pthread_mutex_t lock;
	GPtrArray *events;	 /* guarded by the lock */
	struct journal *journal; /* NULL: none */
	atomic_bool holds;	 /* jobs do not end */
	atomic_bool holds_pause; /* the intake's thread waits in a pause that it begins */
	atomic_bool loses_acks;	 /* of rpc_request_ack_surely */
	atomic_uint checked;	 /* requests that the intake has begun to process */
} world = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void note(const char *what, const char *id)
{
	pthread_mutex_lock(&world.lock);
	g_ptr_array_add(world.events, g_strdup_printf("%s %s", what, id));
	pthread_mutex_unlock(&world.lock);
}

/* At which place it happened; 0: it did not. */
static unsigned when(const char *what, const char *id)
{
	g_autofree char *event = g_strdup_printf("%s %s", what, id);
	guint at = 0;
	bool found;

	pthread_mutex_lock(&world.lock);
	found = g_ptr_array_find_with_equal_func(world.events, event, g_str_equal, &at);
	pthread_mutex_unlock(&world.lock);
	return found ? at + 1 : 0;
}

static void wait_for(const char *what, const char *id)
{
	gint64 until = g_get_monotonic_time() + LIMIT_US;

	while (when(what, id) == 0) {
		if (g_get_monotonic_time() > until)
			g_error("no \"%s %s\"", what, id);
		g_usleep(5000);
	}
}

static bool is_journaled(const char *id)
{
	const struct journal_value values[] = {JOURNAL_TEXT(id)};
	sqlite3_stmt *statement;
	bool found;

	pthread_mutex_lock(&world.journal->lock);
	statement = journal_db_prepare(
		world.journal, "SELECT 1 FROM jobs WHERE unique_id = ? AND ended_at IS NULL",
		values, G_N_ELEMENTS(values));
	found = sqlite3_step(statement) == SQLITE_ROW;
	(void)sqlite3_finalize(statement);
	pthread_mutex_unlock(&world.journal->lock);
	return found;
}

bool __wrap_rpc_request_is_call(const struct rpc_request *request)
{
	return g_str_has_prefix(rpc_request_unique_id(request), "call");
}

void __wrap_rpc_request_ack(struct rpc_request *request)
{
	const char *id = rpc_request_unique_id(request);

	if (world.journal && !rpc_request_is_call(request))
		g_assert_true(is_journaled(id));
	note("ack", id);
}

/* Before nova-compute can have the message no more, nothing may say that this process does it. */
bool __wrap_rpc_request_ack_surely(struct rpc_request *request)
{
	const char *id = rpc_request_unique_id(request);

	g_assert_false(is_journaled(id));
	note("ack surely", id);
	return !atomic_load(&world.loses_acks);
}

void __wrap_rpc_request_requeue(struct rpc_request *request)
{
	const char *id = rpc_request_unique_id(request);

	/* Otherwise the broker would deliver it here again. */
	g_assert_cmpuint(when("consuming", "paused"), >, when("consuming", "resumed"));
	g_assert_false(is_journaled(id));
	note("requeue", id);
}

void __wrap_rpc_request_free(struct rpc_request *request)
{
	if (request)
		note("free", rpc_request_unique_id(request));
	__real_rpc_request_free(request);
}

static int run_nothing(struct task *task, GError **error)
{
	(void)task;
	(void)error;
	return 0;
}

static int check_args(const cJSON *args, GError **error)
{
	(void)atomic_fetch_add(&world.checked, 1);
	if (!cJSON_HasObjectItem(args, "nonsense"))
		return 0;
	g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE, "nonsense");
	return -1;
}

static const struct task_method method = {
	.name = "pause_instance", .run = run_nothing, .check_args = check_args};

static const struct task_method method_with_step = {
	.name = "quiesce_instance", .run = run_nothing, .flags = METHOD_LEAVES_STEP};

static const struct task_method claimed_method = {
	.name = "snapshot_instance", .run = run_nothing, .claim_state = "image_snapshot"};

static void run_job(struct job *job, void *opaque)
{
	struct task *task = opaque;

	(void)job;
	note("run", rpc_request_unique_id(task->request));
	while (atomic_load(&world.holds))
		g_usleep(5000);
}

static void free_job(void *opaque)
{
	task_free(opaque);
}

static const struct job_ops job_ops = {.run = run_job, .free = free_job};

static void pause_consuming(const GError *why, void *opaque)
{
	(void)opaque;
	g_assert_error(why, JOURNAL_ERROR, JOURNAL_ERROR_FAILED);
	note("consuming", "paused");
	while (world.holds_pause)
		g_usleep(1000);
}

static void resume_consuming(void *opaque)
{
	(void)opaque;
	note("consuming", "resumed");
}

static const struct intake_ops intake_ops = {&job_ops, pause_consuming, resume_consuming, NULL};

struct fixture {
	struct config config;
	struct agent agent;
	struct intake *intake;
	char *dir;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	world.events = g_ptr_array_new_with_free_func(g_free);
	atomic_store(&world.holds, false);
	atomic_store(&world.loses_acks, false);
	fixture->agent.config = &fixture->config;
	fixture->dir = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	fixture->agent.pool = worker_pool_new(0);
	fixture->agent.journal = journal_open(fixture->dir, 1, NULL);
	g_assert_nonnull(fixture->agent.journal);
	world.journal = fixture->agent.journal;
	fixture->intake = intake_new(&fixture->agent, &intake_ops);
	g_assert_cmpint(intake_start(fixture->intake, NULL), ==, 0);
}

static void stop(struct fixture *fixture)
{
	g_assert_true(intake_stop(fixture->intake, 20));
	atomic_store(&world.holds, false);
	g_assert_cmpuint(worker_pool_stop(fixture->agent.pool, 20, 0), ==, 0);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	stop(fixture);
	intake_free(fixture->intake);
	worker_pool_free(fixture->agent.pool);
	journal_close(fixture->agent.journal);
	journal_folder_remove(fixture->dir);
	g_assert_false(g_file_test(fixture->dir, G_FILE_TEST_EXISTS));
	g_free(fixture->dir);
	g_ptr_array_unref(world.events);
}

static bool take_of(struct fixture *fixture, const struct task_method *of, const char *id,
		    const char *instance, const char *more)
{
	g_autofree char *text = g_strdup_printf(
		"{\"method\": \"pause_instance\", \"version\": \"6.0\", \"_unique_id\": \"%s\", "
		"\"args\": {%s\"instance\": {\"nova_object.name\": \"Instance\", "
		"\"nova_object.data\": {\"uuid\": \"%s\"}}}}",
		id, more, instance);

	return intake_take(fixture->intake, of, rpc_request_new_local(cJSON_Parse(text)), NULL);
}

static bool take(struct fixture *fixture, const char *id, const char *instance, const char *more)
{
	return take_of(fixture, &method, id, instance, more);
}

static void forget_events(void)
{
	pthread_mutex_lock(&world.lock);
	g_ptr_array_set_size(world.events, 0);
	pthread_mutex_unlock(&world.lock);
}

static void test_journaled_then_acked_then_run(struct fixture *fixture, gconstpointer unused)
{
	static const char *const ids[] = {"one", "two", "three"};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(ids); i++)
		g_assert_true(take(fixture, ids[i], UUID_OF(1), ""));
	for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
		wait_for("free", ids[i]);
		g_assert_cmpuint(when("ack", ids[i]), <, when("run", ids[i]));
	}
	/* Of one instance, in the order of their arrival. */
	g_assert_cmpuint(when("run", "one"), <, when("run", "two"));
	g_assert_cmpuint(when("run", "two"), <, when("run", "three"));
	g_assert_cmpuint(intake_count_waiting(fixture->intake), ==, 0);
}

/* Beside a nova-compute, for a method that is not claimed. */
static void test_acked_then_journaled(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture->config.beside = true;
	take(fixture, "one", UUID_OF(1), "");
	wait_for("free", "one");
	g_assert_cmpuint(when("ack surely", "one"), <, when("run", "one"));
	g_assert_cmpuint(when("ack surely", "one"), >, 0);
	take_of(fixture, &claimed_method, "two", UUID_OF(1), "");
	wait_for("free", "two");
	g_assert_cmpuint(when("ack surely", "two"), ==, 0);
	g_assert_cmpuint(when("ack", "two"), <, when("run", "two"));
}

/* nova-compute may have it. */
static void test_an_ack_that_may_be_lost(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture->config.beside = true;
	atomic_store(&world.loses_acks, true);
	g_test_expect_message("agent", G_LOG_LEVEL_WARNING, "*if it has, the request is lost*");
	take(fixture, "one", UUID_OF(1), "");
	wait_for("free", "one");
	g_test_assert_expected_messages();
	g_assert_cmpuint(when("run", "one"), ==, 0);
	g_assert_false(is_journaled("one"));
	g_assert_cmpuint(intake_count_waiting(fixture->intake), ==, 0);
	/* The broker delivers it again. */
	atomic_store(&world.loses_acks, false);
	forget_events();
	take(fixture, "one", UUID_OF(1), "");
	wait_for("run", "one");
}

static void test_safe_before_its_turn(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(journal_job_t) job = NULL;

	(void)unused;
	atomic_store(&world.holds, true);
	take(fixture, "one", UUID_OF(1), "");
	wait_for("run", "one");
	take(fixture, "two", UUID_OF(1), "");
	wait_for("ack", "two");
	g_assert_cmpuint(when("run", "two"), ==, 0);
	job = journal_find(fixture->agent.journal, UUID_OF(1), NULL);
	g_assert_cmpstr(job->unique_id, ==, "two");
	g_assert_cmpuint(job->runs, ==, 0);
	/* The next start runs it. */
	stop(fixture);
	g_assert_cmpuint(when("run", "two"), ==, 0);
	g_assert_true(is_journaled("two"));
}

static void test_the_journal_has_the_whole_message(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(journal_job_t) job = NULL;
	cJSON *message;

	(void)unused;
	take(fixture, "one", UUID_OF(1), "\"password\": \"secret\", ");
	wait_for("free", "one");
	job = journal_find(fixture->agent.journal, UUID_OF(1), NULL);
	message = cJSON_Parse(job->message);
	g_assert_true(cJSON_HasObjectItem(
		cJSON_GetObjectItem(cJSON_GetObjectItem(message, "args"), "instance"),
		"nova_object.data"));
	g_assert_null(g_strrstr(job->message, "secret"));
	cJSON_Delete(message);
}

static void test_a_duplicate_is_acked_and_dropped(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	take(fixture, "one", UUID_OF(1), "");
	wait_for("free", "one");
	g_ptr_array_set_size(world.events, 0);
	take(fixture, "one", UUID_OF(1), "");
	wait_for("free", "one");
	g_assert_cmpuint(when("ack", "one"), >, 0);
	g_assert_cmpuint(when("run", "one"), ==, 0);
}

static void test_nonsense_is_rejected(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_test_expect_message("rpc", G_LOG_LEVEL_WARNING, "*nonsense*");
	take(fixture, "one", UUID_OF(1), "\"nonsense\": 1, ");
	/* rpc_request_reject acks and frees it. */
	while (intake_count_waiting(fixture->intake) > 0)
		g_usleep(5000);
	g_test_assert_expected_messages();
	g_assert_cmpuint(when("run", "one"), ==, 0);
	g_assert_false(is_journaled("one"));
}

/* As when the disk is full. */
static void limit_journal(struct fixture *fixture, const char *pages)
{
	struct journal *journal = fixture->agent.journal;
	g_autofree char *sql = g_strdup_printf("PRAGMA max_page_count = %s", pages);

	pthread_mutex_lock(&journal->lock);
	g_assert_cmpint(sqlite3_exec(journal->db, sql, NULL, NULL, NULL), ==, SQLITE_OK);
	pthread_mutex_unlock(&journal->lock);
}

/* Does not fit into a journal of few pages. */
static char *long_argument(gsize mebibytes)
{
	g_autofree char *filler = g_strnfill(mebibytes << 20, 'x');

	return g_strdup_printf("\"filler\": \"%s\", ", filler);
}

static void test_what_cannot_be_journaled_is_requeued_once(struct fixture *fixture,
							   gconstpointer unused)
{
	g_autofree char *filler = long_argument(1);

	(void)unused;
	limit_journal(fixture, "20");
	take(fixture, "one", UUID_OF(1), filler);
	wait_for("requeue", "one");
	/* What arrives before the broker has ended consuming. */
	take(fixture, "two", UUID_OF(2), "");
	wait_for("free", "two");
	g_assert_cmpuint(when("requeue", "two"), >, 0);
	/* A call does not wait for the journal. */
	take(fixture, "call", UUID_OF(3), "");
	wait_for("run", "call");
	g_assert_cmpuint(intake_count_waiting(fixture->intake), ==, 0);
	/* As long as the cast would not fit again, the broker keeps it. */
	g_usleep(2500 * 1000);
	g_assert_cmpuint(when("consuming", "resumed"), ==, 0);
	limit_journal(fixture, "100000");
	wait_for("consuming", "resumed");
	g_assert_cmpuint(when("ack", "one"), ==, 0);
	g_assert_cmpuint(when("ack", "two"), ==, 0);
	take(fixture, "one", UUID_OF(1), filler);
	take(fixture, "two", UUID_OF(2), "");
	wait_for("run", "one");
	wait_for("run", "two");
}

/* The casts would fit again, though not each with the length of the longest. */
static void test_only_the_room_of_the_casts_is_reserved(struct fixture *fixture,
							gconstpointer unused)
{
	g_autofree char *first = long_argument(1);
	g_autofree char *longest = long_argument(4);

	(void)unused;
	world.holds_pause = true;
	limit_journal(fixture, "20");
	take(fixture, "first", UUID_OF(1), first);
	wait_for("consuming", "paused");
	for (unsigned i = 1; i <= 20; i++) {
		g_autofree char *id = g_strdup_printf("small-%u", i);

		take(fixture, id, UUID_OF(1), "");
	}
	take(fixture, "longest", UUID_OF(2), longest);
	world.holds_pause = false;
	wait_for("requeue", "longest");
	limit_journal(fixture, "4000");
	wait_for("consuming", "resumed");
}

/* `mebibytes`: more than what earlier pauses have reserved. */
static gint64 pause_once(struct fixture *fixture, const char *id, gsize mebibytes)
{
	g_autofree char *filler = long_argument(mebibytes);
	gint64 began = g_get_monotonic_time();

	forget_events();
	limit_journal(fixture, "20");
	take(fixture, id, UUID_OF(1), filler);
	wait_for("requeue", id);
	limit_journal(fixture, "100000");
	wait_for("consuming", "resumed");
	return g_get_monotonic_time() - began;
}

/* Each pause requeues casts, so pauses that follow each other become longer. */
static void test_a_journal_that_fails_again_and_again(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(pause_once(fixture, "one", 1), >=, G_USEC_PER_SEC);
	g_assert_cmpint(pause_once(fixture, "two", 3), >=, 2 * G_USEC_PER_SEC);
	g_assert_cmpint(pause_once(fixture, "three", 9), >=, 4 * G_USEC_PER_SEC);
}

/* A call with a step that outlives it is journaled, but does not wait for the journal. */
static void test_a_call_that_leaves_a_step(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *filler = long_argument(1);

	(void)unused;
	take(fixture, "call-1", UUID_OF(1), "");
	take_of(fixture, &method_with_step, "call-2", UUID_OF(2), "");
	wait_for("free", "call-1");
	wait_for("free", "call-2");
	g_assert_false(is_journaled("call-1"));
	g_assert_true(is_journaled("call-2"));
	limit_journal(fixture, "20");
	take_of(fixture, &method_with_step, "call-3", UUID_OF(2), filler);
	wait_for("run", "call-3");
	g_assert_false(is_journaled("call-3"));
	limit_journal(fixture, "100000");
}

static void test_a_stop_leaves_to_the_broker_what_is_not_journaled(struct fixture *fixture,
								   gconstpointer unused)
{
	g_autofree char *filler = long_argument(1);

	(void)unused;
	limit_journal(fixture, "20");
	take(fixture, "one", UUID_OF(1), filler);
	wait_for("consuming", "paused");
	stop(fixture);
	g_assert_cmpuint(when("requeue", "one"), >, 0);
	g_assert_cmpuint(when("ack", "one"), ==, 0);
	g_assert_cmpuint(when("run", "one"), ==, 0);
	/* Freed without an ack: the broker gives it out again. */
	take(fixture, "two", UUID_OF(2), "");
	wait_for("free", "two");
	g_assert_cmpuint(when("ack", "two"), ==, 0);
}

static void test_many_more_than_a_batch(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GPtrArray) jobs = NULL;

	(void)unused;
	atomic_store(&world.holds, true);
	for (unsigned i = 0; i < 1000; i++) {
		g_autofree char *id = g_strdup_printf("%u", i);

		take(fixture, id, UUID_OF(1), "");
	}
	wait_for("ack", "999");
	g_assert_cmpuint(intake_count_waiting(fixture->intake), ==, 0);
	jobs = journal_list(fixture->agent.journal, JOURNAL_OPEN, 0, NULL);
	g_assert_cmpuint(jobs->len, ==, 1000);
	for (guint i = 0; i < jobs->len; i++) {
		g_autofree char *id = g_strdup_printf("%u", i);

		g_assert_cmpstr(((struct journal_job *)jobs->pdata[i])->unique_id, ==, id);
	}
}

static void test_without_a_journal(struct fixture *fixture, gconstpointer unused)
{
	struct intake *intake = fixture->intake;

	(void)unused;
	world.journal = NULL;
	fixture->intake = intake_new(&fixture->agent, &intake_ops);
	g_assert_true(take(fixture, "one", UUID_OF(1), ""));
	g_test_expect_message("rpc", G_LOG_LEVEL_WARNING, "*nonsense*");
	g_assert_false(take(fixture, "two", UUID_OF(1), "\"nonsense\": 1, "));
	g_test_assert_expected_messages();
	wait_for("run", "one");
	intake_free(fixture->intake);
	fixture->intake = intake;
}

/* The disk of the journal hangs: the stop does not wait for it, and nothing is acked or lost. */
static void test_a_stop_while_the_journal_hangs(struct fixture *fixture, gconstpointer unused)
{
	gint64 began = g_get_monotonic_time();

	(void)unused;
	pthread_mutex_lock(&fixture->agent.journal->lock);
	atomic_store(&world.checked, 0);
	g_assert_true(take(fixture, "one", UUID_OF(1), ""));
	/* Otherwise the stop would come before the request reaches the journal. */
	while (atomic_load(&world.checked) == 0 && g_get_monotonic_time() - began < LIMIT_US)
		g_usleep(5000);
	began = g_get_monotonic_time();
	g_assert_false(intake_stop(fixture->intake, 1));
	g_assert_cmpint(g_get_monotonic_time() - began, <, LIMIT_US / 2);
	g_assert_cmpuint(when("ack", "one"), ==, 0);
	pthread_mutex_unlock(&fixture->agent.journal->lock);
	g_assert_true(intake_stop(fixture->intake, 20));
	g_assert_cmpuint(when("ack", "one"), >, 0);
}

#define TEST(name)                                                                                 \
	g_test_add("/intake/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(journaled_then_acked_then_run);
	TEST(acked_then_journaled);
	TEST(an_ack_that_may_be_lost);
	TEST(safe_before_its_turn);
	TEST(the_journal_has_the_whole_message);
	TEST(a_duplicate_is_acked_and_dropped);
	TEST(nonsense_is_rejected);
	TEST(what_cannot_be_journaled_is_requeued_once);
	TEST(only_the_room_of_the_casts_is_reserved);
	TEST(a_journal_that_fails_again_and_again);
	TEST(a_call_that_leaves_a_step);
	TEST(a_stop_leaves_to_the_broker_what_is_not_journaled);
	TEST(many_more_than_a_batch);
	TEST(without_a_journal);
	TEST(a_stop_while_the_journal_hangs);
	return g_test_run();
}
