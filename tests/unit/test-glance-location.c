/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locations of images in Glance: which requests are sent, and what each answer means. The linker
 * replaces http_request_send() and image_cancel_sleep() by the functions below.
 */
#include "image/cancel.h"
#include "image/openstack/http.h"
#include "image/store/record.h"

#define ID "71e5a7b0-1730-41f5-afda-ba2a6f00b7f6"
#define URL "rbd://fsid/images/" ID "/snap"
#define OTHER "rbd://fsid/images/other/snap"

__typeof__(http_request_send) __wrap_http_request_send;
__typeof__(image_cancel_sleep) __wrap_image_cancel_sleep;

#define LOST (-1)    /* the request arrives, but its reply does not */
#define AWAY (-2)    /* the server cannot be reached */
#define BROKEN (-3)  /* the connection breaks after the status line of the reply, which is 200 */
#define ABORTED (-4) /* the request arrives, and is cancelled */

/* The expected requests and their replies. The last one may be repeated. */
struct exchange {
	const char *method; /* NULL ends the list */
	const char *suffix; /* of the URL */
	long status;
	const char *body;
};
static const struct exchange *next_exchange;
static unsigned requests_seen, sleeps_seen;
static char *last_body;

static const char *error_of(long status)
{
	return status == LOST ? "the reply is lost" : "no answer";
}

int __wrap_http_request_send(const struct http_config *config, const struct http_request *request,
			     struct http_reply *reply, GError **error)
{
	const struct exchange *exchange = next_exchange;

	(void)config;
	http_reply_clear(reply);
	requests_seen++;
	g_assert_nonnull(exchange->method);
	g_assert_cmpstr(request->method, ==, exchange->method);
	g_assert_true(g_str_has_suffix(request->url, exchange->suffix));
	if (request->body) {
		g_free(last_body);
		last_body = g_strdup(request->body);
	}
	if (exchange[1].method)
		next_exchange++;
	reply->was_sent = exchange->status != AWAY;
	if (exchange->status < 0) {
		reply->status = exchange->status == BROKEN ? 200 : 0;
		g_set_error_literal(error, IMAGE_ERROR,
				    exchange->status == ABORTED ? IMAGE_ERROR_CANCELLED
								: IMAGE_ERROR_UNAVAILABLE,
				    error_of(exchange->status));
		return -1;
	}
	reply->status = exchange->status;
	reply->body = g_string_new(exchange->body);
	return 0;
}

bool __wrap_image_cancel_sleep(const atomic_int *cancel, unsigned seconds)
{
	(void)cancel;
	(void)seconds;
	sleeps_seen++;
	return true;
}

static const char *const servers[] = {"http://glance", NULL};
static const struct image_config config = {
	.api_servers = servers, .num_retries = 2, .saving_timeout_s = 30};
static const struct image_identity nobody;

#define RECORD(status, more) "{\"id\":\"" ID "\",\"status\":\"" status "\",\"size\":10" more "}"
#define AT(url) ",\"locations\":[{\"url\":\"" url "\",\"metadata\":{\"store\":\"ceph\"}}]"
#define TASK ",\"os_glance_import_task\":\"abc\""
/* What Glance says, and what a proxy says. */
#define MISSING "<h1>404 Not Found</h1> No image found with ID " ID "<br />"
#define NO_SERVER "The requested URL /v2/images/" ID " was not found on this server."
#define POST "POST", "/v2/images/" ID "/locations"
#define PATCH "PATCH", "/v2/images/" ID
#define GET "GET", "/v2/images/" ID
#define GET_LOCATIONS "GET", "/v2/images/" ID "/locations"

static void expect_result(const char *name, const struct exchange *list,
			  enum image_location_result expected, int code, unsigned requests)
{
	g_autoptr(image_store_t) store = image_store_new(&config, NULL);
	g_autoptr(GError) error = NULL;

	g_test_message("%s", name);
	next_exchange = list;
	requests_seen = sleeps_seen = 0;
	g_assert_cmpint(image_store_add_location(store, &nobody, ID, URL, NULL, &error), ==,
			expected);
	g_assert_cmpuint(requests_seen, ==, requests);
	if (expected == IMAGE_LOCATION_ADDED)
		g_assert_no_error(error);
	else
		g_assert_error(error, IMAGE_ERROR, code);
}

#define ADD(name, expected, code, requests, ...)                                                   \
	do {                                                                                       \
		const struct exchange list[] = {__VA_ARGS__, {0}};                                 \
		expect_result(name, list, expected, code, requests);                               \
	} while (0)

static void test_add(void)
{
	ADD("the new request", IMAGE_LOCATION_ADDED, 0, 4, {POST, 202, ""},
	    {GET, 200, RECORD("queued", TASK)}, {GET, 200, RECORD("queued", TASK)},
	    {GET, 200, RECORD("active", "")});
	g_assert_cmpstr(last_body, ==, "{\"url\":\"" URL "\",\"validation_data\":{}}");
	ADD("an old Glance", IMAGE_LOCATION_ADDED, 0, 3, {POST, 404, ""}, {PATCH, 200, "{}"},
	    {GET, 200, RECORD("active", "")});
	g_assert_cmpstr(last_body, ==,
			"[{\"op\":\"add\",\"path\":\"/locations/-\",\"value\":{\"url\":\"" URL
			"\",\"metadata\":{}}}]");
	ADD("as nova asks", IMAGE_LOCATION_ADDED, 0, 3, {POST, 501, ""}, {PATCH, 200, "{}"},
	    {GET, 200, RECORD("active", "")});
	ADD("no service token", IMAGE_LOCATION_ADDED, 0, 3, {POST, 403, ""}, {PATCH, 200, "{}"},
	    {GET, 200, RECORD("active", "")});
	ADD("a record that does not answer at first", IMAGE_LOCATION_ADDED, 0, 6, {POST, 202, ""},
	    {GET, 503, ""}, {GET, LOST, ""}, {GET, 503, ""}, {GET, 503, ""},
	    {GET, 200, RECORD("active", "")});
}

#define QUEUED                                                                                     \
	{                                                                                          \
		GET, 200, RECORD("queued", "")                                                     \
	}

static void test_refused(void)
{
	ADD("show_multiple_locations is off", IMAGE_LOCATION_REFUSED, IMAGE_ERROR_FORBIDDEN, 3,
	    {POST, 404, ""}, {PATCH, 403, ""}, QUEUED);
	ADD("no rbd store", IMAGE_LOCATION_REFUSED, IMAGE_ERROR_FAILED, 3, {POST, 404, ""},
	    {PATCH, 400, ""}, QUEUED);
	ADD("a location that it does not know", IMAGE_LOCATION_REFUSED, IMAGE_ERROR_FAILED, 2,
	    {POST, 400, ""}, QUEUED);
	ADD("neither request exists", IMAGE_LOCATION_REFUSED, IMAGE_ERROR_FAILED, 3,
	    {POST, 405, ""}, {PATCH, 405, ""}, QUEUED);
}

static void test_failed(void)
{
	ADD("the image is gone", IMAGE_LOCATION_FAILED, IMAGE_ERROR_NOT_FOUND, 3, {POST, 404, ""},
	    {PATCH, 404, MISSING}, {GET, 404, MISSING});
	ADD("a proxy loses Glance after the request", IMAGE_LOCATION_UNKNOWN,
	    IMAGE_ERROR_UNAVAILABLE, 2, {POST, 404, ""}, {PATCH, 404, NO_SERVER});
	ADD("it has other data", IMAGE_LOCATION_FAILED, IMAGE_ERROR_CONFLICT, 2, {POST, 409, ""},
	    {GET, 200, RECORD("active", AT(OTHER))});
	ADD("the quota is full", IMAGE_LOCATION_FAILED, IMAGE_ERROR_TOO_LARGE, 3, {POST, 404, ""},
	    {PATCH, 413, ""}, QUEUED);
	ADD("no server can be reached", IMAGE_LOCATION_FAILED, IMAGE_ERROR_UNAVAILABLE, 3,
	    {POST, AWAY, ""});
	ADD("deleted meanwhile", IMAGE_LOCATION_FAILED, IMAGE_ERROR_GONE, 4, {POST, 202, ""},
	    {GET, 200, RECORD("queued", TASK)}, {GET, 404, MISSING});
}

/* An earlier request, of an earlier process or repeated by a proxy, has added it. */
static void test_refused_but_used(void)
{
	ADD("the image has it", IMAGE_LOCATION_UNKNOWN, IMAGE_ERROR_CONFLICT, 2, {POST, 409, ""},
	    {GET, 200, RECORD("active", AT(URL))});
	ADD("it is there twice", IMAGE_LOCATION_UNKNOWN, IMAGE_ERROR_FAILED, 3, {POST, 404, ""},
	    {PATCH, 400, ""}, {GET, 200, RECORD("active", ",\"direct_url\":\"" URL "\"")});
	ADD("the image gets it", IMAGE_LOCATION_UNKNOWN, IMAGE_ERROR_CONFLICT, 2, {POST, 409, ""},
	    {GET, 200, RECORD("queued", TASK)});
	ADD("the image may have it", IMAGE_LOCATION_UNKNOWN, IMAGE_ERROR_CONFLICT, 3,
	    {POST, 409, ""}, {GET, 200, RECORD("active", "")}, {GET_LOCATIONS, 403, ""});
	ADD("a proxy does not know Glance for a moment", IMAGE_LOCATION_ADDED, 0, 5,
	    {POST, 202, ""}, {GET, 404, NO_SERVER}, {GET, 200, RECORD("queued", TASK)},
	    {GET, 200, RECORD("queued", TASK)}, {GET, 200, RECORD("active", "")});
}

/* A request that may have arrived is not sent again. */
static void test_unknown(void)
{
	static const long statuses[] = {LOST, BROKEN, 500, 502, 503, 504, 429, 408};

	for (size_t i = 0; i < G_N_ELEMENTS(statuses); i++) {
		ADD("the new request", IMAGE_LOCATION_UNKNOWN,
		    statuses[i] == 408 ? IMAGE_ERROR_FAILED : IMAGE_ERROR_UNAVAILABLE, 1,
		    {POST, statuses[i], ""});
		ADD("the old request", IMAGE_LOCATION_UNKNOWN,
		    statuses[i] == 408 ? IMAGE_ERROR_FAILED : IMAGE_ERROR_UNAVAILABLE, 2,
		    {POST, 404, ""}, {PATCH, statuses[i], ""});
	}
	ADD("cancelled", IMAGE_LOCATION_UNKNOWN, IMAGE_ERROR_CANCELLED, 1, {POST, ABORTED, ""});
	ADD("the first server is away", IMAGE_LOCATION_UNKNOWN, IMAGE_ERROR_UNAVAILABLE, 2,
	    {POST, AWAY, ""}, {POST, LOST, ""});
	/* The pauses are a second long; the time limit is 30 s. */
	ADD("importing without an end", IMAGE_LOCATION_UNKNOWN, IMAGE_ERROR_UNAVAILABLE, 32,
	    {POST, 202, ""}, {GET, 200, RECORD("queued", TASK)});
	ADD("the import has failed", IMAGE_LOCATION_UNKNOWN, IMAGE_ERROR_UNAVAILABLE, 12,
	    {POST, 202, ""}, {GET, 200, RECORD("queued", "")});
}

static void expect_answer(const char *name, const struct exchange *list,
			  enum image_location_answer expected)
{
	g_autoptr(image_store_t) store = image_store_new(&config, NULL);
	g_autoptr(GError) error = NULL;

	g_test_message("%s", name);
	next_exchange = list;
	g_assert_cmpint(image_store_has_location(store, &nobody, ID, URL, &error), ==, expected);
	if (expected == IMAGE_LOCATION_NOT_KNOWN)
		g_assert_nonnull(error);
	else
		g_assert_no_error(error);
}

#define ASK(name, expected, ...)                                                                   \
	do {                                                                                       \
		const struct exchange list[] = {__VA_ARGS__, {0}};                                 \
		expect_answer(name, list, expected);                                               \
	} while (0)

static void test_ask(void)
{
	ASK("shown", IMAGE_LOCATION_USED, {GET, 200, RECORD("active", AT(URL))});
	ASK("shown as direct_url", IMAGE_LOCATION_USED,
	    {GET, 200, RECORD("active", ",\"direct_url\":\"" URL "\"")});
	ASK("hidden", IMAGE_LOCATION_USED, {GET, 200, RECORD("active", "")},
	    {GET_LOCATIONS, 404, ""});
	ASK("hidden from this user", IMAGE_LOCATION_USED,
	    {GET, 200, RECORD("active", ",\"locations\":[]")}, {GET_LOCATIONS, 403, ""});
	ASK("the new request, with it", IMAGE_LOCATION_USED, {GET, 200, RECORD("active", "")},
	    {GET_LOCATIONS, 200, "[{\"url\":\"" URL "\",\"metadata\":{}}]"});
	ASK("the new request, without it", IMAGE_LOCATION_UNUSED, {GET, 200, RECORD("active", "")},
	    {GET_LOCATIONS, 200, "[{\"url\":\"" OTHER "\",\"metadata\":{}}]"});
	ASK("another location of it", IMAGE_LOCATION_USED,
	    {GET, 200, RECORD("active", ",\"direct_url\":\"" OTHER "\"")},
	    {GET_LOCATIONS, 403, ""});
	ASK("a proxy does not know Glance for a moment", IMAGE_LOCATION_USED, {GET, 404, NO_SERVER},
	    {GET, 200, RECORD("active", AT(URL))});
	ASK("other data", IMAGE_LOCATION_UNUSED, {GET, 200, RECORD("active", AT(OTHER))});
	ASK("importing", IMAGE_LOCATION_USED, {GET, 200, RECORD("queued", TASK)});
	ASK("added, not yet active", IMAGE_LOCATION_USED, {GET, 200, RECORD("queued", AT(URL))});
	ASK("deactivated", IMAGE_LOCATION_USED, {GET, 200, RECORD("deactivated", AT(URL))});
	ASK("receiving data", IMAGE_LOCATION_USED, {GET, 200, RECORD("saving", "")},
	    {GET_LOCATIONS, 404, ""});
	ASK("waiting", IMAGE_LOCATION_UNUSED, {GET, 200, RECORD("queued", "")});
	ASK("deleted", IMAGE_LOCATION_UNUSED, {GET, 200, RECORD("deleted", "")});
	ASK("gone", IMAGE_LOCATION_UNUSED, {GET, 404, MISSING});
	ASK("a proxy knows no Glance", IMAGE_LOCATION_NOT_KNOWN, {GET, 404, NO_SERVER});
	ASK("a proxy says nothing", IMAGE_LOCATION_NOT_KNOWN, {GET, 404, ""});
	ASK("not allowed", IMAGE_LOCATION_NOT_KNOWN, {GET, 403, ""});
	ASK("no answer", IMAGE_LOCATION_NOT_KNOWN, {GET, LOST, ""});
	ASK("no record", IMAGE_LOCATION_NOT_KNOWN, {GET, 200, "[]"});
}

static void expect_verified(const char *document, bool is_verified)
{
	g_autoptr(image_record_t) record = image_record_parse(cJSON_Parse(document), NULL);
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(image_record_verify_location(record, URL, 10, &error), ==,
			is_verified ? 0 : -1);
	if (!is_verified)
		g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH);
}

static void test_verify(void)
{
	expect_verified(RECORD("active", ""), true);
	expect_verified(RECORD("active", AT(URL)), true);
	expect_verified(RECORD("active", ",\"os_hash_value\":\"abcd\""), true);
	expect_verified(RECORD("active", AT(OTHER)), false);
	expect_verified(RECORD("active", ",\"direct_url\":\"" OTHER "\""), true);
	expect_verified(RECORD("queued", AT(URL)), false);
	expect_verified("{\"id\":\"" ID "\",\"status\":\"active\",\"size\":11}", false);
	expect_verified("{\"id\":\"" ID "\",\"status\":\"active\",\"size\":null}", false);
}

static void expect_locations(const char *document, const char *preferred, const char *expected)
{
	g_autoptr(image_record_t) record = image_record_parse(cJSON_Parse(document), NULL);
	g_auto(GStrv) urls = image_record_locations(record, preferred);
	g_autofree char *joined = g_strjoinv(" ", urls);

	g_assert_cmpstr(joined, ==, expected);
}

static void test_locations(void)
{
#define TWO                                                                                        \
	",\"locations\":[{\"url\":\"a\",\"metadata\":{\"store\":\"x\"}},7,{\"url\":null},"         \
	"{\"url\":\"b\",\"metadata\":{\"store\":\"y\"}},{\"url\":\"c\"}]"
	expect_locations(RECORD("active", TWO), NULL, "a b c");
	expect_locations(RECORD("active", TWO), "y", "b a c");
	expect_locations(RECORD("active", TWO), "z", "a b c");
	expect_locations(RECORD("active", TWO ",\"direct_url\":\"d\""), "x", "a b c d");
	expect_locations(RECORD("active", ",\"locations\":7"), NULL, "");
	expect_locations(RECORD("active", ""), NULL, "");
#undef TWO
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/glance-location/add", test_add);
	g_test_add_func("/glance-location/refused", test_refused);
	g_test_add_func("/glance-location/refused-but-used", test_refused_but_used);
	g_test_add_func("/glance-location/failed", test_failed);
	g_test_add_func("/glance-location/unknown", test_unknown);
	g_test_add_func("/glance-location/ask", test_ask);
	g_test_add_func("/glance-location/verify", test_verify);
	g_test_add_func("/glance-location/locations", test_locations);
	return g_test_run();
}
