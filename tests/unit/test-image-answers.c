/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Answers of Glance, Keystone and Cinder that make no sense, or too much of it. The linker puts the
 * functions below in the place of image/openstack/http.c's.
 */
#include <string.h>
#include <time.h>

#include "image/cancel.h"
#include "image/cinder.h"
#include "image/limits.h"
#include "image/openstack/http.h"
#include "image/store/record.h"

#define ID "71e5a7b0-1730-41f5-afda-ba2a6f00b7f6"
/* CPU time of what is linear in its length and not slow, also with a sanitizer. */
#define QUICK_US ((gint64)5 * G_USEC_PER_SEC)

static gint64 cpu_us(void)
{
	struct timespec used;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (gint64)used.tv_sec * G_USEC_PER_SEC + used.tv_nsec / 1000;
}

__typeof__(http_request_send) __wrap_http_request_send;
__typeof__(image_cancel_sleep) __wrap_image_cancel_sleep;

#define LOST (-1) /* what was sent arrived, and its answer did not */

/* One after the other; the last one again and again. */
struct answer {
	long status;
	const char *token; /* NULL: none */
	const char *body;
};
static const struct answer *answers;
static unsigned asked, puts_seen, pauses;
static bool is_cancelled;

static void drain(const struct http_upload *upload)
{
	char buffer[65536];

	while (upload->read(upload->opaque, buffer, sizeof(buffer), NULL) > 0)
		;
}

int __wrap_http_request_send(const struct http_config *config, const struct http_request *request,
			     struct http_reply *reply, GError **error)
{
	long status = answers->status;

	(void)config;
	http_reply_clear(reply);
	puts_seen += g_str_equal(request->method, "PUT");
	/* Who refuses does so before the data. */
	if (request->upload && status < 300)
		drain(request->upload);
	if (status == LOST) {
		answers++;
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "it is lost");
		return -1;
	}
	reply->status = status;
	reply->subject_token = g_strdup(answers->token);
	reply->body = g_string_new(answers->body);
	asked++;
	if (answers[1].status)
		answers++;
	return 0;
}

bool __wrap_image_cancel_sleep(const atomic_int *cancel, unsigned seconds)
{
	(void)seconds;
	(void)cancel;
	pauses++;
	return !is_cancelled;
}

static const char *const servers[] = {"http://glance", NULL};
static const struct image_config glance = {
	.api_servers = servers, .num_retries = 3, .saving_timeout_s = 60};
static const struct image_identity nobody;

static GPtrArray *list(const char *body, GError **error)
{
	const struct answer pages[] = {{200, NULL, body}, {0}};
	const struct image_property wanted[] = {{NULL, NULL}};
	struct image_store *store = image_store_new(&glance, NULL);
	GPtrArray *images;

	answers = pages;
	asked = 0;
	images = image_store_list(store, &nobody, wanted, error);
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

static void test_long_page(void)
{
	g_autofree char *body = page_of(80000, "");
	gint64 began = cpu_us();
	GPtrArray *images = list(body, NULL);

	g_assert_cmpuint(images->len, ==, 80000);
	g_assert_cmpint(cpu_us() - began, <, QUICK_US);
	g_ptr_array_unref(images);
}

static void test_too_many_values(void)
{
	g_autofree char *body = page_of(HTTP_REPLY_VALUES_MAX / 2, "");
	g_autoptr(GError) error = NULL;

	g_assert_null(list(body, &error));
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED);
}

/* A list that comes to no end does. */
static void test_endless_list(void)
{
	g_autofree char *text = g_strnfill((size_t)1024 * 1024, 'x');
	g_autofree char *large =
		g_strdup_printf("{\"images\":[],\"next\":\"?\",\"x\":\"%s\"}", text);
	g_autofree char *small = page_of(1, "/v2/images?marker=1");
	g_autoptr(GError) error = NULL;
	GPtrArray *images;

	g_assert_null(list(large, &error));
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED);
	g_assert_cmpuint(asked, <=, GLANCE_LIST_SIZE_MAX / strlen(text) + 1);
	images = list(small, NULL);
	g_assert_cmpuint(images->len, ==, GLANCE_LIST_PAGES_MAX);
	g_ptr_array_unref(images);
}

static void test_odd_answers(void)
{
	static const char *const odd[] = {
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

	for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
		g_autoptr(GError) error = NULL;
		GPtrArray *images = list(odd[i], &error);

		g_test_message("%s", odd[i]);
		g_assert_null(images);
		g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED);
	}
}

static void test_sizes(void)
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
			"{\"id\":\"i\",\"status\":\"active\",\"size\":%s}", sizes[i].size);
		g_autoptr(image_record_t) record = image_record_parse(cJSON_Parse(text), NULL);

		g_test_message("%s", sizes[i].size);
		g_assert_nonnull(record);
		g_assert_cmpint(record->size, ==, sizes[i].expected);
	}
}

/* What a refusal says is cut before it is taken apart. */
static void test_refusals(void)
{
	static const char *const words[] = {"&amp;", "<title>", "<", "&#x27;", "<style>x</title>",
					    " ",     "\xff"};

	for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
		struct http_reply reply = {.status = 500, .body = g_string_new(NULL)};
		gint64 began = cpu_us();
		g_autoptr(GError) error = NULL;

		while (reply.body->len + strlen(words[i]) <= HTTP_REPLY_SIZE_MAX)
			g_string_append(reply.body, words[i]);
		http_reply_set_error(&reply, "what", &error);
		g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);
		g_assert_cmpint(g_utf8_strlen(error->message, -1), <, IMAGE_FOREIGN_TEXT_MAX + 100);
		g_assert_cmpint(cpu_us() - began, <, QUICK_US);
		http_reply_clear(&reply);
	}
}

#define TOKEN(catalog)                                                                             \
	"{\"token\":{\"expires_at\":\"2036-11-23T04:24:38Z\",\"catalog\":" catalog "}}"
#define ENDPOINT(url)                                                                              \
	"[{\"type\":\"volumev3\",\"endpoints\":[{\"interface\":\"public\",\"url\":\"" url "\"}]}]"

static void test_catalogues(void)
{
	static const struct image_config config = {
		.auth = {.auth_url = "http://keystone", .username = "nova"}};
	static const struct cinder_config volume = {.catalog_info = "volumev3::publicURL"};
	static const struct image_identity who = {.token = "token", .project_id = "project"};
	static const struct {
		const char *body;
		bool found;
	} tokens[] = {
		{"", false},
		{"{\"token\":[]}", false},
		{"{\"token\":{\"expires_at\":7}}", false},
		{"{\"token\":{\"expires_at\":\"x\"}}", false},
		{TOKEN("null"), false},
		{TOKEN("{\"a\":[]}"), false},
		{TOKEN("[[],7,{\"type\":\"volumev3\",\"endpoints\":[7,[],{\"interface\":7}]}]"),
		 false},
		{TOKEN(ENDPOINT("http://cinder/v3/abc")), true},
		/* Neither a scheme nor a path. */
		{TOKEN(ENDPOINT("cinder")), true},
		{TOKEN(ENDPOINT("")), true},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(tokens); i++) {
		const struct answer pages[] = {
			{201, "gAAAAA", tokens[i].body},
			{200, NULL, "{\"snapshot\":{\"status\":\"creating\"}}"},
			{0}};
		struct cinder_service *service = cinder_service_new(&volume, &config);
		g_autofree char *status = NULL;

		answers = pages;
		status = cinder_snapshot_status(service, &who, ID, NULL);
		g_test_message("%s", tokens[i].body);
		g_assert_cmpstr(status, ==, tokens[i].found ? "creating" : NULL);
		cinder_service_free(service);
	}
}

/* --- an upload that breaks ----------------------------------------------------------------------
 */

#define SIZE ((uint64_t)1024 * 1024)

static int read_zeros(struct image_source *source, uint64_t offset, void *buf, size_t len,
		      GError **error)
{
	(void)source;
	(void)offset;
	(void)error;
	memset(buf, 0, len);
	return 0;
}

/* 0, or the code of the failure. `again`: a life before this one may have sent it. */
static int upload(const struct answer *given, bool again)
{
	static const struct image_source_ops ops = {.read = read_zeros};
	struct image_source source = {.ops = &ops, .size = SIZE};
	struct image_upload upload = {.source = &source, .resuming = again};
	struct image_store *store = image_store_new(&glance, NULL);
	g_autoptr(GError) error = NULL;
	int rc;

	answers = given;
	puts_seen = pauses = 0;
	rc = image_store_upload(store, &nobody, ID, &upload, &error);
	image_store_free(store);
	if (rc == 0) {
		g_assert_no_error(error);
		return -1;
	}
	g_assert_nonnull(error);
	return error->code;
}
#define DONE (-1)
#define RECORD(status) "{\"id\":\"" ID "\",\"status\":\"" status "\"}"

static char *whole(uint64_t size)
{
	g_autofree unsigned char *zeros = g_malloc0(SIZE);
	g_autofree char *hash = g_compute_checksum_for_data(G_CHECKSUM_SHA512, zeros, SIZE);

	return g_strdup_printf("{\"id\":\"" ID "\",\"status\":\"active\",\"size\":%u,"
			       "\"os_hash_algo\":\"sha512\",\"os_hash_value\":\"%s\"}",
			       (unsigned)size, hash);
}

/* It had arrived, and is not sent twice. */
static void test_answer_is_lost(void)
{
	g_autofree char *active = whole(SIZE);
	g_autofree char *other = whole(SIZE - 1);
	const struct answer late[] = {{LOST, NULL, NULL},
				      {200, NULL, RECORD("saving")},
				      {200, NULL, RECORD("saving")},
				      {200, NULL, active},
				      {0}};
	const struct answer bad[] = {{LOST, NULL, NULL}, {200, NULL, other}, {0}};

	g_assert_cmpint(upload(late, false), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 1);
	g_assert_cmpuint(pauses, ==, 1 + 2);
	g_assert_cmpint(upload(bad, false), ==, IMAGE_ERROR_MISMATCH);
	g_assert_cmpuint(puts_seen, ==, 1);
}

static void test_nothing_arrived(void)
{
	g_autofree char *active = whole(SIZE);
	const struct answer refused[] = {{503, NULL, ""},
					 {200, NULL, RECORD("queued")},
					 {204, NULL, ""},
					 {200, NULL, active},
					 {0}};
	const struct answer always[] = {{503, NULL, ""}, {200, NULL, RECORD("queued")},
					{503, NULL, ""}, {200, NULL, RECORD("queued")},
					{503, NULL, ""}, {200, NULL, RECORD("queued")},
					{503, NULL, ""}, {200, NULL, RECORD("queued")},
					{503, NULL, ""}, {0}};

	g_assert_cmpint(upload(refused, false), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 2);
	g_assert_cmpint(upload(always, false), ==, IMAGE_ERROR_UNAVAILABLE);
	g_assert_cmpuint(puts_seen, ==, 4);
}

/* No second upload is begun beside one that may be under way. */
static void test_saving_for_ever(void)
{
	const struct answer pages[] = {{LOST, NULL, NULL}, {200, NULL, RECORD("saving")}, {0}};

	g_assert_cmpint(upload(pages, false), ==, IMAGE_ERROR_UNAVAILABLE);
	g_assert_cmpuint(puts_seen, ==, 1);
	g_assert_cmpuint(pauses, ==, 1 + 60);
	is_cancelled = true;
	g_assert_cmpint(upload(pages, false), ==, IMAGE_ERROR_CANCELLED);
	g_assert_cmpuint(pauses, ==, 1 + 1);
	is_cancelled = false;
}

static void test_image_takes_no_data(void)
{
	const struct answer killed[] = {{LOST, NULL, NULL}, {200, NULL, RECORD("killed")}, {0}};
	const struct answer gone[] = {{LOST, NULL, NULL}, {404, NULL, ""}, {0}};

	g_assert_cmpint(upload(killed, false), ==, IMAGE_ERROR_CONFLICT);
	g_assert_cmpint(upload(gone, false), ==, IMAGE_ERROR_NOT_FOUND);
	g_assert_cmpuint(puts_seen, ==, 1);
}

static void test_a_life_before_has_sent_it(void)
{
	g_autofree char *active = whole(SIZE);
	g_autofree char *other = whole(SIZE - 1);
	const struct answer sent[] = {{200, NULL, active}, {0}};
	const struct answer bad[] = {{200, NULL, other}, {0}};
	const struct answer queued[] = {
		{200, NULL, RECORD("queued")}, {204, NULL, ""}, {200, NULL, active}, {0}};

	g_assert_cmpint(upload(sent, true), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 0);
	g_assert_cmpint(upload(bad, true), ==, IMAGE_ERROR_MISMATCH);
	g_assert_cmpuint(puts_seen, ==, 0);
	g_assert_cmpint(upload(queued, true), ==, DONE);
	g_assert_cmpuint(puts_seen, ==, 1);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/answers/long-page", test_long_page);
	g_test_add_func("/answers/too-many-values", test_too_many_values);
	g_test_add_func("/answers/endless-list", test_endless_list);
	g_test_add_func("/answers/odd", test_odd_answers);
	g_test_add_func("/answers/sizes", test_sizes);
	g_test_add_func("/answers/refusals", test_refusals);
	g_test_add_func("/answers/catalogues", test_catalogues);
	g_test_add_func("/answers/lost", test_answer_is_lost);
	g_test_add_func("/answers/nothing-arrived", test_nothing_arrived);
	g_test_add_func("/answers/saving-for-ever", test_saving_for_ever);
	g_test_add_func("/answers/no-data", test_image_takes_no_data);
	g_test_add_func("/answers/sent-before", test_a_life_before_has_sent_it);
	return g_test_run();
}
