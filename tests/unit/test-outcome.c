/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the error of a method makes of its task. The linker replaces the functions of the job.
 */
#include "agent/task/outcome.h"

#include "agent/method/methods.h"

#define INSTANCE_UUID "8a2f4c1e-0000-4000-8000-000000000001"
#define IMAGE_UUID "8a2f4c1e-0000-4000-8000-000000000002"

static struct {
	bool cancelled, stopping;
} fake;

__typeof__(job_is_cancelled) __wrap_job_is_cancelled;
__typeof__(job_is_stopping) __wrap_job_is_stopping;

bool __wrap_job_is_cancelled(const struct job *job)
{
	(void)job;
	return fake.cancelled;
}

bool __wrap_job_is_stopping(struct job *job)
{
	(void)job;
	return fake.stopping;
}

/* A snapshot whose state these events have led to. */
static struct task *new_task(const enum task_event *events, size_t count)
{
	struct rpc_request *request = rpc_request_new_local(cJSON_Parse(
		"{\"method\": \"snapshot_instance\", \"version\": \"6.0\", \"args\": "
		"{\"image_id\": \"" IMAGE_UUID "\", \"image_type\": \"snapshot\", \"instance\": "
		"{\"nova_object.name\": \"Instance\", \"nova_object.data\": {\"uuid\": "
		"\"" INSTANCE_UUID "\"}}}}"));
	g_autoptr(GError) error = NULL;
	struct task *task = task_new(NULL, &method_snapshot_instance, request, &error);

	g_assert_no_error(error);
	task->journal_job = 1;
	for (size_t i = 0; i < count; i++)
		g_assert_cmpint(task_state_apply(task->state, events[i], NULL), ==, 0);
	memset(&fake, 0, sizeof(fake));
	return task;
}

static const enum task_event running[] = {TASK_EVENT_RUN};
static const enum task_event sent[] = {TASK_EVENT_RUN, TASK_EVENT_DATA_SENT, TASK_EVENT_IMAGE_SENT};
static const enum task_event stored[] = {TASK_EVENT_RUN, TASK_EVENT_DATA_SENT,
					 TASK_EVENT_IMAGE_STORED};
static const enum task_event kept[] = {TASK_EVENT_RUN, TASK_EVENT_DATA_SENT,
				       TASK_EVENT_IMAGE_STORED, TASK_EVENT_IMAGE_VERIFIED,
				       TASK_EVENT_IMAGE_KEPT};
#define NEW_TASK(events) new_task(events, G_N_ELEMENTS(events))

static void expect(const struct task *task, GQuark domain, int code, enum task_event event)
{
	g_autoptr(GError) error = g_error_new_literal(domain, code, "simulated");
	enum task_event found = task_outcome(task, error);
	enum task_stage stage;
	enum task_image image;

	g_assert_cmpstr(task_event_name(found), ==, task_event_name(event));
	g_assert_true(task_state_next(task_state_stage(task->state), task_state_image(task->state),
				      found, &stage, &image));
}

/* Nobody knows of a failure: the next process continues. */
static void test_stopped(void)
{
	struct task *task = NEW_TASK(sent);

	fake.stopping = true;
	expect(task, VIRT_ERROR, VIRT_ERROR_CANCELLED, TASK_EVENT_STOPPED);
	expect(task, IMAGE_ERROR, IMAGE_ERROR_CANCELLED, TASK_EVENT_STOPPED);
	expect(task, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED, TASK_EVENT_STOPPED);
	expect(task, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, TASK_EVENT_STOPPED);
	expect(task, RPC_ERROR, RPC_ERROR_TIMEOUT, TASK_EVENT_STOPPED);
	expect(task, VIRT_ERROR, VIRT_ERROR_DISCONNECTED, TASK_EVENT_STOPPED);
	/* Those are answers. */
	expect(task, IMAGE_ERROR, IMAGE_ERROR_TOO_LARGE, TASK_EVENT_FAILED);
	expect(task, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE, TASK_EVENT_STATE_TAKEN);
	/* No process can continue what is not journaled. */
	task->journal_job = 0;
	expect(task, VIRT_ERROR, VIRT_ERROR_CANCELLED, TASK_EVENT_CANCELLED);
	expect(task, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, TASK_EVENT_FAILED);
	task_free(task);
}

static void test_unanswered_while_it_serves(void)
{
	struct task *task = NEW_TASK(running);

	expect(task, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, TASK_EVENT_FAILED);
	expect(task, RPC_ERROR, RPC_ERROR_TIMEOUT, TASK_EVENT_FAILED);
	task_free(task);
}

static void test_cancelled(void)
{
	struct task *task = NEW_TASK(stored);

	fake.cancelled = fake.stopping = true;
	expect(task, VIRT_ERROR, VIRT_ERROR_CANCELLED, TASK_EVENT_CANCELLED);
	expect(task, RPC_ERROR, RPC_ERROR_TIMEOUT, TASK_EVENT_STOPPED);
	task_free(task);
}

static void test_image_differs(void)
{
	struct task *task = NEW_TASK(sent);

	expect(task, IMAGE_ERROR, IMAGE_ERROR_MISMATCH, TASK_EVENT_IMAGE_DIFFERS);
	task_free(task);
	task = NEW_TASK(stored);
	expect(task, IMAGE_ERROR, IMAGE_ERROR_MISMATCH, TASK_EVENT_IMAGE_DIFFERS);
	task_free(task);
	task = NEW_TASK(kept);
	expect(task, IMAGE_ERROR, IMAGE_ERROR_MISMATCH, TASK_EVENT_FAILED);
	task_free(task);
	task = NEW_TASK(running);
	expect(task, IMAGE_ERROR, IMAGE_ERROR_MISMATCH, TASK_EVENT_FAILED);
	task_free(task);
}

#define TEST(name) g_test_add_func("/outcome/" #name, test_##name)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(stopped);
	TEST(unanswered_while_it_serves);
	TEST(cancelled);
	TEST(image_differs);
	return g_test_run();
}
