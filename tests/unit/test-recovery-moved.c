/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which steps of an earlier process are dropped, depending on what nova says of the instance. The
 * linker puts the functions below in the place of conductor and journal.
 */
#include "agent/recovery/moved.h"

#include <string.h>

#include "agent/method/methods.h"
#include "tests/unit/journal-steps.h"

#define HOST "host-1"
#define INSTANCE_UUID "8a2f4c1e-0000-4000-8000-000000000001"
#define SAVE "{\"paused\":false,\"boot\":\"another\"}"

static struct {
	const char *vm_state,
		*task_state; /* the instance's in the conductor's record; NULL: none */
	bool is_unanswered;
	GString *cleared; /* the steps that were */
	unsigned amended;
} fake;

__typeof__(nova_conductor_instance_refresh) __wrap_nova_conductor_instance_refresh;
__typeof__(journal_step_clear_id) __wrap_journal_step_clear_id;
__typeof__(journal_step_amend) __wrap_journal_step_amend;
__typeof__(job_wait_despite_cancel) __wrap_job_wait_despite_cancel;

int __wrap_nova_conductor_instance_refresh(struct rpc *rpc, struct rpc_context *context,
					   struct nova_instance *instance, GError **error)
{
	(void)rpc;
	(void)context;
	if (fake.is_unanswered) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_TIMEOUT, "no answer");
		return -1;
	}
	nova_instance_set_task_state(instance, fake.task_state);
	if (fake.vm_state)
		nova_instance_set_vm_state(instance, fake.vm_state);
	return 0;
}

int __wrap_journal_step_clear_id(struct journal *journal, int64_t step, GError **error)
{
	(void)journal;
	(void)error;
	g_string_append_printf(fake.cleared, "%d ", (int)step);
	return 0;
}

int __wrap_journal_step_amend(struct journal *journal, int64_t step, const char *undo,
			      GError **error)
{
	(void)journal;
	(void)step;
	(void)error;
	g_assert_nonnull(strstr(undo, virt_process_id()));
	fake.amended++;
	return 0;
}

/* novasnapd stops. */
bool __wrap_job_wait_despite_cancel(struct job *job, unsigned ms)
{
	(void)job;
	(void)ms;
	return false;
}

struct fixture {
	struct config config;
	struct agent agent;
	struct task *task;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	cJSON *cast = cJSON_Parse(
		"{\"version\": \"6.0\", \"method\": \"snapshot_instance\", \"args\": "
		"{\"image_id\": "
		"\"8a2f4c1e-0000-4000-8000-000000000002\", \"instance\": {\"nova_object.name\": "
		"\"Instance\", \"nova_object.data\": {\"uuid\": \"" INSTANCE_UUID "\", \"host\": "
		"\"" HOST "\", \"vm_state\": \"active\"}}}}");
	g_autoptr(GError) error = NULL;

	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fake.cleared = g_string_new(NULL);
	fixture->config.control = true;
	fixture->config.rpc.host = HOST;
	fixture->agent.config = &fixture->config;
	fixture->task = task_new(&fixture->agent, &method_snapshot_instance,
				 rpc_request_new_local(cast), &error);
	g_assert_no_error(error);
	fixture->task->recovered_job = g_new0(struct journal_job, 1);
	fixture->task->recovered_job->instance = g_strdup(INSTANCE_UUID);
	fixture->task->recovered_job->method = g_strdup("snapshot_instance");
	fixture->task->recovered_job->steps = g_ptr_array_new_with_free_func(journal_steps_free);
	journal_steps_add(fixture->task->recovered_job->steps, 1, "undefine", SAVE);
	journal_steps_add(fixture->task->recovered_job->steps, 2, "save", SAVE);
	journal_steps_add(fixture->task->recovered_job->steps, 3, "folder", SAVE);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	task_free(fixture->task);
	g_string_free(fake.cleared, TRUE);
}

static void drop(struct fixture *fixture, const char *cleared, unsigned amended)
{
	g_autoptr(GError) error = NULL;

	if (*cleared) {
		g_test_expect_message("agent", G_LOG_LEVEL_MESSAGE,
				      "*the guest waits for the answer*");
		g_test_expect_message("agent", G_LOG_LEVEL_MESSAGE,
				      "*now*not started*\"save\" will not be rolled back*");
	}
	g_assert_cmpint(recovery_drop_if_moved(fixture->task, false, &error), ==, 0);
	g_assert_no_error(error);
	g_test_assert_expected_messages();
	g_assert_cmpstr(fake.cleared->str, ==, cleared);
	g_assert_cmpuint(fake.amended, ==, amended);
}

static void test_guest_that_runs_is_restored(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.vm_state = "active";
	fake.task_state = "image_snapshot";
	drop(fixture, "", 2);
}

/* A failure of nova's says nothing about the guest. */
static void test_instance_in_error(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.vm_state = "error";
	drop(fixture, "", 2);
}

/* The saved image is one that its user made. The definition is still put back. */
static void test_suspended_guest_is_not_started(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.vm_state = "suspended";
	drop(fixture, "2 ", 1);
}

/* Another snapshot of it may have been requested since. */
static void test_suspended_guest_that_waits(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.vm_state = "suspended";
	fake.task_state = "image_snapshot";
	drop(fixture, "2 ", 1);
}

static void test_guest_that_nova_has_off(struct fixture *fixture, gconstpointer vm_state)
{
	fake.vm_state = vm_state;
	drop(fixture, "2 ", 1);
}

/* No answer is not an answer. */
static void test_conductor_is_away(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	nova_instance_set_vm_state(fixture->task->instance, "suspended");
	fake.is_unanswered = true;
	g_assert_cmpint(recovery_drop_if_moved(fixture->task, false, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_TIMEOUT);
	g_assert_cmpstr(fake.cleared->str, ==, "");
}

/* Without a conductor there is only what the cast said, when the guest ran. */
static void test_no_conductor(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture->config.control = false;
	nova_instance_set_vm_state(fixture->task->instance, "stopped");
	drop(fixture, "", 2);
}

#define TEST(name)                                                                                 \
	g_test_add("/recovery-moved/" #name, struct fixture, NULL, set_up, test_##name, tear_down)
#define TEST_OFF(vm_state)                                                                         \
	g_test_add("/recovery-moved/off/" vm_state, struct fixture, vm_state, set_up,              \
		   test_guest_that_nova_has_off, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(guest_that_runs_is_restored);
	TEST(instance_in_error);
	TEST(suspended_guest_is_not_started);
	TEST(suspended_guest_that_waits);
	TEST_OFF("stopped");
	TEST_OFF("shelved");
	TEST_OFF("soft-delete");
	TEST(conductor_is_away);
	TEST(no_conductor);
	return g_test_run();
}
