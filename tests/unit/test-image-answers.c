/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replies of Glance, Keystone and Cinder that are malformed, too large, refusals, or lost. The
 * linker replaces http_request_send() and image_cancel_sleep() by the functions below.
 */
#include <time.h>

#include "image/cancel.h"
#include "image/cinder.h"
#include "image/limits.h"
#include "image/store/record.h"
#include "tests/unit/upload.h"

#define ID "71e5a7b0-1730-41f5-afda-ba2a6f00b7f6"
/* CPU time that is enough for any linear algorithm, also with a sanitizer; in valgrind thrice as
 * much. */
#define MOST_CPU_US ((gint64)(g_getenv("NOVASNAP_UNIT_UNDER") ? 15 : 5) * G_USEC_PER_SEC)

static gint64 cpu_time_us(void)
{
	struct timespec used;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (gint64)used.tv_sec * G_USEC_PER_SEC + used.tv_nsec / 1000;
}

__typeof__(http_request_send) __wrap_http_request_send;
__typeof__(image_cancel_sleep) __wrap_image_cancel_sleep;

#define LOST (-1)   /* the request arrives, but its reply does not */
#define BROKEN (-2) /* the connection breaks after the status line of the reply, which is 204 */

/* The replies, one for each request. The last one is repeated. */
struct answer {
	long status; /* 0 ends the list */
	const char *subject_token;
	const char *body;
};
static const struct answer *answers;
static unsigned requests_seen, puts_seen, sleeps_seen;
static bool sleep_is_cancelled;
/* The server that does not answer, "http://b/"; NULL: all answer. */
static const char *dead_server;
static char *last_server, *last_url;
static unsigned dead_tries;

static void set_answers(const struct answer *list)
{
	answers = list;
	requests_seen = puts_seen = sleeps_seen = 0;
}

int __wrap_http_request_send(const struct http_config *config, const struct http_request *request,
			     struct http_reply *reply, GError **error)
{
	long status = answers->status;

	(void)config;
	http_reply_clear(reply);
	requests_seen++;
	g_free(last_server);
	last_server = g_strndup(request->url, strlen("http://x/"));
	g_free(last_url);
	last_url = g_strdup(request->url);
	if (dead_server && g_str_has_prefix(request->url, dead_server)) {
		dead_tries++;
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "no answer");
		return -1;
	}
	puts_seen += g_str_equal(request->method, "PUT");
	/* A server that refuses an upload does not read it. A gateway does, and then loses the
	 * reply of its server. */
	if (request->upload && (status < 300 || status == 504))
		(void)http_upload_drain(request->upload, NULL);
	if (status == LOST || status == BROKEN) {
		answers++;
		reply->status = status == BROKEN ? 204 : 0;
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE,
				    "the reply is lost");
		return -1;
	}
	reply->status = status;
	reply->subject_token = g_strdup(answers->subject_token);
	reply->body = g_string_new(answers->body);
	if (answers[1].status)
		answers++;
	return 0;
}

bool __wrap_image_cancel_sleep(const atomic_int *cancel, unsigned seconds)
{
	(void)cancel;
	(void)seconds;
	sleeps_seen++;
	return !sleep_is_cancelled;
}

static const char *const servers[] = {"http://glance", NULL};
static const struct image_config glance = {
	.api_servers = servers, .num_retries = 3, .saving_timeout_s = 60};
static const struct image_config keystone = {
	.auth = {.method = KEYSTONE_PASSWORD, .auth_url = "http://keystone", .username = "nova"}};
static const struct image_identity no_identity;

/* Lists images. Each page is `body`. */
static GPtrArray *list_images(const char *body, GError **error)
{
	const struct answer pages[] = {{200, NULL, body}, {0}};
	const struct image_property wanted[] = {{NULL, NULL}};
	struct image_store *store = image_store_new(&glance, NULL);
	GPtrArray *images;

	set_answers(pages);
	images = image_store_list(store, &no_identity, wanted, error);
	image_store_free(store);
	return images;
}

static char *page_of(unsigned count, const char *next)
{
	g_autoptr(GString) body = g_string_new("{\"images\":[");

	for (unsigned i = 0; i < count; i++)
		g_string_append_printf(body, "%s{\"id\":\"\",\"status\":\"\"}", i ? "," : "");
	g_string_append_printf(body, "],\"next\":\"%s\"}", next);
	return g_strdup(body->str);
}

static void test_list_long_page(void)
{
	g_autofree char *body = page_of(80000, "");
	gint64 start_us = cpu_time_us();
	GPtrArray *images = list_images(body, NULL);

	g_assert_cmpuint(images->len, ==, 80000);
	g_assert_cmpint(cpu_time_us() - start_us, <, MOST_CPU_US);
	g_ptr_array_unref(images);
}

static void test_list_too_many_values(void)
{
	g_autofree char *body = page_of(HTTP_REPLY_VALUES_MAX / 2, "");
	g_autoptr(GError) error = NULL;

	g_assert_null(list_images(body, &error));
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED);
}

/* Each page links to another one. */
static void test_list_endless(void)
{
	g_autofree char *text = g_strnfill((size_t)1024 * 1024, 'x');
	g_autofree char *large =
		g_strdup_printf("{\"images\":[],\"next\":\"?\",\"x\":\"%s\"}", text);
	g_autofree char *small = page_of(1, "/v2/images?marker=1");
	g_autoptr(GError) error = NULL;
	GPtrArray *images;

	g_assert_null(list_images(large, &error));
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED);
	g_assert_cmpuint(requests_seen, <=, GLANCE_LIST_SIZE_MAX / strlen(text) + 1);
	images = list_images(small, NULL);
	g_assert_cmpuint(images->len, ==, GLANCE_LIST_PAGES_MAX);
	g_ptr_array_unref(images);
}

static void test_list_malformed(void)
{
	static const char *const bodies[] = {
		"",
		"x",
		"[]",
		"{}",
		"null",
		"{\"images\":7}",
		"{\"images\":[7]}",
		"{\"images\":[{\"id\":7,\"status\":null}]}",
		"{\"images\":[[[[]]]]}",
		"{\"images\":[{\"id\":\"\xff\"}]}",
		"{\"images\"",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(bodies); i++) {
		g_autoptr(GError) error = NULL;
		GPtrArray *images = list_images(bodies[i], &error);

		g_test_message("%s", bodies[i]);
		g_assert_null(images);
		g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED);
	}
}

/* Keystone refuses, so that no request to Glance is sent. */
static void test_list_without_token(void)
{
	const struct answer refusal[] = {{401, NULL, "no"}, {0}};
	const struct image_property wanted[] = {{NULL, NULL}};
	struct image_store *store = image_store_new(&keystone, NULL);
	g_autoptr(GError) error = NULL;

	set_answers(refusal);
	g_assert_null(image_store_list(store, &no_identity, wanted, &error));
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_AUTH);
	image_store_free(store);
}

static void test_record_sizes(void)
{
	static const struct {
		const char *size;
		int64_t expected;
	} sizes[] = {
		{"0", 0},      {"9007199254740993", -1},	 {"-1", -1},
		{"1e400", -1}, {"9223372036854775808", -1},	 {"\"5\"", -1},
		{"[]", -1},    {"8796093022208", 8796093022208},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		g_autofree char *text = g_strdup_printf(
			"{\"id\":\"" ID "\",\"status\":\"active\",\"size\":%s}", sizes[i].size);
		g_autoptr(image_record_t) record = image_record_parse(cJSON_Parse(text), NULL);

		g_test_message("%s", sizes[i].size);
		g_assert_nonnull(record);
		g_assert_cmpint(record->size, ==, sizes[i].expected);
	}
}

static void expect_verified(const char *document, bool verified)
{
	const struct image_checksum sent = {.hash = "abcd", .hash_name = "sha512", .size = 10};
	g_autoptr(image_record_t) record = image_record_parse(cJSON_Parse(document), NULL);
	g_autoptr(GError) error = NULL;

	g_assert_nonnull(record);
	g_assert_cmpint(image_record_verify(record, &sent, &error), ==, verified ? 0 : -1);
	if (!verified)
		g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH);
}

static void test_record_verify(void)
{
#define RECORD(status, size) "{\"id\":\"" ID "\",\"status\":\"" status "\",\"size\":" size
#define HASH(algo, value) ",\"os_hash_algo\":\"" algo "\",\"os_hash_value\":\"" value "\"}"
	expect_verified(RECORD("active", "10") HASH("sha512", "ABCD"), true);
	expect_verified(RECORD("active", "10") HASH("sha256", "ee"), true);
	expect_verified(RECORD("active", "9") "}", false);
	expect_verified(RECORD("saving", "10") "}", false);
	expect_verified(RECORD("active", "10") HASH("sha512", "abce"), false);
#undef HASH
#undef RECORD
}

/* The text of a refusal is cut before its markup is removed, which takes time. */
static void test_large_refusals(void)
{
	static const char *const repeated[] = {
		"&amp;", "<title>", "<", "&#x27;", "<style>x</title>", " ", "\xff"};

	for (size_t i = 0; i < G_N_ELEMENTS(repeated); i++) {
		struct http_reply reply = {.status = 500, .body = g_string_new(NULL)};
		gint64 start_us = cpu_time_us();
		g_autoptr(GError) error = NULL;

		while (reply.body->len + strlen(repeated[i]) <= HTTP_REPLY_SIZE_MAX)
			g_string_append(reply.body, repeated[i]);
		http_reply_set_error(&reply, "GET http://glance", &error);
		g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);
		g_assert_cmpint(g_utf8_strlen(error->message, -1), <, IMAGE_FOREIGN_TEXT_MAX + 100);
		g_assert_cmpint(cpu_time_us() - start_us, <, MOST_CPU_US);
		http_reply_clear(&reply);
	}
}

#define TOKEN(catalog)                                                                             \
	"{\"token\":{\"expires_at\":\"2036-11-23T04:24:38Z\",\"catalog\":" catalog "}}"
#define CATALOG(url)                                                                               \
	"[{\"type\":\"volumev3\",\"endpoints\":[{\"interface\":\"public\",\"url\":\"" url "\"}]}]"

/* Whether Cinder is found with such a reply of Keystone. */
static void test_catalogs(void)
{
	static const struct cinder_config cinder = {.catalog_info = "volumev3::publicURL"};
	static const struct image_identity identity = {.token = "token", .project_id = "project"};
	static const struct {
		const char *body;
		bool found;
	} replies[] = {
		{"", false},
		{"{\"token\":[]}", false},
		{"{\"token\":{\"expires_at\":7}}", false},
		{"{\"token\":{\"expires_at\":\"x\"}}", false},
		{TOKEN("null"), false},
		{TOKEN("{\"a\":[]}"), false},
		{TOKEN("[[],7,{\"type\":\"volumev3\",\"endpoints\":[7,[],{\"interface\":7}]}]"),
		 false},
		{TOKEN(CATALOG("http://cinder/v3/abc")), true},
		/* Without a scheme and a path. */
		{TOKEN(CATALOG("cinder")), true},
		{TOKEN(CATALOG("")), true},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(replies); i++) {
		const struct answer pages[] = {
			{201, "gAAAAA", replies[i].body},
			{200, NULL, "{\"snapshot\":{\"status\":\"creating\"}}"},
			{0}};
		struct cinder_service *service = cinder_service_new(&cinder, &keystone);
		g_autofree char *status = NULL;

		set_answers(pages);
		status = cinder_snapshot_status(service, &identity, ID, NULL);
		g_test_message("%s", replies[i].body);
		g_assert_cmpstr(status, ==, replies[i].found ? "creating" : NULL);
		cinder_service_free(service);
	}
}

#define MISSING "404 Not Found\n\nNo image found with ID " ID "\n"

/* The code of the error of a query for an image. */
static int get_code(struct image_store *store, const struct image_identity *identity,
		    const struct answer *list)
{
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) error = NULL;

	set_answers(list);
	g_assert_cmpint(image_store_get(store, identity, ID, &record, &error), ==, -1);
	return error->code;
}

/* A proxy answers 404, too, while it knows no Glance that is well. */
static void test_missing(void)
{
	static const char *const proxies[] = {"", "404 page not found",
					      "The requested URL /v2/images/" ID " was not found."};
	g_autoptr(image_store_t) store = image_store_new(&glance, NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(proxies); i++) {
		const struct answer answer[] = {{404, NULL, proxies[i]}, {0}};
		g_autoptr(GError) error = NULL;

		g_test_message("%s", proxies[i]);
		g_assert_cmpint(get_code(store, &no_identity, answer), ==, IMAGE_ERROR_UNAVAILABLE);
		set_answers(answer);
		g_assert_cmpint(image_store_delete(store, &no_identity, ID, &error), ==, -1);
		g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);
	}
}

/* With the token of novasnapd's own user, a 404 says nothing of an image that this user may not
 * see: the user's token was rejected, or is not known after a restart. */
static void test_not_visible(void)
{
#define TOKEN_OF(roles) "{\"token\":{\"expires_at\":\"2036-11-23T04:24:38Z\"" roles "}}"
	static const char *const glance_servers[] = {"http://glance", NULL};
	static const struct image_config config = {.api_servers = glance_servers,
						   .auth = {.method = KEYSTONE_PASSWORD,
							    .auth_url = "http://keystone",
							    .username = "nova"}};
	static const struct image_identity user = {.token = "token"};
	static const struct {
		const char *token;
		int code;
	} users[] = {
		{TOKEN_OF(""), IMAGE_ERROR_NOT_FOUND},
		{TOKEN_OF(",\"roles\":[]"), IMAGE_ERROR_NOT_FOUND},
		{TOKEN_OF(",\"roles\":[{\"name\":\"service\"},{\"name\":\"admin\"}]"),
		 IMAGE_ERROR_NOT_FOUND},
		{TOKEN_OF(",\"roles\":[{\"name\":\"service\"},7]"), IMAGE_ERROR_FORBIDDEN},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(users); i++) {
		const struct answer rejected[] = {{401, NULL, ""},
						  {201, "gAAAAA", users[i].token},
						  {404, NULL, MISSING},
						  {0}};
		const struct answer unknown[] = {
			{201, "gAAAAA", users[i].token}, {404, NULL, MISSING}, {0}};
		const struct answer accepted[] = {{404, NULL, MISSING}, {0}};
		g_autoptr(image_store_t) store = image_store_new(&config, NULL);
		g_autoptr(image_store_t) other = image_store_new(&config, NULL);

		g_test_message("%s", users[i].token);
		g_assert_cmpint(get_code(store, &user, accepted), ==, IMAGE_ERROR_NOT_FOUND);
		g_assert_cmpint(get_code(store, &user, rejected), ==, users[i].code);
		g_assert_cmpint(get_code(store, &user, accepted), ==, IMAGE_ERROR_NOT_FOUND);
		g_assert_cmpint(get_code(other, &no_identity, unknown), ==, users[i].code);
	}
#undef TOKEN_OF
}

/* Cinder's endpoint in the catalogue names the project of novasnapd's user, or none. */
static void test_cinder_project(void)
{
	static const struct cinder_config cinder = {.catalog_info = "volumev3::publicURL"};
	static const struct image_identity identity = {.token = "token", .project_id = "project"};
	static const struct {
		const char *body, *url;
	} replies[] = {
		{TOKEN(CATALOG("http://c/v3/abc")), "http://c/v3/project/snapshots/" ID},
		{TOKEN(CATALOG("http://c/v3/abc/")), "http://c/v3/project/snapshots/" ID},
		{TOKEN(CATALOG("http://c/v3")), "http://c/v3/snapshots/" ID},
		{TOKEN(CATALOG("http://c/v3/")), "http://c/v3/snapshots/" ID},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(replies); i++) {
		const struct answer pages[] = {
			{201, "gAAAAA", replies[i].body},
			{200, NULL, "{\"snapshot\":{\"status\":\"creating\"}}"},
			{0}};
		struct cinder_service *service = cinder_service_new(&cinder, &keystone);

		set_answers(pages);
		g_free(cinder_snapshot_status(service, &identity, ID, NULL));
		g_assert_cmpstr(last_url, ==, replies[i].url);
		cinder_service_free(service);
	}
}

/* A user is configured only if both its URL and its name are. */
static void test_cinder_not_configured(void)
{
	static const struct cinder_config cinder = {.catalog_info = "volumev3::publicURL"};
	static const struct image_config incomplete = {.auth = {.auth_url = "http://keystone"}};

	g_assert_null(cinder_service_new(&cinder, &incomplete));
}

#define SIZE ((uint64_t)1024 * 1024)
#define DONE (-1)

/* Of the last upload. */
static bool verified, may_be_complete;
static char *message; /* of the error; NULL: none */
static unsigned begins_seen, finishings_seen;

static void count_begin(void *opaque)
{
	(void)opaque;
	begins_seen++;
}

static void count_finishing(void *opaque, const char *why)
{
	(void)opaque;
	g_assert_nonnull(why);
	finishings_seen++;
}

/* Uploads SIZE zeros to a Glance with this configuration. Returns DONE, or the code of the
 * error. */
static int upload_to(const struct image_config *config, const struct answer *list, bool resuming)
{
	struct image_source source = {.ops = &zero_source_ops, .size = SIZE};
	struct image_upload upload = {.source = &source,
				      .resuming = resuming,
				      .begin = count_begin,
				      .finishing = count_finishing};
	struct image_store *store = image_store_new(config, NULL);
	g_autoptr(GError) error = NULL;
	int rc;

	begins_seen = finishings_seen = 0;
	set_answers(list);
	rc = image_store_upload(store, &no_identity, ID, &upload, &error);
	image_store_free(store);
	g_assert_true((rc < 0) == (error != NULL));
	verified = upload.verified;
	may_be_complete = upload.may_be_complete;
	g_free(message);
	message = error ? g_strdup(error->message) : NULL;
	return error ? error->code : DONE;
}

static int upload(const struct answer *list, bool resuming)
{
	return upload_to(&glance, list, resuming);
}

#define RECORD(status) "{\"id\":\"" ID "\",\"status\":\"" status "\"}"

/* The record of an active image of zeros that claims this size. */
static char *active_record(uint64_t size)
{
	g_autofree unsigned char *zeros = g_malloc0(SIZE);
	g_autofree char *hash = g_compute_checksum_for_data(G_CHECKSUM_SHA512, zeros, SIZE);

	return g_strdup_printf("{\"id\":\"" ID "\",\"status\":\"active\",\"size\":%u,"
			       "\"os_hash_algo\":\"sha512\",\"os_hash_value\":\"%s\"}",
			       (unsigned)size, hash);
}

/* An image that has arrived is not sent twice. */
static void test_upload_reply_lost(void)
{
	g_autofree char *active = active_record(SIZE);
	g_autofree char *other = active_record(SIZE - 1);
	const struct answer arrives[] = {{LOST, NULL, NULL},
					 {200, NULL, RECORD("saving")},
					 {200, NULL, RECORD("saving")},
					 {200, NULL, active},
					 {0}};
	const struct answer differs[] = {{LOST, NULL, NULL}, {200, NULL, other}, {0}};

	g_assert_cmpint(upload(arrives, false), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 1);
	/* One before the retry, two while the image is saving. */
	g_assert_cmpuint(sleeps_seen, ==, 1 + 2);
	g_assert_cmpuint(begins_seen, ==, 1);
	g_assert_cmpuint(finishings_seen, ==, 2);
	g_assert_true(verified);
	g_assert_cmpint(upload(differs, false), ==, IMAGE_ERROR_MISMATCH);
	g_assert_cmpuint(puts_seen, ==, 1);
	g_assert_false(may_be_complete);
}

/* There is nothing left to try, but the image may be complete. */
static void test_upload_last_reply_lost(void)
{
	static const struct image_config once = {.api_servers = servers, .saving_timeout_s = 60};
	g_autofree char *active = active_record(SIZE);
	const struct answer arrives[] = {
		{LOST, NULL, NULL}, {503, NULL, ""}, {401, NULL, ""}, {200, NULL, active}, {0}};
	const struct answer is_queued[] = {
		{LOST, NULL, NULL}, {503, NULL, ""}, {200, NULL, RECORD("queued")}, {0}};
	/* A reply that comes after the body says nothing about the image. */
	const struct answer fails_late[] = {{504, NULL, ""}, {200, NULL, active}, {0}};
	const struct answer breaks[] = {
		{BROKEN, NULL, NULL}, {503, NULL, ""}, {200, NULL, active}, {0}};

	g_assert_cmpint(upload_to(&once, arrives, false), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 1);
	g_assert_true(verified);
	g_assert_cmpint(upload_to(&once, is_queued, false), ==, IMAGE_ERROR_UNAVAILABLE);
	g_assert_cmpuint(puts_seen, ==, 1);
	g_assert_false(may_be_complete);
	g_assert_cmpint(upload_to(&once, fails_late, false), ==, DONE);
	g_assert_true(verified);
	g_assert_cmpint(upload_to(&once, breaks, false), ==, DONE);
	g_assert_true(verified);
}

/* The record was read from a replica that lags behind, so the image is sent a second time. */
static void test_upload_conflict_with_itself(void)
{
	g_autofree char *active = active_record(SIZE);
	const struct answer pages[] = {{LOST, NULL, NULL},
				       {200, NULL, RECORD("queued")},
				       {409, NULL, ""},
				       {200, NULL, active},
				       {0}};

	g_assert_cmpint(upload(pages, false), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 2);
	g_assert_true(verified);
}

/* Only its caller verifies a confirmed image. */
static void test_upload_confirmed(void)
{
	const struct answer pages[] = {{204, NULL, ""}, {0}};

	g_assert_cmpint(upload(pages, false), ==, DONE);
	g_assert_cmpuint(requests_seen, ==, 1);
	g_assert_false(verified);
}

static void test_upload_refused(void)
{
	g_autofree char *active = active_record(SIZE);
	const struct answer once[] = {{503, NULL, ""},
				      {200, NULL, RECORD("queued")},
				      {204, NULL, ""},
				      {200, NULL, active},
				      {0}};
	const struct answer always[] = {{503, NULL, ""}, {200, NULL, RECORD("queued")},
					{503, NULL, ""}, {200, NULL, RECORD("queued")},
					{503, NULL, ""}, {200, NULL, RECORD("queued")},
					{503, NULL, ""}, {200, NULL, RECORD("queued")},
					{503, NULL, ""}, {0}};

	g_assert_cmpint(upload(once, false), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 2);
	g_assert_cmpint(upload(always, false), ==, IMAGE_ERROR_UNAVAILABLE);
	g_assert_cmpuint(puts_seen, ==, 4);
	g_assert_false(may_be_complete);
}

/* The image is not sent a second time while the first upload may be in progress. */
static void test_upload_saving_forever(void)
{
	const struct answer pages[] = {{LOST, NULL, NULL}, {200, NULL, RECORD("saving")}, {0}};

	g_assert_cmpint(upload(pages, false), ==, IMAGE_ERROR_UNAVAILABLE);
	g_assert_cmpuint(puts_seen, ==, 1);
	g_assert_cmpuint(sleeps_seen, >=, 1 + 30);
	g_assert_cmpuint(sleeps_seen, <=, 1 + 60);
	g_assert_true(may_be_complete);
	sleep_is_cancelled = true;
	g_assert_cmpint(upload(pages, false), ==, IMAGE_ERROR_CANCELLED);
	g_assert_cmpuint(sleeps_seen, ==, 1 + 1);
	g_assert_true(may_be_complete);
	sleep_is_cancelled = false;
}

static void test_upload_image_unusable(void)
{
	const struct answer killed[] = {{LOST, NULL, NULL}, {200, NULL, RECORD("killed")}, {0}};
	const struct answer gone[] = {{LOST, NULL, NULL}, {404, NULL, MISSING}, {0}};
	const struct answer gone_at_once[] = {{404, NULL, MISSING}, {0}};
	const struct answer deleted_before[] = {{409, NULL, ""}, {404, NULL, MISSING}, {0}};
	const struct answer conflict[] = {{409, NULL, ""}, {200, NULL, RECORD("active")}, {0}};
	const struct answer exists[] = {
		{410, NULL, ""}, {200, NULL, RECORD("queued")}, {204, NULL, ""}, {0}};

	g_assert_cmpint(upload(killed, false), ==, IMAGE_ERROR_CONFLICT);
	g_assert_cmpint(upload(gone, false), ==, IMAGE_ERROR_NOT_FOUND);
	g_assert_cmpuint(puts_seen, ==, 1);
	g_assert_cmpint(upload(gone_at_once, false), ==, IMAGE_ERROR_GONE);
	g_assert_cmpint(upload(deleted_before, false), ==, IMAGE_ERROR_GONE);
	g_assert_cmpint(upload(conflict, false), ==, IMAGE_ERROR_CONFLICT);
	/* Its status changed only. */
	g_assert_cmpint(upload(exists, false), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 2);
}

#define RECORD_OF(format) "{\"id\":\"" ID "\",\"status\":\"queued\",\"disk_format\":\"" format "\"}"

/* Glance does not accept the data as what the record says. */
static void test_upload_format_refused(void)
{
	const struct answer raw[] = {{415, NULL, "media type"}, {200, NULL, RECORD_OF("raw")}, {0}};
	const struct answer qcow2[] = {
		{415, NULL, "does not match"}, {200, NULL, RECORD_OF("qcow2")}, {0}};
	const struct answer unknown[] = {{415, NULL, "failed"}, {404, NULL, MISSING}, {0}};

	g_assert_cmpint(upload(raw, false), ==, IMAGE_ERROR_FORMAT);
	g_assert_nonnull(strstr(message, "answered 415: media type; "));
	g_assert_nonnull(strstr(message, "[libvirt]snapshot_image_format = qcow2"));
	g_assert_cmpuint(puts_seen, ==, 1);
	g_assert_false(may_be_complete);
	g_assert_cmpint(upload(qcow2, false), ==, IMAGE_ERROR_FORMAT);
	g_assert_nonnull(strstr(message, "disk_format is qcow2: see Glance's log"));
	g_assert_cmpint(upload(unknown, false), ==, IMAGE_ERROR_FORMAT);
	g_assert_true(g_str_has_suffix(message, "answered 415: failed"));
}

/* A server that refuses the header "Expect" is tried again without it. */
static void test_upload_expectation_refused(void)
{
	const struct answer pages[] = {
		{417, NULL, ""}, {200, NULL, RECORD("queued")}, {204, NULL, ""}, {0}};

	g_assert_cmpint(upload(pages, false), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 2);
}

/* A previous process may have sent the image. */
static void test_upload_resumed(void)
{
	g_autofree char *active = active_record(SIZE);
	g_autofree char *other = active_record(SIZE - 1);
	const struct answer complete[] = {{200, NULL, active}, {0}};
	const struct answer differs[] = {{200, NULL, other}, {0}};
	const struct answer queued[] = {
		{200, NULL, RECORD("queued")}, {204, NULL, ""}, {200, NULL, active}, {0}};

	/* Data of the earlier upload arrives late. */
	const struct answer late[] = {{200, NULL, RECORD("queued")},
				      {409, NULL, ""},
				      {200, NULL, RECORD("saving")},
				      {200, NULL, RECORD("queued")},
				      {204, NULL, ""},
				      {200, NULL, active},
				      {0}};

	g_assert_cmpint(upload(late, true), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 2);
	g_assert_cmpint(upload(complete, true), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 0);
	g_assert_cmpint(upload(differs, true), ==, IMAGE_ERROR_MISMATCH);
	g_assert_cmpuint(puts_seen, ==, 0);
	g_assert_cmpint(upload(queued, true), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 1);
}

static void get_image(struct image_store *store)
{
	const struct answer found[] = {{200, NULL, "{\"id\":\"" ID "\",\"status\":\"active\"}"},
				       {0}};
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) error = NULL;

	set_answers(found);
	(void)image_store_get(store, &no_identity, ID, &record, &error);
	g_assert_no_error(error);
}

/* A server that does not answer is not asked again by the next requests, also where it is the first
 * one in the configuration. Not all stores begin with the same server. */
static void test_servers(void)
{
	static const char *const three[] = {"http://a/", "http://b/", "http://c/", NULL};
	static const struct image_config config = {.api_servers = three, .num_retries = 2};
	bool seen[3] = {false};

	for (int i = 0; i < 60; i++) {
		g_autoptr(image_store_t) store = image_store_new(&config, NULL);

		dead_server = NULL;
		get_image(store);
		seen[last_server[strlen("http://")] - 'a'] = true;
		dead_server = three[i % 3];
		dead_tries = 0;
		for (int request = 0; request < 5; request++)
			get_image(store);
		g_assert_cmpuint(dead_tries, <=, 1);
	}
	dead_server = NULL;
	g_assert_true(seen[0] && seen[1] && seen[2]);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/answers/list/long-page", test_list_long_page);
	g_test_add_func("/answers/list/too-many-values", test_list_too_many_values);
	g_test_add_func("/answers/list/endless", test_list_endless);
	g_test_add_func("/answers/list/malformed", test_list_malformed);
	g_test_add_func("/answers/list/without-token", test_list_without_token);
	g_test_add_func("/answers/record-sizes", test_record_sizes);
	g_test_add_func("/answers/record-verify", test_record_verify);
	g_test_add_func("/answers/large-refusals", test_large_refusals);
	g_test_add_func("/answers/catalogs", test_catalogs);
	g_test_add_func("/answers/cinder-project", test_cinder_project);
	g_test_add_func("/answers/missing", test_missing);
	g_test_add_func("/answers/not-visible", test_not_visible);
	g_test_add_func("/answers/servers", test_servers);
	g_test_add_func("/answers/cinder-not-configured", test_cinder_not_configured);
	g_test_add_func("/answers/upload/reply-lost", test_upload_reply_lost);
	g_test_add_func("/answers/upload/last-reply-lost", test_upload_last_reply_lost);
	g_test_add_func("/answers/upload/conflict-with-itself", test_upload_conflict_with_itself);
	g_test_add_func("/answers/upload/confirmed", test_upload_confirmed);
	g_test_add_func("/answers/upload/refused", test_upload_refused);
	g_test_add_func("/answers/upload/saving-forever", test_upload_saving_forever);
	g_test_add_func("/answers/upload/image-unusable", test_upload_image_unusable);
	g_test_add_func("/answers/upload/format-refused", test_upload_format_refused);
	g_test_add_func("/answers/upload/expectation-refused", test_upload_expectation_refused);
	g_test_add_func("/answers/upload/resumed", test_upload_resumed);
	return g_test_run();
}
