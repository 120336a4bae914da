/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Instances that are dictionaries (Folsom, Grizzly), the changes of pause, suspend and shelve,
 * audit periods, and the task state that a conductor reports when it refuses a save.
 */
#include "rpc/failure.h"
#include "rpc/json.h"
#include "rpc/nova/audit-period.h"
#include "rpc/nova/instance-save.h"

#include <string.h>

#define UUID "2b5a5b29-ff82-456a-8cb5-56c0ad05b188"

static struct nova_instance *from_args(const char *text, GError **error)
{
	cJSON *args = json_parse(text, strlen(text), NULL);
	struct nova_instance *instance;

	g_assert_nonnull(args);
	instance = nova_instance_from_args(args, error);
	cJSON_Delete(args);
	return instance;
}

/* Takes `value`. */
static void assert_json(cJSON *value, const char *expected)
{
	char *text = json_print(value);

	g_assert_cmpstr(text, ==, expected);
	cJSON_free(text);
	cJSON_Delete(value);
}

static void test_dictionary(void)
{
	g_autoptr(nova_instance_t) instance =
		from_args("{\"instance\":{\"uuid\":\"" UUID "\",\"task_state\":\"image_snapshot\","
			  "\"system_metadata\":[{\"key\":\"a\",\"value\":\"b\"},{\"key\":null}]}}",
			  NULL);

	g_assert_nonnull(instance);
	g_assert_true(nova_instance_is_plain(instance));
	g_assert_cmpstr(nova_instance_uuid(instance), ==, UUID);
	g_assert_cmpstr(nova_instance_system_metadata(instance, "a"), ==, "b");
	nova_instance_set_task_state(instance, "image_pending_upload");
	assert_json(nova_instance_update_args(instance, "image_snapshot"),
		    "{\"instance_uuid\":\"" UUID "\",\"updates\":{\"task_state\":"
		    "\"image_pending_upload\",\"expected_task_state\":\"image_snapshot\"},"
		    "\"service\":\"conductor\"}");
	nova_instance_forget_changes(instance);
	nova_instance_set_task_state(instance, NULL);
	assert_json(nova_instance_update_args(instance, NULL),
		    "{\"instance_uuid\":\"" UUID "\",\"updates\":{\"task_state\":null},"
		    "\"service\":\"conductor\"}");
}

static void test_only_uuid(void)
{
	g_autoptr(nova_instance_t) instance = from_args("{\"instance_uuid\":\"" UUID "\"}", NULL);

	g_assert_nonnull(instance);
	g_assert_true(nova_instance_is_plain(instance));
	g_assert_null(nova_instance_string(instance, "image_ref"));
}

static void test_refused(void)
{
	static const char *const bad[] = {
		"{}",
		"{\"instance\":null}",
		"{\"instance\":\"" UUID "\"}",
		"{\"instance\":{}}",
		"{\"instance\":{\"uuid\":\"../../etc\"}}",
		"{\"instance\":[]}",
		"{\"instance_uuid\":7}",
		"{\"instance\":{\"uuid\":{}},\"instance_uuid\":\"" UUID "\"}",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		GError *error = NULL;

		g_assert_null(from_args(bad[i], &error));
		g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
		g_clear_error(&error);
	}
}

static struct nova_instance *new_object(const char *system_metadata)
{
	g_autofree char *text =
		g_strdup_printf("{\"instance\":{\"nova_object.name\":\"Instance\","
				"\"nova_object.data\":{\"uuid\":\"" UUID "\",\"power_state\":3,"
				"\"system_metadata\":%s}}}",
				system_metadata);
	struct nova_instance *instance = from_args(text, NULL);

	g_assert_nonnull(instance);
	return instance;
}

static void test_changes(void)
{
	g_autoptr(nova_instance_t) instance = new_object("{\"old_vm_state\":\"active\"}");

	g_assert_false(nova_instance_is_plain(instance));
	g_assert_cmpint(nova_instance_int(instance, "power_state", 0), ==, 3);
	g_assert_cmpint(nova_instance_int(instance, "none", 7), ==, 7);
	nova_instance_set_vm_state(instance, "suspended");
	nova_instance_set_system_metadata(instance, "old_vm_state", NULL);
	nova_instance_set_system_metadata(instance, "shelved_host", "node1");
	assert_json(nova_instance_object(instance),
		    "{\"nova_object.name\":\"Instance\",\"nova_object.data\":{\"vm_state\":"
		    "\"suspended\",\"uuid\":\"" UUID "\",\"power_state\":3,\"system_metadata\":"
		    "{\"shelved_host\":\"node1\"}},\"nova_object.changes\":[\"vm_state\","
		    "\"system_metadata\"]}");
}

static void test_image_flags(void)
{
	g_autoptr(nova_instance_t) instance =
		new_object("{\"image_a\":\"yes\",\"image_b\":\"True\",\"image_c\":\"no\","
			   "\"image_d\":\" on \",\"image_e\":\"\"}");

	g_assert_true(nova_instance_image_flag(instance, "a"));
	g_assert_true(nova_instance_image_flag(instance, "b"));
	g_assert_false(nova_instance_image_flag(instance, "c"));
	g_assert_true(nova_instance_image_flag(instance, "d"));
	g_assert_false(nova_instance_image_flag(instance, "e"));
	g_assert_false(nova_instance_image_flag(instance, "f"));
}

static void expect_kwargs(const char *expected, const char *json)
{
	g_autoptr(nova_instance_t) instance = new_object("{}");
	cJSON *args = nova_instance_save_args(instance, expected);
	cJSON *kwargs = cJSON_DetachItemFromObjectCaseSensitive(args, "kwargs");

	assert_json(kwargs, json);
	cJSON_Delete(args);
}

static void test_expected_states(void)
{
	expect_kwargs(NULL, "{}");
	expect_kwargs("pausing", "{\"expected_task_state\":\"pausing\"}");
	expect_kwargs("", "{\"expected_task_state\":[null]}");
	expect_kwargs(",image_snapshot", "{\"expected_task_state\":[null,\"image_snapshot\"]}");
	expect_kwargs("shelving,shelving_image_uploading",
		      "{\"expected_task_state\":[\"shelving\",\"shelving_image_uploading\"]}");
}

static void expect_period_end(const char *period, const char *now, const char *end)
{
	g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
	g_autoptr(GDateTime) at = g_date_time_new_from_iso8601(now, utc);
	g_autoptr(GDateTime) found = nova_audit_period_end(period, at);
	g_autofree char *text = g_date_time_format(found, "%Y-%m-%dT%H:%M:%S");

	g_assert_cmpstr(text, ==, end);
}

/* The results are those of nova.utils.last_completed_audit_period. */
static void test_audit_periods(void)
{
	expect_period_end("month", "2026-11-23T10:00:00Z", "2026-11-01T00:00:00");
	expect_period_end("month@25", "2026-11-23T10:00:00Z", "2026-10-25T00:00:00");
	expect_period_end("month@25", "2026-01-23T10:00:00Z", "2025-12-25T00:00:00");
	expect_period_end("day", "2026-11-23T10:00:00Z", "2026-11-23T00:00:00");
	expect_period_end("day@18", "2026-11-23T10:00:00Z", "2026-11-22T18:00:00");
	expect_period_end("hour", "2026-11-23T10:30:00Z", "2026-11-23T10:00:00");
	expect_period_end("hour@45", "2026-11-23T10:30:00Z", "2026-11-23T09:45:00");
	expect_period_end("year", "2026-11-23T10:00:00Z", "2026-01-01T00:00:00");
	expect_period_end("year@12", "2026-11-23T10:00:00Z", "2025-12-01T00:00:00");
}

static void expect_actual(const char *kwargs, const char *actual)
{
	g_autofree char *text =
		g_strdup_printf("{\"class\":\"UnexpectedTaskStateError_Remote\",\"module\":"
				"\"nova.exception_Remote\",\"message\":\"m\",\"kwargs\":%s}",
				kwargs);
	cJSON *failure = json_parse(text, strlen(text), NULL);
	g_autoptr(GError) error = rpc_failure_decode(failure);

	g_assert_error(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE);
	g_assert_cmpstr(rpc_failure_actual_task_state(error), ==, actual);
	cJSON_Delete(failure);
}

static void test_actual_state(void)
{
	g_autoptr(GError) other = g_error_new(RPC_ERROR, RPC_ERROR_TIMEOUT, "late");

	expect_actual("{\"actual\":{\"task_state\":\"deleting\"}}", "deleting");
	expect_actual("{\"actual\":{\"task_state\":null}}", "");
	expect_actual("{\"actual\":\"rebooting\"}", "rebooting");
	expect_actual("{\"actual\":null}", "");
	expect_actual("{\"actual\":7}", NULL);
	expect_actual("{}", NULL);
	expect_actual("[]", NULL);
	g_assert_null(rpc_failure_actual_task_state(other));
	g_assert_true(rpc_error_is_unanswered(other));
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/nova/plain/dictionary", test_dictionary);
	g_test_add_func("/nova/plain/only-uuid", test_only_uuid);
	g_test_add_func("/nova/plain/refused", test_refused);
	g_test_add_func("/nova/instance/changes", test_changes);
	g_test_add_func("/nova/instance/image-flags", test_image_flags);
	g_test_add_func("/nova/instance/several-expected-states", test_expected_states);
	g_test_add_func("/nova/audit-periods", test_audit_periods);
	g_test_add_func("/nova/actual-state", test_actual_state);
	return g_test_run();
}
