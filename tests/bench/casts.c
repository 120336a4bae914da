/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many casts a second novasnapd decodes, checks and dispatches: to a handler that reads the
 * instance as a snapshot does, and does nothing.
 *   casts decode CAST.json SECONDS       without a broker
 *   casts fill URL CAST.json HOST COUNT  puts casts into the host's queue
 *   casts serve URL HOST COUNT           takes them, acked one by one
 * Prints casts a second.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/nova.h"
#include "rpc/rpc.h"

#define WAIT_S 120
#define FILLERS 16

static unsigned wanted;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* Guarded by the lock. */
static unsigned served;
static gint64 first_at, last_at;

static int fail(const GError *error)
{
	(void)fprintf(stderr, "casts: %s\n", error ? error->message : "it took too long");
	return EXIT_FAILURE;
}

/* All that novasnapd does with a snapshot_instance before it gives it a thread. */
static bool check_cast(const struct rpc_request *request)
{
	const cJSON *args = rpc_request_args(request);
	const char *image =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(args, "image_id"));
	struct nova_instance *instance = nova_instance_from_args(args, NULL);
	bool good = instance && image && g_uuid_string_is_valid(image) &&
		    nova_instance_string(instance, "root_device_name") &&
		    nova_instance_uuid(instance) &&
		    rpc_context_string(rpc_request_context(request), "request_id");

	nova_instance_free(instance);
	return good;
}

static int decode(const char *body, double seconds)
{
	size_t length = strlen(body);
	gint64 began = g_get_monotonic_time(), now = began;
	unsigned count = 0;

	while ((double)(now - began) < seconds * G_USEC_PER_SEC) {
		for (int i = 0; i < 100; i++, count++) {
			g_autoptr(GError) error = NULL;
			cJSON *message = rpc_body_decode(body, length, &error);
			struct rpc_request *request;
			bool good;

			if (!message)
				return fail(error);
			request = rpc_request_new_local(message);
			good = g_str_equal(rpc_request_method(request), "snapshot_instance") &&
			       check_cast(request);
			rpc_request_free(request);
			if (!good)
				return fail(NULL);
		}
		now = g_get_monotonic_time();
	}
	printf("%.0f\n", count / ((double)(now - began) / G_USEC_PER_SEC));
	return EXIT_SUCCESS;
}

struct filler {
	struct rpc *rpc;
	const char *topic;
	const cJSON *cast;
	unsigned count;
	pthread_t thread;
};

/* Each with an id of its own: what was seen before is dropped. */
static void *fill_main(void *opaque)
{
	struct filler *filler = opaque;
	cJSON *cast = cJSON_Duplicate(filler->cast, true);
	g_autoptr(GError) error = NULL;

	for (unsigned i = 0; i < filler->count && !error; i++) {
		g_autofree char *id = g_uuid_string_random();
		char *body;

		cJSON_ReplaceItemInObjectCaseSensitive(cast, "_unique_id", cJSON_CreateString(id));
		body = rpc_body_encode(cast);
		(void)rpc_publish_body(filler->rpc, filler->topic, body, &error);
		cJSON_free(body);
	}
	cJSON_Delete(cast);
	return error ? GINT_TO_POINTER(1) : NULL;
}

static int fill(struct rpc *rpc, const char *topic, const cJSON *cast)
{
	struct filler fillers[FILLERS];
	unsigned failed = 0;

	for (unsigned i = 0; i < FILLERS; i++) {
		fillers[i] = (struct filler){rpc, topic, cast, wanted / FILLERS, 0};
		if (pthread_create(&fillers[i].thread, NULL, fill_main, &fillers[i]) != 0)
			return fail(NULL);
	}
	for (unsigned i = 0; i < FILLERS; i++) {
		void *result;

		(void)pthread_join(fillers[i].thread, &result);
		failed += result != NULL;
	}
	return failed > 0 ? fail(NULL) : EXIT_SUCCESS;
}

static void handle(struct rpc_request *request, const void *what, void *opaque)
{
	(void)what;
	(void)opaque;
	if (!check_cast(request))
		abort();
	rpc_request_ack(request);
	rpc_request_free(request);
	pthread_mutex_lock(&lock);
	last_at = g_get_monotonic_time();
	if (served++ == 0)
		first_at = last_at;
	if (served == wanted)
		pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static int serve(struct rpc *rpc)
{
	static const struct rpc_method methods[] = {{"snapshot_instance", handle, NULL},
						    {NULL, NULL, NULL}};
	static const char *const versions[] = {"5.13", "6.5", NULL};
	struct rpc_server_ops ops = {methods, versions, NULL, NULL};
	g_autoptr(GError) error = NULL;
	struct timespec until;
	int rc = 0;

	if (rpc_server_start(rpc, &ops, &error) < 0)
		return fail(error);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&lock);
	while (served < wanted && rc == 0)
		rc = pthread_cond_clockwait(&changed, &lock, CLOCK_MONOTONIC, &until);
	pthread_mutex_unlock(&lock);
	rpc_server_stop(rpc);
	if (served < wanted)
		return fail(NULL);
	printf("%.0f\n", (served - 1) / ((double)(last_at - first_at) / G_USEC_PER_SEC));
	return EXIT_SUCCESS;
}

static int with_broker(int argc, char **argv)
{
	bool fills = g_str_equal(argv[1], "fill");
	const char *host = argv[fills ? 4 : 3];
	struct rpc_config config = {
		.transport_url = argv[2],
		.control_exchange = "nova",
		.host = host,
		.topic = "compute",
		.retry_interval_s = 1,
		.interval_max_s = 1,
		.queue_ttl_s = 60,
		.prefetch = 100,
		.response_timeout_s = 30,
		.outbox_max = 1000,
	};
	g_autoptr(GError) error = NULL;
	g_autofree char *topic = g_strdup_printf("compute.%s", host);
	g_autofree char *text = NULL;
	struct rpc *rpc = rpc_open(&config, &error);
	cJSON *cast = NULL;
	int status = EXIT_FAILURE;

	wanted = (unsigned)atoi(argv[argc - 1]) / FILLERS * FILLERS;
	if (!rpc)
		return fail(error);
	if (!fills)
		status = serve(rpc);
	else if (g_file_get_contents(argv[3], &text, NULL, &error) && (cast = cJSON_Parse(text)) &&
		 rpc_wait_ready(rpc, WAIT_S))
		status = fill(rpc, topic, cast);
	else
		(void)fail(error);
	cJSON_Delete(cast);
	rpc_close(rpc, 5);
	return status;
}

int main(int argc, char **argv)
{
	g_autofree char *text = NULL;
	g_autoptr(GError) error = NULL;
	cJSON *cast;
	char *body;
	int status;

	if ((argc == 6 && g_str_equal(argv[1], "fill")) ||
	    (argc == 5 && g_str_equal(argv[1], "serve")))
		return with_broker(argc, argv);
	if (argc != 4 || !g_str_equal(argv[1], "decode")) {
		(void)fprintf(stderr, "casts: decode CAST SECONDS | fill URL CAST HOST COUNT | "
				      "serve URL HOST COUNT\n");
		return 2;
	}
	if (!g_file_get_contents(argv[2], &text, NULL, &error))
		return fail(error);
	cast = cJSON_Parse(text);
	body = rpc_body_encode(cast);
	status = decode(body, g_ascii_strtod(argv[3], NULL));
	cJSON_free(body);
	cJSON_Delete(cast);
	return status;
}
