/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rpc room as a program, for tests with real peers. Options say where the broker is. Each line
 * of standard input is a command, each line of standard output an event; both are JSON objects. The
 * program ends at the end of its input.
 *
 * Commands (member `do`): serve, pause, resume, stop, listen, ready, call, cast, publish, notify.
 * Each has an `id`, which its event "done" repeats, with the result or the error.
 *
 * The server has the methods echo, slow (args.seconds), raise, refuse (rejects its arguments), and
 * keep (never acks), in versions 5.13 and 6.5.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "rpc/rpc.h"

struct peer {
	struct rpc *rpc;
	struct rpc_server_ops ops;
	pthread_mutex_t lock; /* guards standard output, and the jobs */
	GPtrArray *jobs;      /* struct job, to be joined */
};

/* A command or a request, which has a thread of its own. */
struct job {
	struct peer *peer;
	cJSON *command;
	struct rpc_request *request;
	pthread_t thread;
};

static void print_event(struct peer *peer, cJSON *event)
{
	char *text = cJSON_PrintUnformatted(event);

	pthread_mutex_lock(&peer->lock);
	(void)printf("%s\n", text);
	(void)fflush(stdout);
	pthread_mutex_unlock(&peer->lock);
	cJSON_free(text);
	cJSON_Delete(event);
}

static const char *get_string(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static unsigned get_number(const cJSON *object, const char *name, unsigned otherwise)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(item) ? (unsigned)item->valuedouble : otherwise;
}

static cJSON *copy_member(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return item ? cJSON_Duplicate(item, true) : cJSON_CreateObject();
}

static void print_request(struct peer *peer, const struct rpc_request *request)
{
	cJSON *event = cJSON_CreateObject();
	const char *unique_id = rpc_request_unique_id(request);
	const char *user = rpc_context_string(rpc_request_context(request), "user_id");

	cJSON_AddStringToObject(event, "event", "request");
	cJSON_AddStringToObject(event, "method", rpc_request_method(request));
	cJSON_AddStringToObject(event, "version", rpc_request_version(request));
	cJSON_AddItemToObject(event, "args", cJSON_Duplicate(rpc_request_args(request), true));
	cJSON_AddBoolToObject(event, "call", rpc_request_is_call(request));
	cJSON_AddStringToObject(event, "unique_id", unique_id ? unique_id : "");
	cJSON_AddStringToObject(event, "user", user ? user : "");
	print_event(peer, event);
}

static void start_job(struct job *job, void *(*run)(void *job))
{
	pthread_mutex_lock(&job->peer->lock);
	if (pthread_create(&job->thread, NULL, run, job) != 0)
		g_error("cannot start a thread");
	g_ptr_array_add(job->peer->jobs, job);
	pthread_mutex_unlock(&job->peer->lock);
}

static void join_jobs(struct peer *peer)
{
	for (guint i = 0; i < peer->jobs->len; i++) {
		struct job *job = g_ptr_array_index(peer->jobs, i);

		pthread_join(job->thread, NULL);
		cJSON_Delete(job->command);
	}
	g_ptr_array_unref(peer->jobs);
}

static void *serve_request(void *opaque)
{
	struct job *job = opaque;
	struct rpc_request *request = job->request;
	const char *method = rpc_request_method(request);

	if (g_str_equal(method, "refuse")) {
		print_request(job->peer, request);
		rpc_request_reject(request, "its arguments cannot be used");
		return NULL;
	}
	if (g_str_equal(method, "hold"))
		g_usleep((gulong)get_number(rpc_request_args(request), "seconds", 1) * 1000000);
	rpc_request_ack(request);
	print_request(job->peer, request);
	if (g_str_equal(method, "slow"))
		g_usleep((gulong)get_number(rpc_request_args(request), "seconds", 1) * 1000000);
	if (g_str_equal(method, "raise"))
		rpc_request_fail(request, "ValueError", "builtins", "raised as asked");
	else
		rpc_request_reply(request, cJSON_Duplicate(rpc_request_args(request), true));
	rpc_request_free(request);
	return NULL;
}

static void handle_request(struct rpc_request *request, const void *what, void *opaque)
{
	(void)what;
	struct job *job = g_new0(struct job, 1);

	job->peer = opaque;
	job->request = request;
	start_job(job, serve_request);
}

static void keep_request(struct rpc_request *request, const void *what, void *opaque)
{
	(void)what;
	print_request(opaque, request);
	rpc_request_free(request);
}

static void requeue_request(struct rpc_request *request, const void *what, void *opaque)
{
	(void)what;
	print_request(opaque, request);
	rpc_request_requeue(request);
	rpc_request_free(request);
}

static void unhandled(const struct rpc_request *request, bool moved, void *opaque)
{
	cJSON *event = cJSON_CreateObject();

	cJSON_AddStringToObject(event, "event", "unhandled");
	cJSON_AddStringToObject(event, "method", rpc_request_method(request));
	cJSON_AddBoolToObject(event, "moved", moved);
	print_event(opaque, event);
}

static void notified(const char *event_type, const cJSON *message, void *opaque)
{
	cJSON *event = cJSON_CreateObject();

	cJSON_AddStringToObject(event, "event", "notified");
	cJSON_AddStringToObject(event, "event_type", event_type);
	cJSON_AddItemToObject(event, "message", cJSON_Duplicate(message, true));
	print_event(opaque, event);
}

static void print_done(struct job *job, cJSON *result, GError *error)
{
	cJSON *event = cJSON_CreateObject();
	const char *class_name, *module;

	cJSON_AddStringToObject(event, "event", "done");
	cJSON_AddItemToObject(event, "id", copy_member(job->command, "id"));
	if (error) {
		cJSON_AddStringToObject(event, "error", error->message);
		cJSON_AddNumberToObject(event, "code", error->code);
		if (rpc_failure_from_error(error, &class_name, &module)) {
			cJSON_AddStringToObject(event, "class", class_name);
			cJSON_AddStringToObject(event, "module", module);
		}
	} else {
		cJSON_AddItemToObject(event, "result", result ? result : cJSON_CreateTrue());
	}
	g_clear_error(&error);
	print_event(job->peer, event);
}

/* Casts as a client of oslo does, with the context of the command. */
static void cast(struct rpc *rpc, const char *topic, const cJSON *command, GError **error)
{
	cJSON *message = cJSON_CreateObject();
	const cJSON *context = cJSON_GetObjectItemCaseSensitive(command, "context");
	const cJSON *field;
	g_autofree char *unique_id = g_uuid_string_random();
	char *body;

	cJSON_AddStringToObject(message, "method", get_string(command, "method"));
	cJSON_AddItemToObject(message, "args", copy_member(command, "args"));
	cJSON_AddStringToObject(message, "version", get_string(command, "version"));
	cJSON_AddStringToObject(message, "_unique_id", unique_id);
	cJSON_ArrayForEach (field, context) {
		g_autofree char *key = g_strconcat("_context_", field->string, NULL);

		cJSON_AddItemToObject(message, key, cJSON_Duplicate(field, true));
	}
	body = rpc_body_encode(message);
	(void)rpc_publish_body(rpc, topic, body, error);
	cJSON_free(body);
	cJSON_Delete(message);
}

/* call, cast, publish, progress and notify. */
static void *run_job(void *opaque)
{
	struct job *job = opaque;
	const cJSON *command = job->command;
	const char *what = get_string(command, "do"), *topic = get_string(command, "topic");
	g_autoptr(rpc_context_t) context = rpc_context_new(copy_member(command, "context"));
	struct rpc *rpc = job->peer->rpc;
	cJSON *result = NULL;
	GError *error = NULL;

	if (g_str_equal(what, "call"))
		result = rpc_call(rpc, topic, context, get_string(command, "method"),
				  get_string(command, "version"), copy_member(command, "args"),
				  get_number(command, "timeout", 20), &error);
	else if (g_str_equal(what, "cast"))
		cast(rpc, topic, command, &error);
	else if (g_str_equal(what, "publish"))
		(void)rpc_publish_body(rpc, topic, get_string(command, "body"), &error);
	else if (g_str_equal(what, "progress"))
		rpc_notify_transient(rpc, topic, "peer", get_string(command, "event_type"), context,
				     copy_member(command, "args"));
	else
		rpc_notify(rpc, topic,
			   get_number(command, "error", 0) ? RPC_PRIORITY_ERROR : RPC_PRIORITY_INFO,
			   "peer", get_string(command, "event_type"), context,
			   copy_member(command, "args"));
	print_done(job, result, error);
	return NULL;
}

/* Runs a command that must be done before the next one; returns false for any other. */
static bool run_now(struct peer *peer, cJSON *command)
{
	static const char *const keys[] = {"notifications.info", "notifications.error",
					   "versioned_notifications.info",
					   "versioned_notifications.error", NULL};
	struct job job = {.peer = peer, .command = command};
	const char *what = get_string(command, "do");
	GError *error = NULL;

	if (g_str_equal(what, "serve"))
		(void)rpc_server_start(peer->rpc, &peer->ops, &error);
	else if (g_str_equal(what, "pause"))
		rpc_server_pause(peer->rpc);
	else if (g_str_equal(what, "resume"))
		(void)rpc_server_resume(peer->rpc, &error);
	else if (g_str_equal(what, "stop"))
		rpc_server_stop(peer->rpc);
	else if (g_str_equal(what, "listen"))
		(void)rpc_listen(peer->rpc, keys, notified, peer, &error);
	else if (g_str_equal(what, "ready")) {
		if (!rpc_wait_ready(peer->rpc, get_number(command, "timeout", 20)))
			error = g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED, "not ready");
	} else
		return false;
	print_done(&job, NULL, error);
	return true;
}

static int usage(GOptionContext *context, const char *why)
{
	g_autofree char *help = g_option_context_get_help(context, TRUE, NULL);

	(void)fprintf(stderr, "%s\n%s", why, help);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct rpc_method methods[] = {
		{"echo", handle_request, NULL},	    {"slow", handle_request, NULL},
		{"raise", handle_request, NULL},    {"refuse", handle_request, NULL},
		{"keep", keep_request, NULL},	    {"hold", handle_request, NULL},
		{"requeue", requeue_request, NULL}, {NULL, NULL, NULL},
	};
	static const char *const versions[] = {"5.13", "6.5", NULL};
	struct peer peer = {.ops = {methods, versions, unhandled, &peer},
			    .lock = PTHREAD_MUTEX_INITIALIZER};
	int outbox = 1000, heartbeat = 60, grace = 5, prefetch = 0;
	gboolean durable = FALSE, ssl = FALSE, bare = FALSE, quorum = FALSE, stream = FALSE;
	struct rpc_config notifications;
	g_autofree char *url = NULL, *host = NULL, *rejected = NULL, *ca = NULL, *exchange = NULL,
			*topic = NULL, *manager = NULL, *notifications_url = NULL,
			*unhandled_queue = NULL;
	const GOptionEntry entries[] = {
		{"url", 0, 0, G_OPTION_ARG_STRING, &url, "transport_url", NULL},
		{"host", 0, 0, G_OPTION_ARG_STRING, &host, "name of the compute host", NULL},
		{"exchange", 0, 0, G_OPTION_ARG_STRING, &exchange, "control exchange", NULL},
		{"topic", 0, 0, G_OPTION_ARG_STRING, &topic, "topic of the server", NULL},
		{"durable", 0, 0, G_OPTION_ARG_NONE, &durable, "amqp_durable_queues", NULL},
		{"rejected-dir", 0, 0, G_OPTION_ARG_STRING, &rejected, "folder", NULL},
		{"outbox", 0, 0, G_OPTION_ARG_INT, &outbox, "messages", NULL},
		{"heartbeat", 0, 0, G_OPTION_ARG_INT, &heartbeat, "seconds", NULL},
		{"prefetch", 0, 0, G_OPTION_ARG_INT, &prefetch, "messages", NULL},
		{"grace", 0, 0, G_OPTION_ARG_INT, &grace, "seconds to publish the rest", NULL},
		{"ssl", 0, 0, G_OPTION_ARG_NONE, &ssl, "use TLS", NULL},
		{"ca", 0, 0, G_OPTION_ARG_STRING, &ca, "file with the CA", NULL},
		{"notifications-url", 0, 0, G_OPTION_ARG_STRING, &notifications_url,
		 "transport_url of notifications", NULL},
		{"transient-quorum", 0, 0, G_OPTION_ARG_NONE, &quorum,
		 "rabbit_transient_quorum_queue and rabbit_quorum_queue, with limits", NULL},
		{"stream-fanout", 0, 0, G_OPTION_ARG_NONE, &stream, "rabbit_stream_fanout", NULL},
		{"queue-manager", 0, 0, G_OPTION_ARG_STRING, &manager,
		 "host and process of use_queue_manager", NULL},
		{"unhandled", 0, 0, G_OPTION_ARG_STRING, &unhandled_queue,
		 "queue for the casts that are not served", NULL},
		{"bare", 0, 0, G_OPTION_ARG_NONE, &bare, "notifications also without envelope",
		 NULL},
		{NULL, 0, 0, 0, NULL, NULL, NULL},
	};
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_autoptr(GError) error = NULL;
	char *line = NULL;
	size_t size = 0;
	struct rpc_config config = {
		.retry_interval_s = 1,
		.retry_backoff_s = 2,
		.interval_max_s = 30,
		.queue_ttl_s = 1800,
		.response_timeout_s = 20,
		.rejected_max_files = 10,
		.rejected_max_bytes = 1024 * 1024,
	};

	g_option_context_add_main_entries(context, entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error))
		return usage(context, error->message);
	if (!url || !host)
		return usage(context, "--url and --host are required");
	config.transport_url = url;
	config.host = host;
	config.control_exchange = exchange ? exchange : "nova";
	config.topic = topic ? topic : "compute";
	config.durable = durable;
	config.heartbeat_s = (unsigned)heartbeat;
	config.outbox_max = (unsigned)outbox;
	config.prefetch = (unsigned)prefetch;
	config.rejected_dir = rejected;
	config.ssl = ssl;
	config.ssl_ca_file = ca;
	config.quorum = config.transient_quorum = quorum;
	config.durable = config.durable || quorum;
	config.quorum_delivery_limit = quorum ? 7 : 0;
	config.quorum_max_memory_length = quorum ? 1000 : 0;
	config.quorum_max_memory_bytes = quorum ? 1000000 : 0;
	config.stream_fanout = stream;
	config.queue_manager_name = manager;
	config.unhandled_queue = unhandled_queue;
	config.notification_format = bare ? RPC_NOTIFICATION_BOTH : RPC_NOTIFICATION_ENVELOPE;
	notifications = config;
	notifications.transport_url = notifications_url;
	config.notifications = notifications_url ? &notifications : NULL;
	peer.rpc = rpc_open(&config, &error);
	if (!peer.rpc) {
		(void)fprintf(stderr, "%s\n", error->message);
		return 1;
	}
	peer.jobs = g_ptr_array_new_with_free_func(g_free);
	while (getline(&line, &size, stdin) > 0) {
		cJSON *command = cJSON_Parse(line);

		if (!get_string(command, "do")) {
			(void)fprintf(stderr, "not a command: %s", line);
			g_ptr_array_unref(peer.jobs);
			return 1;
		}
		if (run_now(&peer, command)) {
			cJSON_Delete(command);
		} else {
			struct job *job = g_new0(struct job, 1);

			job->peer = &peer;
			job->command = command;
			start_job(job, run_job);
		}
	}
	free(line);
	rpc_server_stop(peer.rpc);
	join_jobs(&peer);
	rpc_close(peer.rpc, (unsigned)grace);
	return 0;
}
