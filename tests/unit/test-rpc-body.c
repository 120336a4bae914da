/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bodies, contexts and failures: the bodies of oslo.messaging are decoded, the errors of malformed
 * ones say why, and no secret remains after redaction.
 */
#include <string.h>
#include <time.h>

#include "rpc/context.h"
#include "rpc/failure.h"
#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/redact.h"

static cJSON *decode(const char *body, GError **error)
{
	return rpc_body_decode(body, strlen(body), error);
}

static void test_decode(void)
{
	static const char *const bodies[] = {
		"{\"oslo.version\": \"2.0\", \"oslo.message\": \"{\\\"method\\\": \\\"m\\\", "
		"\\\"args\\\": {\\\"ratio\\\": 1.0, \\\"id\\\": 12345678901234567890}}\"}",
		"{\"method\": \"m\", \"args\": {\"ratio\": 1.0, \"id\": 12345678901234567890}}",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(bodies); i++) {
		g_autoptr(GError) error = NULL;
		cJSON *message = decode(bodies[i], &error);
		char *text;

		g_assert_no_error(error);
		g_assert_cmpstr(json_string(message, "method"), ==, "m");
		text = json_print(cJSON_GetObjectItemCaseSensitive(message, "args"));
		g_assert_cmpstr(text, ==, "{\"ratio\":1.0,\"id\":12345678901234567890}");
		cJSON_free(text);
		cJSON_Delete(message);
	}
}

static void test_decode_errors(void)
{
	static const char *const bodies[] = {
		"",
		"no json",
		"[1]",
		"\"text\"",
		"{\"method\": \"m\"} x",
		"{\"method\": \"\xff\"}",
		"{\"oslo.version\": \"3.0\", \"oslo.message\": \"{}\"}",
		"{\"oslo.version\": \"2.1\", \"oslo.message\": \"{}\"}",
		"{\"oslo.version\": 2, \"oslo.message\": \"{}\"}",
		"{\"oslo.version\": \"2.0\", \"oslo.message\": {}}",
		"{\"oslo.version\": \"2.0\", \"oslo.message\": \"[]\"}",
		"{\"oslo.version\": \"2.0\", \"oslo.message\": \"{\"}",
	};
	g_autoptr(GString) deep = g_string_new(NULL);
	g_autofree char *huge = g_malloc0(RPC_MAX_BODY_BYTES + 1);
	GError *error = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(bodies); i++) {
		g_test_message("%s", bodies[i]);
		g_assert_null(decode(bodies[i], &error));
		g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
		g_clear_error(&error);
	}
	g_string_append(deep, "{\"a\":");
	for (int i = 0; i < 100; i++)
		g_string_append_c(deep, '[');
	for (int i = 0; i < 100; i++)
		g_string_append_c(deep, ']');
	g_string_append_c(deep, '}');
	g_assert_null(decode(deep->str, &error));
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
	g_clear_error(&error);

	memset(huge, ' ', RPC_MAX_BODY_BYTES + 1);
	huge[0] = '{';
	huge[RPC_MAX_BODY_BYTES] = '}';
	g_assert_null(rpc_body_decode(huge, RPC_MAX_BODY_BYTES + 1, &error));
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
	g_clear_error(&error);
	/* A body has a length and no terminator: the byte after it is not read. */
	g_assert_null(rpc_body_decode("{}", 1, &error));
	g_clear_error(&error);
}

static void test_encode(void)
{
	cJSON *message = cJSON_Parse("{\"method\": \"m\", \"args\": {\"name\": \"a\\\"b\"}}");
	char *body = rpc_body_encode(message);
	cJSON *envelope = cJSON_Parse(body);
	cJSON *again = decode(body, NULL);

	g_assert_cmpstr(json_string(envelope, "oslo.version"), ==, "2.0");
	g_assert_true(cJSON_IsString(cJSON_GetObjectItem(envelope, "oslo.message")));
	g_assert_true(cJSON_Compare(message, again, true));
	cJSON_Delete(again);
	cJSON_Delete(envelope);
	cJSON_Delete(message);
	cJSON_free(body);
}

static void test_context(void)
{
	cJSON *message = cJSON_Parse("{\"method\": \"m\", \"_context_user_id\": \"u\", "
				     "\"_context_auth_token\": \"t\", \"_context_roles\": [\"r\"], "
				     "\"_unique_id\": \"x\"}");
	g_autoptr(rpc_context_t) context = rpc_context_detach(message);
	cJSON *sent = cJSON_CreateObject();
	char *text;

	text = json_print(message);
	g_assert_cmpstr(text, ==, "{\"method\":\"m\",\"_unique_id\":\"x\"}");
	cJSON_free(text);
	g_assert_cmpstr(rpc_context_string(context, "user_id"), ==, "u");
	g_assert_cmpstr(rpc_context_string(context, "auth_token"), ==, "t");
	g_assert_null(rpc_context_string(context, "roles"));
	g_assert_null(rpc_context_string(context, "request_id"));

	rpc_context_attach(sent, context, NULL);
	text = json_print(sent);
	g_assert_cmpstr(text, ==,
			"{\"_context_user_id\":\"u\",\"_context_auth_token\":\"t\","
			"\"_context_roles\":[\"r\"]}");
	cJSON_free(text);
	cJSON_Delete(sent);
	cJSON_Delete(message);
}

/* A failure of oslo is decoded; its class stays with the error when callers add a prefix. */
static void test_failure_decode(void)
{
	static const struct {
		const char *failure;
		int code;
		const char *class_name;
		const char *module;
	} cases[] = {
		{"{\"class\": \"UnexpectedTaskStateError\", \"module\": \"nova.exception\", "
		 "\"message\": \"said\", \"tb\": [], \"args\": [], \"kwargs\": {}}",
		 RPC_ERROR_UNEXPECTED_TASK_STATE, "UnexpectedTaskStateError", "nova.exception"},
		{"{\"class\": \"UnexpectedDeletingTaskStateError_Remote\", "
		 "\"module\": \"nova.exception_Remote\", \"message\": \"said\"}",
		 RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE, "UnexpectedDeletingTaskStateError",
		 "nova.exception"},
		{"{\"class\": \"InstanceNotFound_Remote\", \"module\": \"nova.exception_Remote\", "
		 "\"message\": \"said\"}",
		 RPC_ERROR_INSTANCE_NOT_FOUND, "InstanceNotFound", "nova.exception"},
		{"{\"class\": \"InstanceNotFound\", \"module\": \"other\", \"message\": \"said\"}",
		 RPC_ERROR_REMOTE, "InstanceNotFound", "other"},
		{"{\"class\": \"ValueError\", \"module\": \"builtins\", \"message\": \"said\"}",
		 RPC_ERROR_REMOTE, "ValueError", "builtins"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		cJSON *failure = cJSON_CreateString(cases[i].failure);
		GError *error = rpc_failure_decode(failure);
		g_autoptr(GError) copy = NULL;
		const char *class_name, *module;

		g_assert_error(error, RPC_ERROR, cases[i].code);
		g_assert_nonnull(strstr(error->message, "said"));
		copy = g_error_copy(error);
		g_error_free(error);
		g_prefix_error(&copy, "saving the instance: ");
		g_assert_true(rpc_failure_from_error(copy, &class_name, &module));
		g_assert_cmpstr(class_name, ==, cases[i].class_name);
		g_assert_cmpstr(module, ==, cases[i].module);
		cJSON_Delete(failure);
	}
}

static void test_failure_malformed(void)
{
	static const char *const failures[] = {"", "x", "[]", "{}", "{\"class\": 5}"};
	const char *class_name, *module;
	g_autoptr(GError) local = g_error_new_literal(RPC_ERROR, RPC_ERROR_TIMEOUT, "a.b: c");
	g_autoptr(GError) other = g_error_new_literal(G_FILE_ERROR, G_FILE_ERROR_IO, "a.b: c");

	for (size_t i = 0; i < G_N_ELEMENTS(failures); i++) {
		cJSON *failure = cJSON_CreateString(failures[i]);
		g_autoptr(GError) error = rpc_failure_decode(failure);

		g_assert_error(error, RPC_ERROR, RPC_ERROR_REMOTE);
		cJSON_Delete(failure);
	}
	g_assert_false(rpc_failure_from_error(local, &class_name, &module));
	g_assert_false(rpc_failure_from_error(other, &class_name, &module));
}

static void test_failure_encode(void)
{
	char *text = rpc_failure_encode("ValueError", "builtins", "no \"such\" thing");
	cJSON *failure = cJSON_Parse(text);
	static const char *const keys[] = {"class", "module", "message", "tb", "args", "kwargs"};

	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
		g_assert_true(cJSON_HasObjectItem(failure, keys[i]));
	g_assert_cmpstr(json_string(failure, "message"), ==, "no \"such\" thing");
	g_assert_true(cJSON_IsArray(cJSON_GetObjectItem(failure, "args")));
	cJSON_Delete(failure);
	cJSON_free(text);
}

static void test_redact(void)
{
	static const char inner[] =
		"{\"_context_auth_token\": \"S1\", \"_context_user_id\": \"u\", "
		"\"args\": {\"admin_password\": \"S2\", \"list\": "
		"[{\"X-Service-Token\": {\"id\": \"S3\"}}], "
		"\"note\": \"gAAAAAS4\", \"token\": null, \"new_pass\": \"S5\", "
		"\"system_metadata\": {\"password_0\": \"encrypted\", \"password_1\": \"\"}}}";
	cJSON *bare = cJSON_Parse(inner);
	cJSON *envelope = cJSON_CreateObject();
	cJSON *messages[] = {bare, envelope};

	cJSON_AddStringToObject(envelope, "oslo.version", "2.0");
	cJSON_AddStringToObject(envelope, "oslo.message", inner);
	for (size_t i = 0; i < G_N_ELEMENTS(messages); i++) {
		char *text;

		rpc_body_redact(messages[i]);
		text = json_print(messages[i]);
		g_test_message("%s", text);
		for (int secret = 1; secret <= 5; secret++) {
			char name[] = {'S', (char)('0' + secret), '\0'};

			g_assert_null(strstr(text, name));
		}
		g_assert_nonnull(strstr(text, "user_id"));
		g_assert_nonnull(strstr(text, "***"));
		/* A guest's password is encrypted for its owner, and is kept. */
		g_assert_nonnull(strstr(text, "encrypted"));
		cJSON_free(text);
		cJSON_Delete(messages[i]);
	}
}

/* Secrets in strings that contain JSON, Python or XML, and in pairs of a key and a value. */
static void test_redact_nested(void)
{
	static const char *const messages[] = {
		/* nova.objects.BlockDeviceMapping: a string. */
		"{\"keep\": \"{\\\"x\\\": {\\\"auth_password\\\": \\\"SECRET\\\"}}\"}",
		/* JSON in JSON in JSON. */
		"{\"keep\": \"{\\\"a\\\": \\\"{\\\\\\\"token\\\\\\\": SECRET}\\\"}\"}",
		"{\"keep\": \"{\\\"a\\\": \\\"{'chapsecret': 'SECRET'}\\\"}\"}",
		"{\"keep\": \"\\\"{\\\\\\\"token\\\\\\\": \\\\\\\"SECRET\\\\\\\"}\\\"\"}",
		/* Cut off, so it is not JSON. */
		"{\"keep\": \"{\\\"auth_password\\\": \\\"SECRET\"}",
		"{\"keep\": \"{'auth_password': u'SECRET', 'x': None}\"}",
		"{\"keep\": \"<auth><password>SECRET</password></auth>\"}",
		"{\"keep\": \"<graphics type='vnc' passwd='SECRET'/>\"}",
		"{\"keep\": \"rabbit://user:SECRET@host:5672/\"}",
		"{\"keep\": \"mysql --password SECRET\"}",
		"{\"keep\": \"sys_pswd=SECRET\"}",
		"{\"keep\": \"a eyJhbGciOi.eyJzdWIiOiJ.SECRET b\"}",
		"{\"keep\": \"-----BEGIN PRIVATE KEY-----\\nSECRET\\n-----END PRIVATE KEY-----\"}",
		"{\"keep\": [{\"key\": \"db-password\", \"value\": \"SECRET\"}]}",
		"{\"keep\": 1, \"user_data\": \"SECRET\"}",
		"{\"keep\": 1, \"injected_files\": [[\"/a\", \"SECRET\"]]}",
		"{\"keep\": 1, \"Admin-Pass\": \"SECRET\", \"adminPass\": [\"SECRET\"]}",
		"{\"keep\": 1, \"keyring\": \"SECRET\", \"transport_url\": \"SECRET\"}",
		/* json_parse keeps this string as it is. */
		"{\"keep\": \"\\u0000password=SECRET\"}",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(messages); i++) {
		cJSON *message = json_parse(messages[i], strlen(messages[i]), NULL);
		char *text;

		g_test_message("%s", messages[i]);
		g_assert_nonnull(message);
		rpc_body_redact(message);
		text = json_print(message);
		g_test_message("%s", text);
		g_assert_null(strstr(text, "SECRET"));
		g_assert_nonnull(strstr(text, "keep"));
		g_assert_nonnull(strstr(text, "***"));
		cJSON_Delete(message);
		message = json_parse(text, strlen(text), NULL);
		g_assert_nonnull(message);
		cJSON_Delete(message);
		cJSON_free(text);
	}
}

/* What has no secret stays as it is, to the letter. */
static void test_redact_nothing(void)
{
	static const char *const messages[] = {
		"{\"a\":\"{ \\\"data\\\" : 1.0 }\",\"config_drive\":\"True\",\"key_name\":\"k\"}",
		"{\"tokens\":null,\"has_secret\":true,\"passive\":\"x\",\"compass\":1}",
		"{\"a\":\"no token: it expired\",\"url\":\"http://host:5000/v3/auth/tokens\"}",
		"{\"system_metadata\":{\"password_0\":\"encrypted\"}}",
		"{\"a\":\"{\\\"password\\\": null}\"}",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(messages); i++) {
		cJSON *message = json_parse(messages[i], strlen(messages[i]), NULL);
		char *text;

		rpc_body_redact(message);
		text = json_print(message);
		g_assert_cmpstr(text, ==, messages[i]);
		cJSON_free(text);
		cJSON_Delete(message);
	}
}

static void test_redact_log(void)
{
	static const char *const secrets[] = {
		"refused: {\"auth_token\": \"SECRET\"}",
		"refused: {'admin_password': 'SECRET'}",
		"cannot connect to rabbit://a:SECRET@h:1,b:SECRET@i:2/v: it is away",
		"password=SECRET",
		"the token gAAAAABSECRET is old",
	};
	/* novasnapd's own messages. */
	static const char *const others[] = {
		"cannot get a token: Keystone at http://host:5000/v3 answered 401",
		"cannot log in to RabbitMQ at host:5672: wrong user, password or vhost",
		"instance x: image y is active",
		"[keystone_authtoken]password: the value is empty",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(secrets); i++) {
		g_autofree char *text = rpc_log_redact(secrets[i]);

		g_test_message("%s", text);
		g_assert_nonnull(text);
		g_assert_null(strstr(text, "SECRET"));
	}
	for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
		g_autofree char *text = rpc_log_redact(others[i]);

		g_assert_cmpstr(text ? text : others[i], ==, others[i]);
	}
}

static gint64 cpu_time_us(void)
{
	struct timespec now;

	g_assert_cmpint(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), ==, 0);
	return now.tv_sec * G_USEC_PER_SEC + now.tv_nsec / 1000;
}

/* The CPU time for a text of `length` bytes that repeats the piece. */
static gint64 redact_repeated(const char *piece, size_t length)
{
	GString *text = g_string_new(NULL);
	gint64 start;

	while (text->len < length)
		g_string_append(text, piece);
	start = cpu_time_us();
	g_free(rpc_text_redact(text->str, text->len));
	g_free(rpc_log_redact(text->str));
	g_string_free(text, TRUE);
	return cpu_time_us() - start;
}

/* The time grows in proportion to the length, whatever the text consists of. Were it the square, 16
 * times the length would take 256 times as long. */
static void test_redact_time(void)
{
	static const char *const pieces[] = {"password", "password=", "a://b:",	    "<password ",
					     "--token ", "{\"a\":",   "'password'", "\\\"",
					     "eyJ.",	 "gAAAAA"};

	for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
		gint64 small = redact_repeated(pieces[i], 16 * 1024);
		gint64 large = redact_repeated(pieces[i], 256 * 1024);

		g_test_message("%s: %.3f s, %.3f s", pieces[i], (double)small / G_USEC_PER_SEC,
			       (double)large / G_USEC_PER_SEC);
		g_assert_cmpint(large, <, 64 * MAX(small, 10 * 1000));
	}
}

static void test_redact_text(void)
{
	/* Each holds SECRET as a body that is cut or malformed may hold it. */
	static const char *const texts[] = {
		"{\"_context_auth_token\": \"SECRET\", \"keep\": ",
		"{\"oslo.message\": \"{\\\"_context_auth_token\\\": \\\"SECRET\\\", \\\"keep\\\"",
		"keep {\"_context_auth_token\": \"SECRET",
		"keep {'admin_pass': 'SECRET'}",
		"keep password=SECRET&x",
		"keep Service_Token: SECRET",
		"keep {\"password\": \"a\\\"SECRET, SECRET\"}",
		"keep {\"password\": \"a b,SECRET\\nSECRET\"}",
		"keep \xff\xfe{\"auth_token\": \"SECRET\"}",
		"keep \"{\\\"password\\\": \\\"a\\\\\\\"SECRET\\\"}\"",
		"keep gAAAAABSECRET keep",
		"keep {\"auth_token\": {\"id\": \"SECRET\", \"x\": \"SECRET",
		"keep {\"connection_info\": \"{\\\"auth_password\\\": \\\"SECRET\\\", ",
		"keep {\"user_data\": \"SECRET",
		"keep {\"metadata\": [{\"key\": \"db-password\", \"value\": \"SECRET\"}, ",
		"keep \"[{\\\"key\\\": \\\"secret\\\", \\\"value\\\": \\\"SECRET\\\"}, ",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		g_autofree char *text = rpc_text_redact(texts[i], strlen(texts[i]));

		g_test_message("%s", text);
		g_assert_null(strstr(text, "SECRET"));
		g_assert_nonnull(strstr(text, "keep"));
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/rpc/body/decode", test_decode);
	g_test_add_func("/rpc/body/decode-errors", test_decode_errors);
	g_test_add_func("/rpc/body/encode", test_encode);
	g_test_add_func("/rpc/body/context", test_context);
	g_test_add_func("/rpc/body/failure-decode", test_failure_decode);
	g_test_add_func("/rpc/body/failure-malformed", test_failure_malformed);
	g_test_add_func("/rpc/body/failure-encode", test_failure_encode);
	g_test_add_func("/rpc/body/redact", test_redact);
	g_test_add_func("/rpc/body/redact-nested", test_redact_nested);
	g_test_add_func("/rpc/body/redact-nothing", test_redact_nothing);
	g_test_add_func("/rpc/body/redact-log", test_redact_log);
	g_test_add_func("/rpc/body/redact-time", test_redact_time);
	g_test_add_func("/rpc/body/redact-text", test_redact_text);
	return g_test_run();
}
