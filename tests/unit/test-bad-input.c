/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages that nobody of good will sends, through novasnapd's own server up to where a job would
 * begin: each is served, or kept with a reason, and acked once in either case. The linker puts the
 * functions below in the place of those that would send something, or run.
 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/daemon/dispatch.h"
#include "rpc/internal.h"
#include "rpc/json.h"

#define BODY "tests/data/wire/snapshot_instance.body"
#define FILES_MAX 2
#define BYTES_MAX ((uint64_t)4 * 1024 * 1024)
/* CPU time of what is linear in its length and not slow, also with a sanitizer. */
#define QUICK_US ((gint64)5 * G_USEC_PER_SEC)

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

void __wrap_consumer_ack(struct consumer *consumer, const struct delivery *delivery)
{
	(void)consumer;
	(void)delivery;
	acked++;
}

void __wrap_consumer_want(struct consumer *consumer, enum consumer_channel channel, bool wanted)
{
	(void)consumer;
	(void)channel;
	(void)wanted;
}

int __wrap_publisher_send(struct publisher *publisher, const struct outgoing *message, bool wait,
			  GError **error)
{
	(void)publisher;
	(void)wait;
	(void)error;
	g_assert_cmpuint(strlen(message->key), <=, MAX_NAME);
	cJSON_free(message->body);
	answered++;
	return 0;
}

/* The journal can be given each request. */
bool __wrap_intake_take(struct intake *intake, const struct task_method *method,
			struct rpc_request *request)
{
	char *text = rpc_request_text(request, NULL);
	cJSON *message = rpc_body_decode(text, strlen(text), NULL);

	g_assert_nonnull(message);
	cJSON_Delete(message);
	cJSON_free(text);
	return __real_intake_take(intake, method, request);
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
	char *body; /* as it was recorded */
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
	fixture->config.rejected_dir = g_build_filename(fixture->tmp, "rejected", NULL);
	fixture->config.rejected_max_files = FILES_MAX;
	fixture->config.rejected_max_bytes = BYTES_MAX;
	fixture->rpc.config = &fixture->config;
	fixture->rpc.server = server_state_new();
	g_assert_cmpint(rpc_server_start(&fixture->rpc, &ops, NULL), ==, 0);
	g_assert_true(g_file_get_contents(BODY, &fixture->body, &fixture->length, NULL));
}

/* The newest file of those that were rejected, all others removed; NULL: there is none. */
static char *take_kept(const struct fixture *fixture)
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
	g_free(take_kept(fixture));
	intake_free(fixture->dispatch.intake);
	server_state_free(fixture->rpc.server);
	g_rmdir(fixture->config.rejected_dir);
	g_rmdir(fixture->tmp);
	g_free((char *)fixture->config.rejected_dir);
	g_free(fixture->tmp);
	g_free(fixture->body);
}

static void forget_ids(struct fixture *fixture)
{
	struct rpc_server_ops ops = dispatch_server_ops(&fixture->dispatch);

	server_state_free(fixture->rpc.server);
	fixture->rpc.server = server_state_new();
	g_assert_cmpint(rpc_server_start(&fixture->rpc, &ops, NULL), ==, 0);
}

/* True when it became a job. It is acked once in any case. The body ends where its memory does. */
static bool give(struct fixture *fixture, const char *body, size_t length)
{
	g_autofree char *exact = g_memdup2(body, MAX(length, 1));
	const struct delivery nowhere = {0};
	unsigned taken_before = taken, acked_before = acked;

	server_take(&fixture->rpc, exact, length, &nowhere);
	g_assert_cmpuint(acked - acked_before, ==, 1);
	forget_ids(fixture);
	return taken > taken_before;
}

static void expect_kept(const struct fixture *fixture, const char *why)
{
	g_autofree char *content = take_kept(fixture);
	g_autofree char *reason = content ? g_strndup(content, strcspn(content, "\n")) : NULL;

	if (!reason || !g_str_has_prefix(reason, "# ") || !strstr(reason, why))
		g_error("kept is \"%s\", not for \"%s\"", reason, why);
}

static bool give_message(struct fixture *fixture, const cJSON *message)
{
	char *text = json_print(message);
	bool became_job = give(fixture, text, strlen(text));

	cJSON_free(text);
	return became_job;
}

static void expect_refused(struct fixture *fixture, const cJSON *message, const char *why)
{
	g_assert_false(give_message(fixture, message));
	expect_kept(fixture, why);
}

static cJSON *recorded(const struct fixture *fixture)
{
	cJSON *message = rpc_body_decode(fixture->body, fixture->length, NULL);

	g_assert_nonnull(message);
	return message;
}

static cJSON *json(const char *text)
{
	cJSON *value = json_parse(text, strlen(text), NULL);

	g_assert_nonnull(value);
	return value;
}

static cJSON *member(cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

static void put(cJSON *object, const char *name, cJSON *value)
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
		g_assert_false(give(fixture, fixture->body, length));
		expect_kept(fixture, "not JSON");
	}
	g_assert_true(give(fixture, fixture->body, fixture->length));
}

static void test_no_utf8(struct fixture *fixture, gconstpointer unused)
{
	static const char *const broken[] = {"\xff", "\xc0\x80", "\xed\xa0\x80",
					     "\xf4\x90\x80\x80"};

	(void)unused;
	for (size_t at = 0; at + 4 < fixture->length; at += 7) {
		const char *bytes = broken[at % G_N_ELEMENTS(broken)];
		g_autofree char *body = g_memdup2(fixture->body, fixture->length);

		for (size_t i = 0; bytes[i]; i++)
			body[at + i] = bytes[i];
		g_assert_false(give(fixture, body, fixture->length));
		expect_kept(fixture, "no UTF-8");
	}
}

/* Where the members are that something is read of: paths from the message. */
static const char *const used[] = {
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

static const char *const values[] = {
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
	for (size_t i = 0; i < G_N_ELEMENTS(used); i++) {
		g_auto(GStrv) path = g_strsplit(used[i], "/", -1);

		for (size_t j = 0; j < G_N_ELEMENTS(values); j++) {
			cJSON *message = recorded(fixture);
			cJSON *parent = message;
			unsigned answers = answered;
			g_autofree char *kept = NULL;

			for (char **name = path; name[1]; name++)
				parent = member(parent, *name);
			put(parent, path[g_strv_length(path) - 1], json(values[j]));
			g_test_message("%s is %s", used[i], values[j]);
			/* A method that is not ours is dropped, a version too; and answered to a
			 * call. */
			if (!give_message(fixture, message)) {
				kept = take_kept(fixture);
				if (!kept && answered == answers)
					g_assert_true(i <= 2);
			}
			cJSON_Delete(message);
		}
	}
}

/* Without them there is nothing to be done. */
static void test_what_is_needed(struct fixture *fixture, gconstpointer unused)
{
	static const struct {
		const char *name;
		const char *why;
	} needed[] = {
		{"image_id", "its argument image_id is no uuid"},
		{"instance", "the argument instance"},
	};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
		for (size_t j = 0; j < G_N_ELEMENTS(values); j++) {
			cJSON *message = recorded(fixture);

			put(member(message, "args"), needed[i].name, json(values[j]));
			expect_refused(fixture, message, needed[i].why);
			cJSON_Delete(message);
		}
	}
}

/* `count` members, or with `key` NULL values, are added. */
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
	cJSON *message = recorded(fixture);
	gint64 began = cpu_us();
	cJSON *data;

	(void)unused;
	add_many(message, "unknown", 10000);
	add_many(message, "_context_unknown", 10000);
	add_many(member(message, "args"), "unknown", 10000);
	g_assert_true(give_message(fixture, message));
	data = member(member(member(message, "args"), "instance"), "nova_object.data");
	add_many(data, "unknown", 10000);
	expect_refused(fixture, message, "too many fields");
	g_assert_cmpint(cpu_us() - began, <, QUICK_US);
	cJSON_Delete(message);
}

static void test_plain_metadata(struct fixture *fixture, gconstpointer unused)
{
	static const char *const names[] = {"metadata", "system_metadata"};
	gint64 began = cpu_us();

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		cJSON *message = recorded(fixture);
		cJSON *list = cJSON_CreateArray();
		cJSON *instance = json("{\"uuid\": \"2b5a5b29-ff82-456a-8cb5-56c0ad05b188\"}");

		for (unsigned j = 0; j < 60000; j++) {
			g_autofree char *key = g_strdup_printf("%u", j);
			cJSON *item = cJSON_CreateObject();

			cJSON_AddStringToObject(item, "key", key);
			cJSON_AddItemToArray(list, item);
		}
		cJSON_AddItemToObject(instance, names[i], list);
		put(member(message, "args"), "instance", instance);
		expect_refused(fixture, message, "too much metadata");
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
		bool taken_too;

		for (unsigned j = 0; j < depths[i]; j++)
			g_string_append_c(nested, '[');
		for (unsigned j = 0; j < depths[i]; j++)
			g_string_append_c(nested, ']');
		g_string_append(nested,
				",\"image_id\":\"71e5a7b0-1730-41f5-afda-ba2a6f00b7f6\","
				"\"instance_uuid\":\"2b5a5b29-ff82-456a-8cb5-56c0ad05b188\"},"
				"\"version\":\"1.0\",\"method\":\"snapshot_instance\"}");
		taken_too = give(fixture, nested->str, nested->len);
		g_assert_cmpint(taken_too, ==, i == 0);
		if (!taken_too)
			expect_kept(fixture, "nested too deeply");
	}
}

static void test_values(struct fixture *fixture, gconstpointer unused)
{
	cJSON *message = recorded(fixture);
	cJSON *list = cJSON_AddArrayToObject(member(message, "args"), "list");

	(void)unused;
	add_many(list, NULL, 100000);
	g_assert_true(give_message(fixture, message));
	add_many(list, NULL, JSON_MAX_VALUES);
	expect_refused(fixture, message, "too many values");
	cJSON_Delete(message);
}

static void test_names(struct fixture *fixture, gconstpointer unused)
{
	static const char *const names[] = {"method", "version", "_unique_id", "_msg_id",
					    "_reply_q"};
	g_autofree char *longest = g_strnfill(MAX_NAME, 'x');
	g_autofree char *too_long = g_strnfill(MAX_NAME + 1, 'x');

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		cJSON *message = recorded(fixture);
		g_autofree char *kept = NULL;

		put(message, names[i], cJSON_CreateString(longest));
		g_assert_cmpint(give_message(fixture, message), ==, i >= 2);
		kept = take_kept(fixture);
		g_assert_null(kept);
		put(message, names[i], cJSON_CreateString(too_long));
		expect_refused(fixture, message, names[i]);
		cJSON_Delete(message);
	}
}

/* Of what is too long the beginning is kept, its secrets cut out, and never more than the bound. */
static void test_too_long(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *body = g_strnfill(MAX_BODY + 1, ' ');
	static const char begin[] = "{\"_context_auth_token\": \"SECRET\", \"keep\": \"";
	const struct delivery nowhere = {0};
	unsigned acked_before;
	g_autofree char *kept = NULL;

	(void)unused;
	memcpy(body, begin, sizeof(begin) - 1);
	g_assert_false(give(fixture, body, MAX_BODY + 1));
	expect_kept(fixture, "over the limit of 16777216 (cut)");
	g_assert_false(give(fixture, body, MAX_BODY));
	expect_kept(fixture, "not JSON");
	acked_before = acked;
	server_take_too_long(&fixture->rpc, body, MAX_KEPT, (uint64_t)1 << 40, &nowhere);
	g_assert_cmpuint(acked - acked_before, ==, 1);
	kept = take_kept(fixture);
	g_assert_true(g_str_has_prefix(kept, "# it has 1099511627776 bytes, over the limit"));
	g_assert_nonnull(strstr(kept, "keep"));
	g_assert_null(strstr(kept, "SECRET"));
	g_assert_cmpuint(strlen(kept), <, MAX_KEPT + 1024);
}

static void test_kept_is_bounded(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *body = g_strnfill((size_t)3 * 1024 * 1024, 'x');
	g_autofree char *kept = NULL;

	(void)unused;
	for (int i = 0; i < 20; i++)
		g_assert_false(give(fixture, body, (size_t)3 * 1024 * 1024));
	/* It looks at how many there are. */
	kept = take_kept(fixture);
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
		cJSON *message = recorded(fixture);
		cJSON *args = member(message, "args");
		size_t j = i / 2;
		bool fine = j < G_N_ELEMENTS(good);

		put(message, "method", cJSON_CreateString(methods[i % 2]));
		put(args, "image_type", cJSON_CreateString("backup"));
		put(args, "backup_type", cJSON_CreateString("daily"));
		put(args, "rotation", json(fine ? good[j] : bad[j - G_N_ELEMENTS(good)]));
		g_assert_cmpint(give_message(fixture, message), ==, fine);
		if (!fine)
			expect_kept(fixture, "rotation");
		put(args, "backup_type", cJSON_CreateNumber(1));
		expect_refused(fixture, message, fine ? "backup_type" : "rotation");
		cJSON_Delete(message);
	}
}

/* A text that is made of nothing but what a secret's name looks like. */
static void test_names_of_secrets(void)
{
	static const char *const words[] = {"token",	  "token ", "token\\",	"token=",
					    "\"token\":", "gAAAAA", "token=\\", "token='"};

	for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
		g_autoptr(GString) text = g_string_new(NULL);
		g_autofree char *redacted = NULL;
		gint64 began = cpu_us();

		while (text->len < MAX_KEPT)
			g_string_append(text, words[i]);
		redacted = rpc_text_redact(text->str, text->len);
		g_test_message("%s: %" G_GINT64_FORMAT " us", words[i], cpu_us() - began);
		g_assert_cmpint(cpu_us() - began, <, QUICK_US);
		/* There is no secret in these, so all of it is kept. */
		if (i < 3)
			g_assert_cmpuint(strlen(redacted), ==, text->len);
	}
}

/* What is refused is warned of, many thousands of times. */
static void pass_over(const char *domain, GLogLevelFlags level, const char *text, gpointer opaque)
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
		{"/input/no-utf8", test_no_utf8},
		{"/input/wrong-types", test_wrong_types},
		{"/input/what-is-needed", test_what_is_needed},
		{"/input/unknown-keys", test_unknown_keys},
		{"/input/plain-metadata", test_plain_metadata},
		{"/input/depth", test_depth},
		{"/input/values", test_values},
		{"/input/names", test_names},
		{"/input/too-long", test_too_long},
		{"/input/kept-is-bounded", test_kept_is_bounded},
		{"/input/rotation", test_rotation},
	};

	g_test_init(&argc, &argv, NULL);
	g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
	g_log_set_default_handler(pass_over, NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
		g_test_add(tests[i].path, struct fixture, NULL, set_up, tests[i].test, tear_down);
	g_test_add_func("/input/names-of-secrets", test_names_of_secrets);
	return g_test_run();
}
