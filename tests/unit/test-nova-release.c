/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The releases of nova: how each is recognised, and what differs in its messages.
 */
#include "agent/daemon/dispatch.h"
#include "rpc/json.h"
#include "rpc/nova/conductor-args.h"
#include "rpc/nova/instance-save.h"
#include "rpc/nova/payload-versioned.h"
#include "rpc/nova/value.h"
#include "rpc/request.h"

#include <string.h>

#define UUID "2b5a5b29-ff82-456a-8cb5-56c0ad05b188"
#define OBJECT(name, version, data)                                                                \
	"{\"nova_object.name\":\"" name "\",\"nova_object.namespace\":\"nova\","                   \
	"\"nova_object.version\":\"" version "\",\"nova_object.data\":" data "}"

static cJSON *parse(const char *text)
{
	GError *error = NULL;
	cJSON *value = json_parse(text, strlen(text), &error);

	g_assert_no_error(error);
	return value;
}

/* An Instance of this version. */
static struct nova_instance *instance_of(const char *version)
{
	g_autofree char *text =
		g_strdup_printf(OBJECT("Instance", "%s", "{\"uuid\":\"" UUID "\"}"), version);
	cJSON *object = parse(text);
	GError *error = NULL;
	struct nova_instance *instance = nova_instance_new(object, &error);

	g_assert_no_error(error);
	cJSON_Delete(object);
	return instance;
}

static const struct nova_payload_kind *kind_of(int record)
{
	static struct nova_payload_kind kind;

	kind.release = nova_release_of_record(record, NULL);
	return &kind;
}

/* Takes `payload`. */
static void assert_shares(cJSON *payload, const char *expected)
{
	char *text = json_print(cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(payload, "nova_object.data"), "shares"));

	g_assert_cmpstr(text, ==, expected);
	cJSON_free(text);
	cJSON_Delete(payload);
}

static void test_of_record(void)
{
	static const struct {
		int record;
		const char *instance; /* NULL: none */
		unsigned major;
	} cases[] = {
		{1, NULL, 18},	      {35, NULL, 18}, {52, NULL, 21},  {64, NULL, 26},
		{64, "2.8", 26},      {65, NULL, 26}, {66, NULL, 28},  {66, "2.7", 27},
		{66, "2.8", 28},      {67, NULL, 30}, {67, "2.8", 30}, {68, "2.8", 31},
		{68, "2.7", 31},      {69, NULL, 31}, {70, NULL, 32},  {71, NULL, 32},
		{72, "2.8", 33},      {73, NULL, 33}, {74, "2.8", 34}, {75, NULL, 34},
		{G_MAXINT, NULL, 34},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct nova_instance *instance =
			cases[i].instance ? instance_of(cases[i].instance) : NULL;
		const struct nova_release *release =
			nova_release_of_record(cases[i].record, instance);

		g_test_message("record %d, Instance %s", cases[i].record, cases[i].instance);
		g_assert_cmpuint(nova_release_major(release), ==, cases[i].major);
		nova_instance_free(instance);
	}
	g_assert_false(nova_release_is_unknown(74));
	g_assert_true(nova_release_is_unknown(75));
}

static void test_of_request(void)
{
	static const struct {
		const char *version, *instance;
		unsigned major;
	} cases[] = {
		{"5.0", "2.4", 18}, {"5.13", "2.7", 18}, {"6.0", "2.7", 26}, {"6.5", "2.7", 26},
		{"6.0", "2.8", 28}, {"6.5", "2.8", 28},	 {"6.0", "2.9", 28}, {"6.0", "3.0", 26},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct nova_instance *instance = instance_of(cases[i].instance);
		cJSON *message = cJSON_CreateObject();
		struct rpc_request *request;

		g_test_message("%s, Instance %s", cases[i].version, cases[i].instance);
		cJSON_AddStringToObject(message, "method", "snapshot_instance");
		cJSON_AddStringToObject(message, "version", cases[i].version);
		request = rpc_request_new_local(message);
		g_assert_cmpuint(nova_release_major(nova_release_of_request(
					 rpc_request_context(request), instance)),
				 ==, cases[i].major);
		rpc_request_free(request);
		nova_instance_free(instance);
	}
}

static void test_descriptions(void)
{
	static const struct {
		int record;
		const char *text;
	} cases[] = {
		{64, "Nova 26 (Zed)"},
		{66, "Nova 27 (2023.1 Antelope) or 28 (2023.2 Bobcat)"},
		{68, "Nova 31 (2025.1 Epoxy)"},
		{99,
		 "a release that is newer than this novasnap, served as Nova 34 (2026.2 Hibiscus)"},
		{7, "a release before Rocky, served as Nova 18 (Rocky)"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = nova_release_describe_record(cases[i].record);

		g_assert_cmpstr(text, ==, cases[i].text);
	}
}

static void test_habits(void)
{
	static const struct {
		int record;
		bool ami, early_event, alt_server, shares;
	} cases[] = {
		{64, true, false, false, false}, {67, false, false, false, false},
		{68, false, false, false, true}, {70, false, false, false, true},
		{72, false, true, true, true},	 {74, false, true, true, true},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const struct nova_release *release = nova_release_of_record(cases[i].record, NULL);

		g_test_message("%s", nova_release_name(release));
		g_assert_cmpint(nova_release_has(release, NOVA_HABIT_AMI), ==, cases[i].ami);
		g_assert_cmpint(nova_release_has(release, NOVA_HABIT_EARLY_EVENT), ==,
				cases[i].early_event);
		g_assert_cmpint(nova_release_has(release, NOVA_HABIT_ALT_SERVER), ==,
				cases[i].alt_server);
		g_assert_cmpint(nova_release_has(release, NOVA_HABIT_SHARES), ==, cases[i].shares);
	}
}

/* The server supports what the newest release sends. */
static void test_compute_rpc(void)
{
	struct dispatch dispatch = {0};
	struct rpc_server_ops ops = dispatch_server_ops(&dispatch);
	const struct nova_release *newest = nova_release_of_record(G_MAXINT, NULL);

	g_assert_true(g_strv_contains(ops.versions, nova_release_compute_rpc(newest)));
}

static const char *version_of(const cJSON *args, const char *object)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(args, "object_versions"), object));
}

/* A conductor refuses a version of the class that is newer than its own. */
static void test_object_versions(void)
{
	static const struct {
		int record;
		const char *event, *instance, *device;
	} cases[] = {
		{35, "1.2", "2.4", "1.19"}, {37, "1.2", "2.4", "1.20"}, {40, "1.3", "2.7", "1.20"},
		{51, "1.4", "2.7", "1.20"}, {64, "1.4", "2.7", "1.21"}, {67, "1.4", "2.8", "1.21"},
		{74, "1.4", "2.8", "1.21"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const struct nova_release *release = nova_release_of_record(cases[i].record, NULL);
		cJSON *start = nova_event_start_args(release, UUID, "compute_x", "lab");
		cJSON *finish = nova_event_finish_args(release, UUID, "compute_x", NULL, NULL);
		cJSON *flavor = nova_load_flavor_args(release, UUID);
		cJSON *devices = nova_load_block_devices_args(release, UUID);
		cJSON *faults = nova_list_faults_args(release, UUID);
		cJSON *action = nova_find_action_args(release, UUID, "req-1");
		cJSON *events = nova_list_events_args(release, 7);

		g_assert_cmpstr(version_of(start, "InstanceActionEvent"), ==, cases[i].event);
		g_assert_cmpstr(version_of(finish, "InstanceActionEvent"), ==, cases[i].event);
		g_assert_cmpstr(version_of(flavor, "Instance"), ==, cases[i].instance);
		g_assert_cmpstr(version_of(flavor, "Flavor"), ==, "1.2");
		/* Objects that the release does not have are not named. */
		g_assert_cmpint(version_of(flavor, "Resource") != NULL, ==, cases[i].record >= 40);
		g_assert_cmpstr(version_of(devices, "Instance"), ==, cases[i].instance);
		g_assert_cmpstr(version_of(devices, "BlockDeviceMapping"), ==, cases[i].device);
		g_assert_nonnull(version_of(devices, "BlockDeviceMappingList"));
		g_assert_cmpstr(version_of(faults, "InstanceFaultList"), ==, "1.2");
		cJSON_Delete(start);
		cJSON_Delete(finish);
		cJSON_Delete(flavor);
		cJSON_Delete(devices);
		g_assert_cmpstr(version_of(action, "InstanceAction"), ==,
				cases[i].record >= 40 ? "1.2" : "1.1");
		g_assert_cmpstr(version_of(events, "InstanceActionEventList"), ==, "1.1");
		g_assert_cmpstr(version_of(events, "InstanceActionEvent"), ==, cases[i].event);
		cJSON_Delete(faults);
		cJSON_Delete(action);
		cJSON_Delete(events);
	}
}

static cJSON *payload_data(cJSON *payload)
{
	return cJSON_GetObjectItemCaseSensitive(payload, "nova_object.data");
}

/* The versions of the payloads, and the members that not every release has. */
static void test_payloads_of_releases(void)
{
	static const struct {
		int record;
		const char *action, *snapshot, *exists;
		bool locked_reason, bandwidth, shares;
	} cases[] = {
		{35, "1.7", "1.8", "1.1", false, true, false},
		{40, "1.8", "1.9", "1.2", true, true, false},
		{61, "1.8", "1.9", "2.0", true, false, false},
		{64, "1.8", "1.9", "2.0", true, false, false},
		/* An Instance 2.8 is no sign of the next one. */
		{67, "1.8", "1.9", "2.0", true, false, false},
		{68, "1.9", "1.10", "2.1", true, false, true},
		{74, "1.9", "1.10", "2.1", true, false, true},
	};
	g_autoptr(rpc_context_t) context = rpc_context_new(NULL);
	g_autoptr(GDateTime) now = g_date_time_new_now_utc();

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const struct nova_payload_kind *kind = kind_of(cases[i].record);
		struct nova_instance *instance = instance_of("2.8");
		cJSON *action = nova_versioned_payload(kind, instance, context, NULL);
		cJSON *snapshot = nova_versioned_payload(kind, instance, context, "image");
		cJSON *exists = nova_versioned_exists_payload(kind, instance, context, now, now);
		cJSON *data = payload_data(exists);

		g_test_message("record version %d", cases[i].record);
		g_assert_cmpstr(json_string(action, "nova_object.version"), ==, cases[i].action);
		g_assert_cmpstr(json_string(snapshot, "nova_object.version"), ==,
				cases[i].snapshot);
		g_assert_cmpstr(json_string(exists, "nova_object.version"), ==, cases[i].exists);
		g_assert_cmpint(cJSON_HasObjectItem(data, "locked_reason"), ==,
				cases[i].locked_reason);
		g_assert_cmpint(cJSON_HasObjectItem(data, "bandwidth"), ==, cases[i].bandwidth);
		g_assert_cmpint(cJSON_HasObjectItem(payload_data(snapshot), "shares"), ==,
				cases[i].shares);
		g_assert_cmpint(cJSON_HasObjectItem(payload_data(action), "shares"), ==,
				cases[i].shares);
		cJSON_Delete(action);
		cJSON_Delete(snapshot);
		cJSON_Delete(exists);
		nova_instance_free(instance);
	}
}

#define SHARES                                                                                     \
	OBJECT("ShareMappingList", "1.0",                                                          \
	       "{\"objects\":[" OBJECT("ShareMapping", "1.2",                                      \
				       "{\"id\":1,\"uuid\":\"" UUID                                \
				       "\",\"share_id\":\"share\",\"status\":\"active\","          \
				       "\"tag\":\"t\",\"export_location\":\"secret\"}") "]}")

/* `shares` is null unless [notifications]include_share_mapping is on. */
static void test_shares(void)
{
	g_autoptr(rpc_context_t) context = rpc_context_new(NULL);
	struct nova_instance *instance = instance_of("2.8");
	struct nova_payload_kind kind = *kind_of(74);
	cJSON *list = parse(SHARES);
	GError *error = NULL;

	kind.includes_shares = true;
	assert_shares(nova_versioned_payload(&kind, instance, context, "image"), "null");
	nova_instance_take_shares(instance, list, &error);
	g_assert_no_error(error);
	g_assert_cmpuint(nova_instance_share_count(instance), ==, 1);
	assert_shares(nova_versioned_payload(&kind, instance, context, "image"),
		      "[" OBJECT("SharePayload", "1.0",
				 "{\"share_mapping_uuid\":\"" UUID "\",\"share_id\":\"share\","
				 "\"status\":\"active\",\"tag\":\"t\"}") "]");
	kind.includes_shares = false;
	assert_shares(nova_versioned_payload(&kind, instance, context, "image"), "null");
	cJSON_Delete(list);
	list = parse("{\"nova_object.data\":{\"objects\":7}}");
	g_assert_cmpint(nova_instance_take_shares(instance, list, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
	g_clear_error(&error);
	cJSON_Delete(list);
	nova_instance_free(instance);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/nova/release/of-record", test_of_record);
	g_test_add_func("/nova/release/of-request", test_of_request);
	g_test_add_func("/nova/release/descriptions", test_descriptions);
	g_test_add_func("/nova/release/habits", test_habits);
	g_test_add_func("/nova/release/compute-rpc", test_compute_rpc);
	g_test_add_func("/nova/release/object-versions", test_object_versions);
	g_test_add_func("/nova/release/payloads", test_payloads_of_releases);
	g_test_add_func("/nova/release/shares", test_shares);
	return g_test_run();
}
