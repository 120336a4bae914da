/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the recordings do not contain: objects of other releases, unusual values, malformed replies,
 * networks, failures of many kinds.
 */
#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/nova/conductor-args.h"
#include "rpc/nova/instance-save.h"
#include "rpc/nova/notify.h"
#include "rpc/nova/payload-exception.h"
#include "rpc/nova/payload-legacy.h"
#include "rpc/nova/payload-versioned.h"
#include "rpc/nova/value.h"

#include <string.h>

#define UUID "2b5a5b29-ff82-456a-8cb5-56c0ad05b188"
#define OBJECT(name, version, data)                                                                \
	"{\"nova_object.name\":\"" name "\",\"nova_object.namespace\":\"nova\","                   \
	"\"nova_object.version\":\"" version "\",\"nova_object.data\":" data "}"
#define INSTANCE(data) OBJECT("Instance", "2.7", data)

static cJSON *parse(const char *text)
{
	GError *error = NULL;
	cJSON *value = json_parse(text, strlen(text), &error);

	g_assert_no_error(error);
	return value;
}

static struct nova_instance *instance_from(const char *text, GError **error)
{
	cJSON *object = parse(text);
	struct nova_instance *instance = nova_instance_new(object, error);

	cJSON_Delete(object);
	return instance;
}

static struct nova_instance *instance_of(const char *text)
{
	GError *error = NULL;
	struct nova_instance *instance = instance_from(text, &error);

	g_assert_no_error(error);
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

/* Takes `payload`. Compares its member of that name; of a versioned object, the member of its data.
 */
static void assert_member(cJSON *payload, const char *name, const char *expected)
{
	const cJSON *data = cJSON_GetObjectItemCaseSensitive(payload, "nova_object.data");

	g_test_message("%s", name);
	assert_json(nova_copy_member(data ? data : payload, name), expected);
	cJSON_Delete(payload);
}

static rpc_context_t *context_of(const char *fields)
{
	return rpc_context_new(parse(fields));
}

static const struct nova_payload_kind *zed(void)
{
	static struct nova_payload_kind kind;

	kind.release = nova_release_of_record(64, NULL);
	return &kind;
}

static int merge(struct nova_instance *instance, const char *reply, GError **error)
{
	cJSON *value = parse(reply);
	int rc = nova_instance_merge(instance, value, error);

	cJSON_Delete(value);
	return rc;
}

static void test_refused(void)
{
	static const struct {
		const char *object;
		const char *message_part;
	} cases[] = {
		{"null", "not an Instance"},
		{"[]", "not an Instance"},
		{"\"" UUID "\"", "not an Instance"},
		{"{}", "not an Instance"},
		{"{\"uuid\":\"" UUID "\"}", "not an Instance"},
		{OBJECT("Flavor", "1.2", "{\"uuid\":\"" UUID "\"}"), "not an Instance"},
		{INSTANCE("[]"), "not an Instance"},
		{INSTANCE("{}"), "uuid"},
		{INSTANCE("{\"uuid\":null}"), "uuid"},
		{INSTANCE("{\"uuid\":7}"), "uuid"},
		{INSTANCE("{\"uuid\":\"../../etc/passwd\"}"), "uuid"},
		{INSTANCE("{\"uuid\":\"" UUID "x\"}"), "uuid"},
		{"{\"nova_object.name\":\"Instance\",\"nova_object.data\":{\"uuid\":\"" UUID
		 "\"},\"nova_object.changes\":[1]}",
		 "nova_object.changes"},
		{"{\"nova_object.name\":\"Instance\",\"nova_object.data\":{\"uuid\":\"" UUID
		 "\"},\"nova_object.changes\":\"host\"}",
		 "nova_object.changes"},
	};
	GError *error = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_test_message("%s", cases[i].object);
		g_assert_null(instance_from(cases[i].object, &error));
		g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
		g_assert_nonnull(strstr(error->message, cases[i].message_part));
		g_clear_error(&error);
	}
	g_assert_null(nova_instance_new(NULL, &error));
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
	g_error_free(error);
}

/* A valid instance is moved out of its arguments; otherwise they stay as they are. */
static void test_take_from_args(void)
{
	cJSON *args = parse("{\"instance\":" INSTANCE("{\"uuid\":\"" UUID "\"}") ",\"image_id\":"
										 "\"i\"}");
	cJSON *broken = parse("{\"instance\":" INSTANCE("{\"uuid\":\"x\"}") ",\"image_id\":\"i\"}");
	cJSON *plain = parse("{\"instance\":{\"uuid\":\"" UUID "\"}}");
	struct nova_instance *instance = nova_instance_take_from_args(args, NULL);
	g_autoptr(GError) error = NULL;

	g_assert_nonnull(instance);
	g_assert_false(nova_instance_is_plain(instance));
	assert_json(args, "{\"instance\":null,\"image_id\":\"i\"}");
	assert_json(nova_instance_object(instance), INSTANCE("{\"uuid\":\"" UUID "\"}"));
	nova_instance_free(instance);

	g_assert_null(nova_instance_take_from_args(broken, &error));
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
	assert_json(broken, "{\"instance\":" INSTANCE("{\"uuid\":\"x\"}") ",\"image_id\":\"i\"}");

	instance = nova_instance_take_from_args(plain, NULL);
	g_assert_true(nova_instance_is_plain(instance));
	nova_instance_free(instance);
	assert_json(plain, "{\"instance\":{\"uuid\":\"" UUID "\"}}");
}

/* Nothing is lost or moved in an object of another release. */
static void test_carried_untouched(void)
{
	const char *text = "{\"nova_object.name\":\"Instance\",\"nova_object.namespace\":\"nova\","
			   "\"nova_object.version\":\"2.99\",\"nova_object.data\":{"
			   "\"id\":123456789012345678901,\"unknown\":[1.0,{\"a\":1e3}],"
			   "\"task_state\":7,\"uuid\":\"" UUID "\",\"Task_State\":\"other\","
			   "\"flavor\":{\"rxtx_factor\":1.0,\"odd\":\"\\u0000\"}},"
			   "\"nova_object.later\":true,\"nova_object.changes\":[\"host\"]}";
	struct nova_instance *instance = instance_of(text);

	assert_json(nova_instance_object(instance), text);
	g_assert_cmpstr(nova_instance_uuid(instance), ==, UUID);
	g_assert_null(nova_instance_string(instance, "task_state"));
	nova_instance_set_task_state(instance, "image_snapshot");
	nova_instance_set_power_state(instance, 4);
	nova_instance_set_task_state(instance, "image_pending_upload");
	assert_json(nova_instance_object(instance),
		    "{\"nova_object.name\":\"Instance\",\"nova_object.namespace\":\"nova\","
		    "\"nova_object.version\":\"2.99\",\"nova_object.data\":{"
		    "\"id\":123456789012345678901,\"unknown\":[1.0,{\"a\":1e3}],"
		    "\"power_state\":4,\"task_state\":\"image_pending_upload\",\"uuid\":\"" UUID
		    "\",\"Task_State\":\"other\","
		    "\"flavor\":{\"rxtx_factor\":1.0,\"odd\":\"\\u0000\"}},"
		    "\"nova_object.later\":true,\"nova_object.changes\":[\"host\",\"task_state\","
		    "\"power_state\"]}");
	nova_instance_free(instance);
}

static void test_expected_states(void)
{
	struct nova_instance *instance = instance_of(INSTANCE("{\"uuid\":\"" UUID "\"}"));

	assert_member(nova_instance_save_args(instance, NULL), "kwargs", "{}");
	assert_member(nova_instance_save_args(instance, "image_backup"), "kwargs",
		      "{\"expected_task_state\":\"image_backup\"}");
	assert_member(nova_instance_save_args(instance, ""), "kwargs",
		      "{\"expected_task_state\":[null]}");
	nova_instance_free(instance);
}

static void test_restore_redacted(void)
{
	struct nova_instance *instance = instance_of(INSTANCE(
		"{\"task_state\":\"a\",\"uuid\":\"" UUID "\",\"user_data\":\"***\","
		"\"system_metadata\":{\"a_secret\":\"***\",\"json\":\"{\\\"token\\\":\\\"***\\\"}"
		"\",\"gone_secret\":\"***\",\"plain\":\"mine\"}}"));
	cJSON *reply = cJSON_Parse("[{\"task_state\":\"theirs\",\"user_data\":\"x\","
				   "\"system_metadata\":{\"a_secret\":\"s\",\"json\":\"j\","
				   "\"plain\":\"theirs\",\"new\":\"n\"}},null]");
	cJSON *malformed = cJSON_Parse("{}");
	GError *error = NULL;

	/* What is not saved may stay redacted. */
	nova_instance_set_task_state(instance, "b");
	g_assert_false(nova_instance_is_redacted(instance));
	nova_instance_set_system_metadata(instance, "shelved_at", "now");
	g_assert_true(nova_instance_is_redacted(instance));
	g_assert_cmpint(nova_instance_restore_redacted(instance, malformed, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
	g_error_free(error);
	g_assert_true(nova_instance_is_redacted(instance));
	g_assert_cmpint(nova_instance_restore_redacted(instance, reply, NULL), ==, 0);
	g_assert_false(nova_instance_is_redacted(instance));
	assert_member(
		cJSON_Duplicate(nova_instance_data(instance), true), "system_metadata",
		"{\"a_secret\":\"s\",\"json\":\"j\",\"plain\":\"mine\",\"shelved_at\":\"now\"}");
	assert_member(cJSON_Duplicate(nova_instance_data(instance), true), "task_state", "\"b\"");
	cJSON_Delete(reply);
	cJSON_Delete(malformed);
	nova_instance_free(instance);
}

static void test_merge(void)
{
	struct nova_instance *instance = instance_of(
		INSTANCE("{\"id\":2,\"task_state\":\"a\",\"uuid\":\"" UUID "\",\"hidden\":false}"));
	GError *error = NULL;

	nova_instance_set_task_state(instance, "b");
	/* New fields get their places, whether nova knows them or not; the uuid does not change. */
	g_assert_cmpint(merge(instance,
			      "[{\"task_state\":\"c\",\"id\":12345678901234567890,\"unknown\":1.0,"
			      "\"uuid\":\"other\",\"vm_state\":null,\"obj_what_changed\":[\"host\","
			      "\"vm_state\"]},null]",
			      &error),
			==, 0);
	g_assert_no_error(error);
	assert_json(nova_instance_object(instance),
		    "{\"nova_object.name\":\"Instance\",\"nova_object.namespace\":\"nova\","
		    "\"nova_object.version\":\"2.7\",\"nova_object.data\":{"
		    "\"id\":12345678901234567890,\"vm_state\":null,\"task_state\":\"c\","
		    "\"uuid\":\"" UUID "\",\"hidden\":false,\"unknown\":1.0},"
		    "\"nova_object.changes\":[\"host\",\"vm_state\"]}");
	/* A reply without obj_what_changed leaves nothing to be saved. */
	g_assert_cmpint(merge(instance, "[{}]", &error), ==, 0);
	assert_member(nova_instance_object(instance), "nova_object.changes", "null");
	nova_instance_free(instance);
}

static void test_merge_refused(void)
{
	static const char *const replies[] = {
		"null",
		"{}",
		"[]",
		"7",
		"\"x\"",
		"[null,null]",
		"[[],null]",
		"[{\"task_state\":\"z\",\"obj_what_changed\":\"host\"},null]",
		"[{\"task_state\":\"z\",\"obj_what_changed\":[null]},null]",
	};
	struct nova_instance *instance =
		instance_of(INSTANCE("{\"task_state\":\"a\",\"uuid\":\"" UUID "\"}"));
	GError *error = NULL;

	nova_instance_set_power_state(instance, 1);
	for (size_t i = 0; i < G_N_ELEMENTS(replies); i++) {
		g_test_message("%s", replies[i]);
		g_assert_cmpint(merge(instance, replies[i], &error), ==, -1);
		g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
		g_clear_error(&error);
		g_assert_cmpstr(nova_instance_string(instance, "task_state"), ==, "a");
	}
	assert_json(cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(nova_instance_data(instance),
								     "power_state"),
				    true),
		    "1");
	nova_instance_free(instance);
}

static void test_many_updates(void)
{
	struct nova_instance *instance = instance_of(INSTANCE("{\"uuid\":\"" UUID "\"}"));
	GString *reply = g_string_new("[{");
	GError *error = NULL;

	for (int i = 0; i < 100000; i++)
		g_string_append_printf(reply, "%s\"k%d\":%d", i ? "," : "", i, i);
	g_string_append(reply, "},null]");
	g_assert_cmpint(merge(instance, reply->str, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
	g_error_free(error);
	g_string_free(reply, TRUE);
	nova_instance_free(instance);
}

static void test_flavor_refused(void)
{
	static const char *const replies[] = {
		"null",
		"[]",
		INSTANCE("{}"),
		INSTANCE("{\"flavor\":null}"),
		INSTANCE("{\"flavor\":{\"name\":\"bare\"}}"),
		OBJECT("Flavor", "1.2", "{\"flavor\":{\"nova_object.data\":{}}}"),
	};
	struct nova_instance *instance = instance_of(INSTANCE("{\"uuid\":\"" UUID "\"}"));

	for (size_t i = 0; i < G_N_ELEMENTS(replies); i++) {
		GError *error = NULL;
		cJSON *reply = parse(replies[i]);

		g_test_message("%s", replies[i]);
		g_assert_cmpint(nova_instance_take_flavor(instance, reply, &error), ==, -1);
		g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
		g_error_free(error);
		cJSON_Delete(reply);
		g_assert_false(nova_instance_has_flavor(instance));
	}
	nova_instance_free(instance);
}

static void test_times(void)
{
	static const struct {
		const char *text;
		const char *str;
		const char *strtime;
	} cases[] = {
		{"2026-11-23T04:24:38Z", "2026-11-23 04:24:38+00:00", "2026-11-23T04:24:38.000000"},
		{"2026-11-23T04:24:38.000042Z", "2026-11-23 04:24:38.000042+00:00",
		 "2026-11-23T04:24:38.000042"},
		{"2026-11-23T04:24:38+02:00", "2026-11-23 04:24:38+02:00",
		 "2026-11-23T04:24:38.000000"},
		{"2026-11-23T04:24:38", "2026-11-23 04:24:38+00:00", "2026-11-23T04:24:38.000000"},
		{"yesterday", "yesterday", "yesterday"},
		{"", "", ""},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *str = nova_time_str(cases[i].text);
		g_autofree char *strtime = nova_time_strtime(cases[i].text);

		g_assert_cmpstr(str, ==, cases[i].str);
		g_assert_cmpstr(strtime, ==, cases[i].strtime);
	}
}

#define BARE INSTANCE("{\"uuid\":\"" UUID "\"}")

static void assert_legacy(const char *object, const char *name, const char *expected)
{
	struct nova_instance *instance = instance_of(object);

	assert_member(nova_legacy_payload(instance, "http://glance"), name, expected);
	nova_instance_free(instance);
}

static void test_legacy_values(void)
{
	struct nova_instance *instance;

	assert_legacy(BARE, "created_at", "\"None\"");
	assert_legacy(BARE, "launched_at", "\"\"");
	assert_legacy(BARE, "state_description", "\"\"");
	assert_legacy(BARE, "instance_type", "\"\"");
	assert_legacy(BARE, "disk_gb", "0");
	assert_legacy(BARE, "image_meta", "{}");
	assert_legacy(BARE, "image_ref_url", "\"http://glance/images/None\"");
	assert_legacy(INSTANCE("{\"uuid\":\"" UUID "\",\"progress\":33}"), "progress", "33");
	assert_legacy(INSTANCE("{\"uuid\":\"" UUID "\",\"progress\":0}"), "progress", "\"\"");
	/* From before there were flavors in an instance. */
	assert_legacy(INSTANCE("{\"uuid\":\"" UUID "\",\"memory_mb\":512}"), "memory_mb", "512");
	assert_legacy(INSTANCE("{\"uuid\":\"" UUID "\",\"root_gb\":10,\"ephemeral_gb\":5}"),
		      "disk_gb", "15");
	assert_legacy(INSTANCE("{\"uuid\":\"" UUID
			       "\",\"system_metadata\":{\"image_\":\"\",\"image_a\":1.0,"
			       "\"my_image_b\":\"x\",\"image_image_c\":null}}"),
		      "image_meta", "{\"\":\"\",\"a\":1.0,\"image_c\":null}");
	/* When Glance's address is not known, nova sends only the image's id. */
	instance = instance_of(INSTANCE("{\"uuid\":\"" UUID "\",\"image_ref\":\"abc\"}"));
	assert_member(nova_legacy_payload(instance, NULL), "image_ref_url", "\"abc\"");
	nova_instance_free(instance);
}

static cJSON *versioned(const char *object, const char *context_fields)
{
	g_autoptr(rpc_context_t) context = context_of(context_fields);
	struct nova_instance *instance = instance_of(object);
	cJSON *payload = nova_versioned_payload(zed(), instance, context, "image");

	nova_instance_free(instance);
	return payload;
}

static void test_versioned_values(void)
{
	static const struct {
		const char *state;
		const char *name;
	} power[] = {
		{"0", "\"pending\""},	 {"1", "\"running\""}, {"3", "\"paused\""},
		{"4", "\"shutdown\""},	 {"6", "\"crashed\""}, {"7", "\"suspended\""},
		{"8", "null"},		 {"-1", "null"},       {"null", "null"},
		{"\"running\"", "null"}, {"1.5", "null"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(power); i++) {
		g_autofree char *object = g_strdup_printf(
			INSTANCE("{\"uuid\":\"" UUID "\",\"power_state\":%s}"), power[i].state);

		assert_member(versioned(object, "{}"), "power_state", power[i].name);
	}
	assert_member(versioned(BARE, "{}"), "auto_disk_config", "\"MANUAL\"");
	assert_member(
		versioned(INSTANCE("{\"uuid\":\"" UUID "\",\"auto_disk_config\":true}"), "{}"),
		"auto_disk_config", "\"AUTO\"");
	assert_member(versioned(BARE, "{}"), "locked", "false");
	assert_member(
		versioned(INSTANCE("{\"uuid\":\"" UUID "\",\"locked\":true,\"system_metadata\":{"
				   "\"locked_reason\":\"because\"}}"),
			  "{}"),
		"locked_reason", "\"because\"");
	assert_member(versioned(INSTANCE("{\"uuid\":\"" UUID
					 "\",\"metadata\":{\"a\":\"b\",\"n\":1.0,\"t\":true}}"),
				"{}"),
		      "metadata", "{\"a\":\"b\",\"n\":\"1.0\",\"t\":\"True\"}");
	assert_member(versioned(BARE, "{}"), "flavor",
		      OBJECT("FlavorPayload", "1.4",
			     "{\"flavorid\":null,\"memory_mb\":null,\"vcpus\":null,"
			     "\"root_gb\":null,\"ephemeral_gb\":null,\"name\":\"\",\"swap\":0,"
			     "\"rxtx_factor\":null,\"vcpu_weight\":null,\"disabled\":false,"
			     "\"is_public\":false,\"extra_specs\":null,\"projects\":null,"
			     "\"description\":null}"));
	/* A periodic task has a request id, but no user. */
	assert_member(versioned(BARE, "{\"request_id\":\"req-1\",\"user_id\":\"u\"}"), "request_id",
		      "null");
	assert_member(versioned(BARE, "{\"request_id\":\"req-1\",\"user_id\":\"u\","
				      "\"project_id\":\"p\"}"),
		      "request_id", "\"req-1\"");
}

/* The info cache holds network_info as JSON text. */
static cJSON *with_network_info(const char *network_info)
{
	cJSON *object = parse(INSTANCE("{\"uuid\":\"" UUID "\"}"));
	cJSON *data = cJSON_GetObjectItemCaseSensitive(object, "nova_object.data");
	cJSON *cache = cJSON_CreateObject();
	g_autoptr(rpc_context_t) context = context_of("{}");
	struct nova_instance *instance;
	cJSON *payload;

	cJSON_AddStringToObject(cache, "network_info", network_info);
	cJSON_AddItemToObject(data, "info_cache",
			      nova_object_wrap("InstanceInfoCache", "1.5", cache));
	instance = nova_instance_new(object, NULL);
	cJSON_Delete(object);
	payload = nova_versioned_payload(zed(), instance, context, "image");
	nova_instance_free(instance);
	return payload;
}

#define IP(version, address)                                                                       \
	OBJECT("IpPayload", "1.0",                                                                 \
	       "{\"label\":\"net\",\"mac\":\"fa:16:3e:00:0a:01\",\"meta\":{\"mtu\":\"1450\"},"     \
	       "\"port_uuid\":\"p1\",\"version\":" version ",\"address\":\"" address "\","         \
	       "\"device_name\":\"tap1\"}")

static void test_networks(void)
{
	static const char *const malformed[] = {"",
						"nonsense",
						"[",
						"{}",
						"7",
						"[7]",
						"[{}]",
						"[[]]",
						"[{\"network\":1}]",
						"[{\"network\":{\"subnets\":[1,{\"ips\":7}]}}]"};

	assert_member(
		with_network_info(
			"[{\"id\":\"p0\",\"network\":null},"
			"{\"id\":\"p1\",\"address\":\"FA-16-3E-00-0A-01\",\"meta\":{\"mtu\":1450},"
			"\"devname\":\"tap1\",\"network\":{\"label\":\"net\",\"subnets\":["
			"{\"ips\":[{\"address\":\"10.0.0.5\",\"version\":4,\"meta\":{\"x\":1}}]},"
			"{\"ips\":[]},"
			"{\"ips\":[{\"address\":\"fd00::5\",\"version\":6}]}]}}]"),
		"ip_addresses", "[" IP("4", "10.0.0.5") "," IP("6", "fd00::5") "]");
	for (size_t i = 0; i < G_N_ELEMENTS(malformed); i++) {
		g_test_message("%s", malformed[i]);
		assert_member(with_network_info(malformed[i]), "ip_addresses", "[]");
	}
}

/* The number of addresses is limited, and so is what is repeated for each of them. */
static void test_large_networks(void)
{
	static const size_t labels[] = {10, NOVA_MAX_ADDRESS_BYTES};

	for (size_t i = 0; i < G_N_ELEMENTS(labels); i++) {
		g_autofree char *label = g_strnfill(labels[i], 'x');
		g_autoptr(GString) info = g_string_new("[");
		cJSON *payload;

		g_string_append_printf(info, "{\"network\":{\"label\":\"%s\",\"subnets\":[", label);
		for (int j = 0; j < 1000; j++)
			g_string_append(info, "{\"ips\":[0,0]},");
		g_string_append(info, "0]}}]");
		payload = with_network_info(info->str);
		g_assert_cmpint(
			cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(
				cJSON_GetObjectItemCaseSensitive(payload, "nova_object.data"),
				"ip_addresses")),
			==, i == 0 ? NOVA_MAX_ADDRESSES : 0);
		cJSON_Delete(payload);
	}
}

static void test_numbers_out_of_range(void)
{
	static const char *const numbers[] = {
		"2147483648", "-2147483649", "4294967297", "9223372036854775808",
		"1e400",      "2.5",	     "NaN",	   "\"1\""};

	for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
		g_autofree char *text = g_strdup_printf(
			INSTANCE("{\"uuid\":\"" UUID "\",\"power_state\":%s}"), numbers[i]);
		struct nova_instance *instance = instance_of(text);

		g_test_message("%s", numbers[i]);
		g_assert_cmpint(nova_instance_int(instance, "power_state", -7), ==, -7);
		nova_instance_free(instance);
	}
}

/* Fields of a wrong type do no harm. */
static void test_wrong_types(void)
{
	static const char *const fields[] = {"flavor",		 "info_cache", "system_metadata",
					     "metadata",	 "created_at", "locked",
					     "progress",	 "root_gb",    "image_ref",
					     "auto_disk_config", "power_state"};
	static const char *const values[] = {
		"null",
		"true",
		"7",
		"1.0",
		"\"text\"",
		"[1]",
		"[[{}]]",
		"{\"nova_object.data\":7}",
		"{\"nova_object.data\":{\"name\":7,\"swap\":[],\"network_info\":[]}}"};
	g_autoptr(rpc_context_t) context = context_of("{\"user_id\":7,\"request_id\":[]}");
	const struct nova_exception exception = {"A", "m", "x", "f", 500};

	for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
		for (size_t j = 0; j < G_N_ELEMENTS(values); j++) {
			g_autofree char *object =
				g_strdup_printf(INSTANCE("{\"uuid\":\"" UUID "\",\"%s\":%s}"),
						fields[i], values[j]);
			struct nova_instance *instance = instance_of(object);
			cJSON *payloads[] = {
				nova_legacy_payload(instance, "http://glance"),
				nova_versioned_payload(zed(), instance, context, "image"),
				nova_legacy_exception_payload(&exception,
							      nova_instance_data(instance)),
			};

			assert_json(nova_instance_object(instance), object);
			for (size_t k = 0; k < G_N_ELEMENTS(payloads); k++) {
				g_assert_true(cJSON_IsObject(payloads[k]));
				cJSON_Delete(payloads[k]);
			}
			nova_instance_free(instance);
		}
	}
}

static void test_exception_text(void)
{
	static const struct {
		const char *message;
		const char *repr;
	} cases[] = {
		{"plain", "'plain'"},
		{"it's", "\"it's\""},
		{"it's \"so\"", "'it\\'s \"so\"'"},
		{"a\nb\tc\\d\x01", "'a\\nb\\tc\\\\d\\x01'"},
		{"\xc3\xa9", "'\xc3\xa9'"},
		{"cut \xc3", "'cut \xef\xbf\xbd'"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const struct nova_exception exception = {"Class", "module", cases[i].message,
							 "method", 404};
		g_autofree char *expected =
			g_strdup_printf("{'kwargs': {'code': 404}, 'message': %s, 'class': "
					"'Class'}",
					cases[i].repr);
		const char *text;
		cJSON *payload = nova_legacy_exception_payload(&exception, NULL);

		g_assert_cmpstr(json_string(payload, "exception"), ==, expected);
		assert_member(payload, "args", "{}");
		/* The text that is sent is UTF-8, even when the message is not. */
		payload = nova_versioned_exception_payload(&exception);
		text = json_string(cJSON_GetObjectItemCaseSensitive(payload, "nova_object.data"),
				   "traceback");
		g_assert_true(g_str_has_prefix(text, "module.Class: "));
		g_assert_true(g_utf8_validate(text, -1, NULL));
		cJSON_Delete(payload);
	}
}

static void test_exception_args(void)
{
	const struct nova_exception exception = {"Class", "module", "text", "method", 500};
	cJSON *args = parse("{\"instance\":" INSTANCE(
		"{\"id\":255,\"launched_at\":\"2026-11-23T04:24:43Z\","
		"\"metadata\":{\"created_at\":\"2026-11-23T04:24:43Z\"},"
		"\"tags\":" OBJECT(
			"TagList", "1.1",
			"{\"objects\":[" OBJECT(
				"Tag", "1.1",
				"{\"tag\":\"a\"}") "]}") "}") ","
							      "\"new_pass\":\"secret\","
							      "\"rotation\":1.0,\"list\":[null,"
							      "\"2026-11-23T04:24:43Z\"]}");

	assert_member(nova_legacy_exception_payload(&exception, args), "args",
		      "{\"instance\":{\"id\":255,\"launched_at\":\"2026-11-23T04:24:43.000000\","
		      "\"metadata\":{\"created_at\":\"2026-11-23T04:24:43Z\"},"
		      "\"tags\":[{\"_changed_fields\":[],\"VERSION\":\"1.1\",\"_obj_tag\":\"a\"}],"
		      "\"name\":\"instance-000000ff\"},"
		      "\"rotation\":1.0,\"list\":[null,\"2026-11-23T04:24:43Z\"]}");
	cJSON_Delete(args);
}

static void test_fault(void)
{
	cJSON *args = nova_fault_args(UUID, 404, "gone", "where", "lab");

	/* Only an internal error has details. */
	assert_member(nova_copy_member(args, "objinst"), "details", "\"\"");
	cJSON_Delete(args);
	assert_member(nova_event_finish_args(zed()->release, UUID, "compute_x", "text", NULL),
		      "kwargs", "{\"exc_val\":\"text\",\"exc_tb\":\"\",\"want_result\":false}");
	assert_member(nova_event_finish_args(zed()->release, UUID, "compute_x", "cut \xc3", "tb"),
		      "kwargs",
		      "{\"exc_val\":\"cut \xef\xbf\xbd\",\"exc_tb\":\"tb\",\"want_result\":false}");
}

static void test_elevated(void)
{
	static const struct {
		const char *before;
		const char *after;
	} cases[] = {
		{"{\"is_admin\":false,\"roles\":[\"member\"],\"user_id\":\"u\"}",
		 "{\"is_admin\":true,\"roles\":[\"member\",\"admin\"],\"user_id\":\"u\"}"},
		{"{\"roles\":[\"admin\"],\"is_admin\":true}",
		 "{\"roles\":[\"admin\"],\"is_admin\":true}"},
		{"{\"roles\":null}", "{\"roles\":[\"admin\"],\"is_admin\":true}"},
		{"{}", "{\"is_admin\":true,\"roles\":[\"admin\"]}"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(rpc_context_t) context = context_of(cases[i].before);
		g_autoptr(rpc_context_t) elevated = nova_context_elevated(context);

		assert_json(cJSON_Duplicate(rpc_context_fields(elevated), true), cases[i].after);
		assert_json(cJSON_Duplicate(rpc_context_fields(context), true), cases[i].before);
	}
}

static void test_progress(void)
{
	struct nova_progress progress = {
		.instance_uuid = UUID,
		.image_id = "image",
		.method = "stream",
		.phase = "uploading",
		.done = 10737418240,
		.total = 0,
	};

	assert_json(nova_progress_payload(&progress),
		    "{\"instance_id\":\"" UUID "\",\"image_id\":\"image\",\"phase\":\"uploading\","
		    "\"method\":\"stream\",\"task_state\":null,\"detail\":null,"
		    "\"bytes_done\":10737418240,\"bytes_total\":0}");
}

/* Of the object, only the progress is saved: also fields that were changed stay behind. */
static void test_save_of_progress(void)
{
	struct nova_instance *instance =
		instance_of(INSTANCE("{\"task_state\":null,\"progress\":0,\"info_cache\":"
				     "{\"nova_object.name\":\"InstanceInfoCache\","
				     "\"nova_object.data\":{},"
				     "\"nova_object.changes\":[\"network_info\"]},"
				     "\"uuid\":\"" UUID "\"}"));
	cJSON *object, *args;

	nova_instance_set_task_state(instance, "image_uploading");
	object = nova_instance_object(instance);
	args = nova_instance_progress_args(object, 35);
	assert_json(cJSON_DetachItemFromObjectCaseSensitive(args, "kwargs"), "{}");
	assert_json(cJSON_DetachItemFromObjectCaseSensitive(args, "objinst"),
		    INSTANCE("{\"task_state\":\"image_uploading\",\"progress\":35,\"info_cache\":"
			     "{\"nova_object.name\":\"InstanceInfoCache\","
			     "\"nova_object.data\":{}},\"uuid\":\"" UUID "\"},"
			     "\"nova_object.changes\":[\"progress\"]"));
	cJSON_Delete(args);
	cJSON_Delete(object);
	nova_instance_free(instance);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/nova/instance/refused", test_refused);
	g_test_add_func("/nova/instance/take-from-args", test_take_from_args);
	g_test_add_func("/nova/instance/carried-untouched", test_carried_untouched);
	g_test_add_func("/nova/instance/expected-states", test_expected_states);
	g_test_add_func("/nova/instance/save-of-progress", test_save_of_progress);
	g_test_add_func("/nova/instance/merge", test_merge);
	g_test_add_func("/nova/instance/restore-redacted", test_restore_redacted);
	g_test_add_func("/nova/instance/merge-refused", test_merge_refused);
	g_test_add_func("/nova/instance/many-updates", test_many_updates);
	g_test_add_func("/nova/instance/flavor-refused", test_flavor_refused);
	g_test_add_func("/nova/times", test_times);
	g_test_add_func("/nova/payload/legacy", test_legacy_values);
	g_test_add_func("/nova/payload/versioned", test_versioned_values);
	g_test_add_func("/nova/payload/networks", test_networks);
	g_test_add_func("/nova/payload/large-networks", test_large_networks);
	g_test_add_func("/nova/instance/numbers-out-of-range", test_numbers_out_of_range);
	g_test_add_func("/nova/payload/wrong-types", test_wrong_types);
	g_test_add_func("/nova/payload/exception-text", test_exception_text);
	g_test_add_func("/nova/payload/exception-args", test_exception_args);
	g_test_add_func("/nova/fault", test_fault);
	g_test_add_func("/nova/context-elevated", test_elevated);
	g_test_add_func("/nova/progress", test_progress);
	return g_test_run();
}
