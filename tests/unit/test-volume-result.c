/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long the result of a volume snapshot is reported to Cinder, whose answers are those of the
 * function below.
 */
#include "agent/task/volume-result.h"

#include "agent/method/methods.h"
#include "tests/unit/journal-folder.h"

#define INSTANCE_UUID "8a2f4c1e-0000-4000-8000-000000000001"
#define SNAPSHOT "8a2f4c1e-0000-4000-8000-000000000002"
#define UNDO "{\"snapshot\":\"" SNAPSHOT "\",\"status\":\"creating\",\"project_id\":\"p\"}"
#define DAYS 3

static struct {
	int code; /* of IMAGE_ERROR; -1: it is accepted */
	unsigned updates;
	unsigned taken; /* how often libvirt was asked for the snapshot */
} fake;

__typeof__(cinder_snapshot_update) __wrap_cinder_snapshot_update;
__typeof__(virt_volume_snapshot_create) __wrap_virt_volume_snapshot_create;
__typeof__(job_is_stopping) __wrap_job_is_stopping;
__typeof__(job_is_cancelled) __wrap_job_is_cancelled;
__typeof__(job_abort_flag) __wrap_job_abort_flag;

/* As without a connection to libvirt. */
int __wrap_virt_volume_snapshot_create(struct virt_host *host, const struct virt_volume *volume,
				       const char *new_file, GError **error)
{
	(void)host;
	(void)volume;
	(void)new_file;
	fake.taken++;
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED, "simulated");
	return -1;
}

bool __wrap_job_is_stopping(struct job *job)
{
	(void)job;
	return false;
}

bool __wrap_job_is_cancelled(const struct job *job)
{
	(void)job;
	return false;
}

const atomic_int *__wrap_job_abort_flag(const struct job *job)
{
	static const atomic_int flag;

	(void)job;
	return &flag;
}

int __wrap_cinder_snapshot_update(struct cinder_service *service,
				  const struct image_identity *identity, const char *snapshot,
				  const char *status, GError **error)
{
	(void)service;
	/* The user's token is not journaled. */
	g_assert_null(identity->token);
	g_assert_cmpstr(identity->project_id, ==, "p");
	g_assert_cmpstr(snapshot, ==, SNAPSHOT);
	g_assert_cmpstr(status, ==, "creating");
	fake.updates++;
	if (fake.code < 0)
		return 0;
	g_set_error_literal(error, IMAGE_ERROR, fake.code, "simulated");
	return -1;
}

struct fixture {
	struct config config;
	struct agent agent;
	char *dir;
	int64_t job;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	struct journal_cast cast = {
		.method = "volume_snapshot_create", .instance = INSTANCE_UUID, .message = "{}"};

	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fixture->config.journal_days = DAYS;
	fixture->agent.config = &fixture->config;
	fixture->agent.volumes = (struct cinder_service *)fixture;
	fixture->dir = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	fixture->agent.journal = journal_open(fixture->dir, DAYS, NULL);
	g_assert_nonnull(fixture->agent.journal);
	g_assert_cmpint(journal_casts_add(fixture->agent.journal, &cast, 1, NULL), ==, 0);
	fixture->job = cast.job;
	g_assert_cmpint(
		journal_step_add(fixture->agent.journal, cast.job, VOLUME_RESULT_STEP, UNDO, NULL),
		==, 0);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	journal_close(fixture->agent.journal);
	journal_folder_remove(fixture->dir);
	g_free(fixture->dir);
}

static struct journal_job *find_job(const struct fixture *fixture)
{
	g_autofree char *id = g_strdup_printf("%" G_GINT64_FORMAT, fixture->job);

	return journal_find(fixture->agent.journal, id, NULL);
}

/* Reports it as `age_s` seconds old. `code` is Cinder's answer. Returns whether it is still open.
 */
static bool resend(struct fixture *fixture, int code, int64_t age_s)
{
	g_autoptr(journal_job_t) left = NULL;
	g_autoptr(GPtrArray) open = NULL;
	g_autoptr(GError) error = NULL;
	struct journal_step *step;
	int rc;

	/* The job has ended: only its result is left. */
	g_assert_cmpint(journal_job_end(fixture->agent.journal, fixture->job, NULL, NULL), ==, 0);
	left = find_job(fixture);
	step = left->steps->pdata[0];
	step->at -= age_s;
	fake.code = code;
	rc = volume_result_resend(&fixture->agent, left, &error);
	open = journal_list(fixture->agent.journal, JOURNAL_LEFTOVERS, 0, NULL);
	g_assert_cmpint(rc, ==, open->len > 0 ? -1 : 0);
	g_assert_true((rc < 0) == (error != NULL));
	return open->len > 0;
}

static void test_reported_until_it_is_acknowledged(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_true(resend(fixture, IMAGE_ERROR_UNAVAILABLE, 0));
	g_assert_true(resend(fixture, IMAGE_ERROR_AUTH, 3600));
	g_assert_true(resend(fixture, IMAGE_ERROR_FORBIDDEN, (DAYS - 1) * 24 * 3600));
	g_assert_false(resend(fixture, -1, (DAYS - 1) * 24 * 3600));
	g_assert_cmpuint(fake.updates, ==, 4);
}

static void test_not_accepted(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_test_expect_message("agent", G_LOG_LEVEL_WARNING, "*Cinder refuses*");
	g_assert_false(resend(fixture, IMAGE_ERROR_FAILED, 0));
	g_test_assert_expected_messages();
}

static void test_given_up_after_journal_days(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_test_expect_message("agent", G_LOG_LEVEL_WARNING, "*giving up*");
	g_assert_false(resend(fixture, -1, DAYS * 24 * 3600 + 60));
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.updates, ==, 0);
}

/* The job that an earlier process has left. */
static struct task *recover(struct fixture *fixture)
{
	struct rpc_request *request = rpc_request_new_local(cJSON_Parse(
		"{\"method\": \"volume_snapshot_create\", \"version\": \"6.0\", \"args\": "
		"{\"volume_id\": \"v\", \"create_info\": {\"type\": \"qcow2\", \"new_file\": "
		"\"f\", \"snapshot_id\": \"" SNAPSHOT "\"}, \"instance\": "
		"{\"nova_object.name\": \"Instance\", \"nova_object.data\": {\"uuid\": "
		"\"" INSTANCE_UUID "\"}}}, \"_context_project_id\": \"p\"}"));
	g_autoptr(GError) error = NULL;
	struct task *task =
		task_new(&fixture->agent, &method_volume_snapshot_create, request, &error);

	g_assert_no_error(error);
	task->journal_job = fixture->job;
	task->recovered_job = find_job(fixture);
	return task;
}

/* The guest writes to the new file: Cinder must not delete it, even if the instance has moved or
 * libvirt does not answer. */
static void test_success_is_not_withdrawn(struct fixture *fixture, gconstpointer unused)
{
	struct task *task = recover(fixture);
	g_autoptr(GError) error = NULL;

	(void)unused;
	task->method->give_up(task);
	g_assert_cmpuint(fake.updates, ==, 0);
	g_assert_true(resend(fixture, IMAGE_ERROR_UNAVAILABLE, 0));
	fake.code = IMAGE_ERROR_UNAVAILABLE;
	g_test_expect_message("agent", G_LOG_LEVEL_WARNING, "*it will be reported again*");
	g_assert_cmpint(task->method->run(task, &error), ==, 0);
	g_test_assert_expected_messages();
	g_assert_no_error(error);
	g_assert_cmpuint(fake.taken, ==, 0);
	g_assert_cmpuint(fake.updates, ==, 2);
	task_free(task);
}

/* Nor is it reported twice. */
static void test_acknowledged_success(struct fixture *fixture, gconstpointer unused)
{
	struct task *task;
	g_autoptr(GError) error = NULL;

	(void)unused;
	g_assert_cmpint(
		journal_step_clear(fixture->agent.journal, fixture->job, VOLUME_RESULT_STEP, NULL),
		==, 0);
	task = recover(fixture);
	task->method->give_up(task);
	g_assert_cmpint(task->method->run(task, &error), ==, 0);
	g_assert_no_error(error);
	g_assert_cmpuint(fake.taken, ==, 0);
	g_assert_cmpuint(fake.updates, ==, 0);
	task_free(task);
}

#define TEST(name)                                                                                 \
	g_test_add("/volume-result/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(reported_until_it_is_acknowledged);
	TEST(not_accepted);
	TEST(given_up_after_journal_days);
	TEST(success_is_not_withdrawn);
	TEST(acknowledged_success);
	return g_test_run();
}
