/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Malformed and hostile messages, from the delivery through novasnapd's own server up to where a
 * job would begin: each is served, or rejected and kept with a reason, and acked once in either
 * case. The linker replaces the functions that would send something or run a job by those below.
 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/daemon/dispatch.h"
#include "rpc/amqp/consumer.h"
#include "rpc/amqp/publisher.h"
#include "rpc/handle.h"
#include "rpc/inflight.h"
#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/redact.h"
#include "rpc/served-topics.h"
#include "rpc/server.h"

#define BODY "tests/data/wire/snapshot_instance.body"
#define FILES_MAX 2
#define BYTES_MAX ((uint64_t)4 * 1024 * 1024)
/* The CPU time that linear work takes at most, also with a sanitizer. */
#define QUICK_US ((gint64)20 * G_USEC_PER_SEC)

static gint64 cpu_us(void)
{
	struct timespec used;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (gint64)used.tv_sec * G_USEC_PER_SEC + used.tv_nsec / 1000;
}

__typeof__(intake_take) __wrap_intake_take, __real_intake_take;
__typeof__(worker_pool_submit) __wrap_worker_pool_submit;
__typeof__(consumer_ack) __wrap_consumer_ack;
__typeof__(consumer_want) __wrap_consumer_want;
__typeof__(publisher_send) __wrap_publisher_send;

static unsigned taken, acked, answered;

void __wrap_consumer_ack(struct consumer *consumer, const struct delivery_tag *tag)
{
	(void)consumer;
	(void)tag;
	acked++;
}

void __wrap_consumer_want(struct consumer *consumer, enum consumer_channel channel, bool wanted)
{
	(void)consumer;
	(void)channel;
	(void)wanted;
}

int __wrap_publisher_send(struct publisher *publisher, const struct outgoing_message *message,
			  bool wait, GError **error)
{
	(void)publisher;
	(void)wait;
	(void)error;
	g_assert_cmpuint(strlen(message->key), <=, RPC_MAX_NAME_BYTES);
	cJSON_free(message->body);
	answered++;
	return 0;
}

/* The message of a request can be written to the journal and read again. */
bool __wrap_intake_take(struct intake *intake, const struct task_method *method,
			struct rpc_request *request, GError **error)
{
	char *text = rpc_request_text(request);
	cJSON *message = rpc_body_decode(text, strlen(text), NULL);

	g_assert_nonnull(message);
	cJSON_Delete(message);
	cJSON_free(text);
	return __real_intake_take(intake, method, request, error);
}

void __wrap_worker_pool_submit(struct worker_pool *pool, const char *key, const char *name,
			       const struct job_ops *ops, void *opaque)
{
	(void)pool;
	(void)name;
	(void)ops;
	g_assert_true(g_uuid_string_is_valid(key));
	taken++;
	task_free(opaque);
}

/* worker_pool_submit, in whose place is the function above, does not use them. */
static const struct intake_ops no_jobs;

struct fixture {
	struct rpc rpc;
	struct rpc_config config;
	struct agent agent;
	struct dispatch dispatch;
	char *tmp;
	char *body; /* a recorded cast */
	size_t length;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	struct rpc_server_ops ops = dispatch_server_ops(&fixture->dispatch);

	(void)unused;
	fixture->dispatch.agent = &fixture->agent;
	fixture->dispatch.intake = intake_new(&fixture->agent, &no_jobs);
	fixture->tmp = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	fixture->config.topic = "compute";
	fixture->config.host = "node1";
	fixture->config.rejected_dir = g_build_filename(fixture->tmp, "rejected", NULL);
	fixture->config.rejected_max_files = FILES_MAX;
	fixture->config.rejected_max_bytes = BYTES_MAX;
	fixture->rpc.config = &fixture->config;
	fixture->rpc.inflight = inflight_new();
	fixture->rpc.server = rpc_server_new();
	fixture->rpc.topics = served_topics_new(&fixture->config);
	g_assert_cmpint(rpc_server_start(&fixture->rpc, &ops, NULL), ==, 0);
	g_assert_true(g_file_get_contents(BODY, &fixture->body, &fixture->length, NULL));
}

/* Returns the content of the newest rejected message, and removes all of them; NULL: none. */
static char *take_rejected(const struct fixture *fixture)
{
	g_autoptr(GDir) dir = g_dir_open(fixture->config.rejected_dir, 0, NULL);
	g_autofree char *newest = NULL;
	unsigned files = 0;
	uint64_t bytes = 0;
	char *content = NULL;
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(fixture->config.rejected_dir, name, NULL);
		struct stat st;

		g_assert_cmpint(stat(path, &st), ==, 0);
		bytes += (uint64_t)st.st_size;
		files++;
		if (g_strcmp0(path, newest) > 0) {
			g_free(newest);
			newest = g_strdup(path);
			g_free(content);
			g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
		}
		g_unlink(path);
	}
	g_assert_cmpuint(files, <=, FILES_MAX);
	g_assert_cmpuint(bytes, <=, BYTES_MAX);
	return content;
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_free(take_rejected(fixture));
	intake_free(fixture->dispatch.intake);
	rpc_server_free(fixture->rpc.server);
	served_topics_free(fixture->rpc.topics);
	inflight_free(fixture->rpc.inflight);
	g_rmdir(fixture->config.rejected_dir);
	g_rmdir(fixture->tmp);
	g_free((char *)fixture->config.rejected_dir);
	g_free(fixture->tmp);
	g_free(fixture->body);
}

static void forget_ids(struct fixture *fixture)
{
	inflight_free(fixture->rpc.inflight);
	fixture->rpc.inflight = inflight_new();
}

/* Delivers a copy of the body that ends where its memory ends. It must be acked once. Returns
 * whether it became a job. */
static bool deliver_body(struct fixture *fixture, const char *body, size_t length)
{
	g_autofree char *exact = g_memdup2(body, MAX(length, 1));
	const struct delivery delivery = {.body = exact, .length = length, .size = length};
	unsigned taken_before = taken, acked_before = acked;

	rpc_server_deliver(&delivery, &fixture->rpc);
	g_assert_cmpuint(acked - acked_before, ==, 1);
	forget_ids(fixture);
	return taken > taken_before;
}

static void expect_rejected(const struct fixture *fixture, const char *reason_part)
{
	g_autofree char *content = take_rejected(fixture);
	g_autofree char *reason = content ? g_strndup(content, strcspn(content, "\n")) : NULL;

	if (!reason || !g_str_has_prefix(reason, "# ") || !strstr(reason, reason_part))
		g_error("the reason is \"%s\", without \"%s\"", reason, reason_part);
}

static bool deliver_message(struct fixture *fixture, const cJSON *message)
{
	char *text = json_print(message);
	bool became_job = deliver_body(fixture, text, strlen(text));

	cJSON_free(text);
	return became_job;
}

static void expect_message_rejected(struct fixture *fixture, const cJSON *message,
				    const char *reason_part)
{
	g_assert_false(deliver_message(fixture, message));
	expect_rejected(fixture, reason_part);
}

static cJSON *recorded_message(const struct fixture *fixture)
{
	cJSON *message = rpc_body_decode(fixture->body, fixture->length, NULL);

	g_assert_nonnull(message);
	return message;
}

static cJSON *parse_json(const char *text)
{
	cJSON *value = json_parse(text, strlen(text), NULL);

	g_assert_nonnull(value);
	return value;
}

static cJSON *member(cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

static void set_member(cJSON *object, const char *name, cJSON *value)
{
	if (member(object, name))
		cJSON_ReplaceItemInObjectCaseSensitive(object, name, value);
	else
		cJSON_AddItemToObject(object, name, value);
}

static void test_cut_at_each_byte(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	for (size_t length = 0; length < fixture->length; length++) {
		g_assert_false(deliver_body(fixture, fixture->body, length));
		expect_rejected(fixture, "not JSON");
	}
	g_assert_true(deliver_body(fixture, fixture->body, fixture->length));
}

static void test_invalid_utf8(struct fixture *fixture, gconstpointer unused)
{
	static const char *const broken[] = {"\xff", "\xc0\x80", "\xed\xa0\x80",
					     "\xf4\x90\x80\x80"};

	(void)unused;
	for (size_t at = 0; at + 4 < fixture->length; at += 7) {
		const char *bytes = broken[at % G_N_ELEMENTS(broken)];
		g_autofree char *body = g_memdup2(fixture->body, fixture->length);

		for (size_t i = 0; bytes[i]; i++)
			body[at + i] = bytes[i];
		g_assert_false(deliver_body(fixture, body, fixture->length));
		expect_rejected(fixture, "invalid UTF-8");
	}
}

/* The members that are read, as paths from the message. */
static const char *const read_members[] = {
	"method",
	"version",
	"namespace",
	"args",
	"_unique_id",
	"_msg_id",
	"_reply_q",
	"_timeout",
	"_context_auth_token",
	"_context_request_id",
	"_context_user_id",
	"_context_project_id",
	"_context_roles",
	"args/image_id",
	"args/image_type",
	"args/backup_type",
	"args/rotation",
	"args/instance",
	"args/instance/nova_object.name",
	"args/instance/nova_object.version",
	"args/instance/nova_object.data",
	"args/instance/nova_object.changes",
	"args/instance/nova_object.data/uuid",
	"args/instance/nova_object.data/power_state",
	"args/instance/nova_object.data/task_state",
	"args/instance/nova_object.data/vm_state",
	"args/instance/nova_object.data/root_device_name",
	"args/instance/nova_object.data/metadata",
	"args/instance/nova_object.data/system_metadata",
	"args/instance/nova_object.data/info_cache",
	"args/instance/nova_object.data/flavor",
	"args/instance/nova_object.data/image_ref",
	"args/instance/nova_object.data/created_at",
};

static const char *const odd_values[] = {
	"null",
	"true",
	"0",
	"-1",
	"2.5",
	"1e400",
	"-1e400",
	"NaN",
	"9223372036854775808",
	"-9223372036854775809",
	"12345678901234567890123456789012345678901234567890123456789012345678901",
	"\"\"",
	"\"x\"",
	"\"\\u0000\"",
	"\"\\ud800\"",
	"[]",
	"[null]",
	"[[],{}]",
	"{}",
	"{\"nova_object.data\":{\"uuid\":[]}}",
};

static void test_wrong_types(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(read_members); i++) {
		g_auto(GStrv) path = g_strsplit(read_members[i], "/", -1);

		for (size_t j = 0; j < G_N_ELEMENTS(odd_values); j++) {
			cJSON *message = recorded_message(fixture);
			cJSON *parent = message;
			unsigned answers = answered;
			g_autofree char *kept = NULL;

			for (char **name = path; name[1]; name++)
				parent = member(parent, *name);
			set_member(parent, path[g_strv_length(path) - 1],
				   parse_json(odd_values[j]));
			g_test_message("%s is %s", read_members[i], odd_values[j]);
			/* A message with an unknown method or version is dropped, and a call is
			 * answered. */
			if (!deliver_message(fixture, message)) {
				kept = take_rejected(fixture);
				if (!kept && answered == answers)
					g_assert_true(i <= 2);
			}
			cJSON_Delete(message);
		}
	}
}

/* A message without a usable image_id or instance is rejected. */
static void test_required_arguments(struct fixture *fixture, gconstpointer unused)
{
	static const struct {
		const char *name;
		const char *why;
	} required[] = {
		{"image_id", "the argument image_id is not a UUID"},
		{"instance", "the argument instance"},
	};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(required); i++) {
		for (size_t j = 0; j < G_N_ELEMENTS(odd_values); j++) {
			cJSON *message = recorded_message(fixture);

			set_member(member(message, "args"), required[i].name,
				   parse_json(odd_values[j]));
			expect_message_rejected(fixture, message, required[i].why);
			cJSON_Delete(message);
		}
	}
}

/* Adds `count` members to an object; with `key` NULL, values to an array. */
static void add_many(cJSON *to, const char *key, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		g_autofree char *name = key ? g_strdup_printf("%s%u", key, i) : NULL;

		if (name)
			cJSON_AddItemToObject(to, name, cJSON_CreateNumber(i));
		else
			cJSON_AddItemToArray(to, cJSON_CreateNumber(i));
	}
}

static void test_unknown_keys(struct fixture *fixture, gconstpointer unused)
{
	cJSON *message = recorded_message(fixture);
	gint64 began = cpu_us();
	cJSON *data;

	(void)unused;
	add_many(message, "unknown", 10000);
	add_many(message, "_context_unknown", 10000);
	add_many(member(message, "args"), "unknown", 10000);
	g_assert_true(deliver_message(fixture, message));
	data = member(member(member(message, "args"), "instance"), "nova_object.data");
	add_many(data, "unknown", 10000);
	expect_message_rejected(fixture, message, "too many fields");
	g_assert_cmpint(cpu_us() - began, <, QUICK_US);
	cJSON_Delete(message);
}

static void test_plain_metadata(struct fixture *fixture, gconstpointer unused)
{
	static const char *const names[] = {"metadata", "system_metadata"};
	gint64 began = cpu_us();

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		cJSON *message = recorded_message(fixture);
		cJSON *list = cJSON_CreateArray();
		cJSON *instance =
			parse_json("{\"uuid\": \"2b5a5b29-ff82-456a-8cb5-56c0ad05b188\"}");

		for (unsigned j = 0; j < 60000; j++) {
			g_autofree char *key = g_strdup_printf("%u", j);
			cJSON *item = cJSON_CreateObject();

			cJSON_AddStringToObject(item, "key", key);
			cJSON_AddItemToArray(list, item);
		}
		cJSON_AddItemToObject(instance, names[i], list);
		set_member(member(message, "args"), "instance", instance);
		expect_message_rejected(fixture, message, "too much metadata");
		cJSON_Delete(message);
	}
	g_assert_cmpint(cpu_us() - began, <, 2 * QUICK_US);
}

static void test_depth(struct fixture *fixture, gconstpointer unused)
{
	static const unsigned depths[] = {JSON_MAX_DEPTH - 10, JSON_MAX_DEPTH, 100000};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(depths); i++) {
		g_autoptr(GString) nested = g_string_new("{\"args\":{\"deep\":");
		bool became_job;

		for (unsigned j = 0; j < depths[i]; j++)
			g_string_append_c(nested, '[');
		for (unsigned j = 0; j < depths[i]; j++)
			g_string_append_c(nested, ']');
		g_string_append(nested,
				",\"image_id\":\"71e5a7b0-1730-41f5-afda-ba2a6f00b7f6\","
				"\"instance_uuid\":\"2b5a5b29-ff82-456a-8cb5-56c0ad05b188\"},"
				"\"version\":\"1.0\",\"method\":\"snapshot_instance\"}");
		became_job = deliver_body(fixture, nested->str, nested->len);
		g_assert_cmpint(became_job, ==, i == 0);
		if (!became_job)
			expect_rejected(fixture, "nested too deeply");
	}
}

static void test_values(struct fixture *fixture, gconstpointer unused)
{
	cJSON *message = recorded_message(fixture);
	cJSON *list = cJSON_AddArrayToObject(member(message, "args"), "list");

	(void)unused;
	add_many(list, NULL, 100000);
	g_assert_true(deliver_message(fixture, message));
	add_many(list, NULL, JSON_MAX_VALUES);
	expect_message_rejected(fixture, message, "too many values");
	cJSON_Delete(message);
}

static void test_names(struct fixture *fixture, gconstpointer unused)
{
	static const char *const names[] = {"method", "version", "_unique_id", "_msg_id",
					    "_reply_q"};
	g_autofree char *longest = g_strnfill(RPC_MAX_NAME_BYTES, 'x');
	g_autofree char *too_long = g_strnfill(RPC_MAX_NAME_BYTES + 1, 'x');

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		cJSON *message = recorded_message(fixture);
		g_autofree char *kept = NULL;

		set_member(message, names[i], cJSON_CreateString(longest));
		g_assert_cmpint(deliver_message(fixture, message), ==, i >= 2);
		kept = take_rejected(fixture);
		g_assert_null(kept);
		set_member(message, names[i], cJSON_CreateString(too_long));
		expect_message_rejected(fixture, message, names[i]);
		cJSON_Delete(message);
	}
}

/* Only the beginning of a body that is too long is kept, redacted and within the limit. */
static void test_too_long(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *body = g_strnfill(RPC_MAX_BODY_BYTES + 1, ' ');
	static const char begin[] = "{\"_context_auth_token\": \"SECRET\", \"keep\": \"";
	const struct delivery delivery = {
		.body = body, .length = RPC_MAX_KEPT_BYTES, .size = (uint64_t)1 << 40};
	unsigned acked_before;
	g_autofree char *kept = NULL;

	(void)unused;
	memcpy(body, begin, sizeof(begin) - 1);
	g_assert_false(deliver_body(fixture, body, RPC_MAX_BODY_BYTES + 1));
	expect_rejected(fixture, "over the limit of 16777216 (truncated)");
	g_assert_false(deliver_body(fixture, body, RPC_MAX_BODY_BYTES));
	expect_rejected(fixture, "not JSON");
	acked_before = acked;
	rpc_server_deliver(&delivery, &fixture->rpc);
	g_assert_cmpuint(acked - acked_before, ==, 1);
	kept = take_rejected(fixture);
	g_assert_true(g_str_has_prefix(kept, "# it has 1099511627776 bytes, over the limit"));
	g_assert_nonnull(strstr(kept, "keep"));
	g_assert_null(strstr(kept, "SECRET"));
	g_assert_cmpuint(strlen(kept), <, RPC_MAX_KEPT_BYTES + 1024);
}

static void test_rejected_folder_is_bounded(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *body = g_strnfill((size_t)3 * 1024 * 1024, 'x');
	g_autofree char *kept = NULL;

	(void)unused;
	for (int i = 0; i < 20; i++)
		g_assert_false(deliver_body(fixture, body, (size_t)3 * 1024 * 1024));
	/* take_rejected checks the limits. */
	kept = take_rejected(fixture);
	g_assert_nonnull(kept);
}

static void test_rotation(struct fixture *fixture, gconstpointer unused)
{
	static const char *const good[] = {"0", "1", "2147483647"};
	static const char *const bad[] = {"-1",		"2.5",	      "1e400", "NaN",
					  "2147483648", "4294967297", "1.0",   "\"1\"",
					  "null",	"[1]",	      "true"};
	static const char *const methods[] = {"backup_instance", "snapshot_instance"};

	(void)unused;
	for (size_t i = 0; i < 2 * (G_N_ELEMENTS(good) + G_N_ELEMENTS(bad)); i++) {
		cJSON *message = recorded_message(fixture);
		cJSON *args = member(message, "args");
		size_t j = i / 2;
		bool fine = j < G_N_ELEMENTS(good);

		set_member(message, "method", cJSON_CreateString(methods[i % 2]));
		set_member(args, "image_type", cJSON_CreateString("backup"));
		set_member(args, "backup_type", cJSON_CreateString("daily"));
		set_member(args, "rotation",
			   parse_json(fine ? good[j] : bad[j - G_N_ELEMENTS(good)]));
		g_assert_cmpint(deliver_message(fixture, message), ==, fine);
		if (!fine)
			expect_rejected(fixture, "rotation");
		set_member(args, "backup_type", cJSON_CreateNumber(1));
		expect_message_rejected(fixture, message, fine ? "backup_type" : "rotation");
		cJSON_Delete(message);
	}
}

/* A text of nothing but names of secrets is redacted in linear time. */
static void test_redaction_time(void)
{
	static const char *const words[] = {"token",	  "token ", "token\\",	"token=",
					    "\"token\":", "gAAAAA", "token=\\", "token='"};

	for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
		g_autoptr(GString) text = g_string_new(NULL);
		g_autofree char *redacted = NULL;
		gint64 began = cpu_us();

		while (text->len < RPC_MAX_KEPT_BYTES)
			g_string_append(text, words[i]);
		redacted = rpc_text_redact(text->str, text->len);
		g_test_message("%s: %" G_GINT64_FORMAT " us", words[i], cpu_us() - began);
		g_assert_cmpint(cpu_us() - began, <, QUICK_US);
		/* These contain no secret, so all of the text is kept. */
		if (i < 3)
			g_assert_cmpuint(strlen(redacted), ==, text->len);
	}
}

/* Each rejected message logs a warning, and there are thousands of them. */
static void ignore_warnings(const char *domain, GLogLevelFlags level, const char *text,
			    gpointer opaque)
{
	if (level & (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR))
		g_log_default_handler(domain, level, text, opaque);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *path;
		void (*test)(struct fixture *fixture, gconstpointer unused);
	} tests[] = {
		{"/input/cut-at-each-byte", test_cut_at_each_byte},
		{"/input/invalid-utf8", test_invalid_utf8},
		{"/input/wrong-types", test_wrong_types},
		{"/input/required-arguments", test_required_arguments},
		{"/input/unknown-keys", test_unknown_keys},
		{"/input/plain-metadata", test_plain_metadata},
		{"/input/too-deep", test_depth},
		{"/input/too-many-values", test_values},
		{"/input/name-lengths", test_names},
		{"/input/too-long", test_too_long},
		{"/input/rejected-folder-is-bounded", test_rejected_folder_is_bounded},
		{"/input/rotation", test_rotation},
	};

	g_test_init(&argc, &argv, NULL);
	g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
	g_log_set_default_handler(ignore_warnings, NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
		g_test_add(tests[i].path, struct fixture, NULL, set_up, tests[i].test, tear_down);
	g_test_add_func("/input/redaction-time", test_redaction_time);
	return g_test_run();
}
