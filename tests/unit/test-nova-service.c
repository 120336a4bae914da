/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record of a compute service: when it is created, and with which version. The test answers the
 * calls to the conductor.
 */
#include <string.h>

#include "rpc/nova.h"

static struct {
	const char *record;   /* the reply to the query for the record; NULL: an error */
	const char *services; /* the reply to the query for all records; NULL: an error */
	unsigned created;
	int version;
	char *disabled_reason;
} fake;

__typeof__(rpc_call) __wrap_rpc_call;

static cJSON *answer(const char *reply, GError **error)
{
	if (reply)
		return cJSON_Parse(reply);
	g_set_error_literal(error, RPC_ERROR, RPC_ERROR_TIMEOUT, "no answer");
	return NULL;
}

static cJSON *answer_class_method(const cJSON *args, GError **error)
{
	const char *method =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(args, "objmethod"));
	const char *object =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(args, "objname"));
	const cJSON *versions = cJSON_GetObjectItemCaseSensitive(args, "object_versions");

	/* nova takes the version of the object itself from this list. */
	g_assert_nonnull(cJSON_GetObjectItemCaseSensitive(versions, object));
	if (g_strcmp0(method, "get_by_host_and_binary") == 0)
		return answer(fake.record, error);
	g_assert_cmpstr(object, ==, "ServiceList");
	g_assert_cmpstr(method, ==, "get_all");
	return answer(fake.services, error);
}

cJSON *__wrap_rpc_call(struct rpc *rpc, const char *topic, struct rpc_context *context,
		       const char *method, const char *version, cJSON *args, unsigned timeout_s,
		       GError **error)
{
	const cJSON *record, *data;
	cJSON *reply;

	(void)rpc;
	(void)context;
	(void)version;
	(void)timeout_s;
	g_assert_cmpstr(topic, ==, "conductor");
	if (g_str_equal(method, "object_class_action_versions")) {
		reply = answer_class_method(args, error);
	} else {
		g_assert_cmpstr(
			cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(args, "objmethod")),
			==, "create");
		record = cJSON_GetObjectItemCaseSensitive(args, "objinst");
		data = cJSON_GetObjectItemCaseSensitive(record, "nova_object.data");
		fake.created++;
		fake.version = cJSON_GetObjectItemCaseSensitive(data, "version")->valueint;
		g_free(fake.disabled_reason);
		fake.disabled_reason = g_strdup(cJSON_GetStringValue(
			cJSON_GetObjectItemCaseSensitive(data, "disabled_reason")));
		reply = cJSON_Parse("[{\"id\": 7}, null]");
	}
	cJSON_Delete(args);
	return reply;
}

#define SERVICE(binary, version)                                                                   \
	"{\"nova_object.name\": \"Service\", \"nova_object.data\": {\"binary\": \"" binary         \
	"\", \"version\": " version "}}"
#define SERVICES(list)                                                                             \
	"{\"nova_object.name\": \"ServiceList\", \"nova_object.data\": {\"objects\": [" list "]}}"

/* Returns the version of the record that was created; 0: none was. */
static int take(const char *record, const char *services, GError **error)
{
	struct rpc_context *context = rpc_context_new(NULL);
	struct nova_service *service;

	fake.record = record;
	fake.services = services;
	fake.created = 0;
	fake.version = 0;
	service = nova_service_take(NULL, context, "host", "compute", "snapshots only", error);
	g_assert_true((service == NULL) == (*error != NULL));
	nova_service_free(service);
	rpc_context_free(context);
	return fake.version;
}

static void test_found(void)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(take(SERVICE("nova-compute", "61"), NULL, &error), ==, 0);
	g_assert_no_error(error);
	g_assert_cmpuint(fake.created, ==, 0);
}

/* The version by which nova's release is recognised. -1: unknown. */
static int find_version(const char *record, const char *services, GError **error)
{
	struct rpc_context *context = rpc_context_new(NULL);
	int version = 0;
	int rc;

	fake.record = record;
	fake.services = services;
	fake.created = 0;
	rc = nova_conductor_service_version(NULL, context, "host", &version, error);
	rpc_context_free(context);
	g_assert_cmpuint(fake.created, ==, 0);
	return rc < 0 ? -1 : version;
}

static void test_version(void)
{
	static const char *const unusable[] = {"0", "-1", "\"x\"", "1e99", "null"};
	const char *services = SERVICES(SERVICE("nova-conductor", "74") "," SERVICE("x", "70"));
	g_autoptr(GError) error = NULL;

	/* That of this host, although others are newer already. */
	g_assert_cmpint(find_version(SERVICE("nova-compute", "68"), services, &error), ==, 68);
	g_assert_no_error(error);
	g_assert_cmpint(find_version("null", services, &error), ==, 74);
	g_assert_no_error(error);
	for (size_t i = 0; i < G_N_ELEMENTS(unusable); i++) {
		g_autofree char *record =
			g_strdup_printf(SERVICE("nova-compute", "%s"), unusable[i]);

		g_assert_cmpint(find_version(record, services, &error), ==, 74);
		g_assert_no_error(error);
	}
	g_assert_cmpint(find_version("null", SERVICES(""), &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_FAILED);
	g_clear_error(&error);
	g_assert_cmpint(find_version("null", NULL, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_TIMEOUT);
	g_clear_error(&error);
	g_assert_cmpint(find_version("7", services, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
}

static void test_created_with_the_newest_version(void)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(take("null",
			     SERVICES(SERVICE("nova-conductor", "74") "," SERVICE(
				     "nova-compute", "71") "," SERVICE("nova-compute", "73")),
			     &error),
			==, 74);
	g_assert_no_error(error);
	g_assert_cmpstr(fake.disabled_reason, ==, "snapshots only");
	g_assert_cmpint(take("null", SERVICES(SERVICE("nova-compute", "58")), &error), ==, 58);
	g_assert_no_error(error);
	g_clear_pointer(&fake.disabled_reason, g_free);
}

/* A version that is too old keeps the other services from starting. */
static void test_not_created_where_the_version_is_unknown(void)
{
	static const struct {
		const char *record, *services;
		int code;
	} cases[] = {
		{"null", NULL, RPC_ERROR_TIMEOUT},
		{"null", SERVICES(""), RPC_ERROR_FAILED},
		{"null", "null", RPC_ERROR_FAILED},
		{"null", SERVICES("null, 3, {}"), RPC_ERROR_FAILED},
		{"null", SERVICES(SERVICE("nova-compute", "0")), RPC_ERROR_FAILED},
		{"null", SERVICES(SERVICE("nova-compute", "99999999999")), RPC_ERROR_FAILED},
		{NULL, SERVICES(SERVICE("nova-compute", "74")), RPC_ERROR_TIMEOUT},
		{"\"text\"", SERVICES(SERVICE("nova-compute", "74")), RPC_ERROR_DECODE},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GError) error = NULL;

		(void)take(cases[i].record, cases[i].services, &error);
		g_assert_error(error, RPC_ERROR, cases[i].code);
		g_assert_cmpuint(fake.created, ==, 0);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/nova-service/found", test_found);
	g_test_add_func("/nova-service/created", test_created_with_the_newest_version);
	g_test_add_func("/nova-service/unknown", test_not_created_where_the_version_is_unknown);
	g_test_add_func("/nova-service/version", test_version);
	return g_test_run();
}
