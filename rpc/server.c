/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server: what comes for us is decoded, told from duplicates, and handed to its method as
 * oslo's dispatcher would (oslo_messaging.rpc.dispatcher).
 */
#include <stdio.h>
#include <string.h>

#include "rpc/internal.h"
#include "rpc/json.h"

#define SEEN_MAX 4096
#define DISPATCHER "oslo_messaging.rpc.dispatcher"

struct call {
	struct rpc_request *request;
	gint64 beat_at; /* monotonic us */
	gint64 every;	/* us */
};

struct server_state {
	char *fanout_queue;
	struct rpc_server_ops ops; /* written once, before `wanted` */
	atomic_bool wanted;

	/* The consuming thread's own: the _unique_id of what came last, in a ring. */
	GHashTable *seen;
	char *ring[SEEN_MAX];
	unsigned ring_at;

	pthread_mutex_t lock;
	GList *calls; /* struct call, unanswered; guarded by the lock */
};

struct server_state *server_state_new(void)
{
	struct server_state *state = g_new0(struct server_state, 1);

	state->seen = g_hash_table_new(g_str_hash, g_str_equal);
	pthread_mutex_init(&state->lock, NULL);
	return state;
}

void server_state_free(struct server_state *state)
{
	if (!state)
		return;
	g_hash_table_unref(state->seen);
	for (unsigned i = 0; i < SEEN_MAX; i++)
		g_free(state->ring[i]);
	g_list_free_full(state->calls, g_free);
	pthread_mutex_destroy(&state->lock);
	g_free(state->fanout_queue);
	g_free(state);
}

bool server_wanted(struct server_state *state)
{
	return atomic_load(&state->wanted);
}

const char *server_fanout_queue(struct server_state *state)
{
	return state->fanout_queue;
}

bool server_note_unique(struct server_state *state, const char *unique_id)
{
	if (g_hash_table_contains(state->seen, unique_id))
		return false;
	if (state->ring[state->ring_at]) {
		g_hash_table_remove(state->seen, state->ring[state->ring_at]);
		g_free(state->ring[state->ring_at]);
	}
	state->ring[state->ring_at] = g_strdup(unique_id);
	g_hash_table_add(state->seen, state->ring[state->ring_at]);
	state->ring_at = (state->ring_at + 1) % SEEN_MAX;
	return true;
}

/* oslo_messaging._utils.version_is_compatible: the same major, and no newer minor than ours. */
static bool version_served(const char *const *versions, const char *asked)
{
	unsigned major, minor;
	char rest;

	if (sscanf(asked, "%u.%u%c", &major, &minor, &rest) != 2)
		return false;
	for (; *versions; versions++) {
		unsigned our_major, our_minor;

		if (sscanf(*versions, "%u.%u", &our_major, &our_minor) == 2 && major == our_major &&
		    minor <= our_minor)
			return true;
	}
	return false;
}

static const struct rpc_method *find_method(const struct rpc_server_ops *ops, const char *name)
{
	const struct rpc_method *method;

	for (method = ops->methods; method->name; method++) {
		if (g_str_equal(method->name, name))
			return method;
	}
	return NULL;
}

static void refuse(struct rpc_request *request, const char *class_name, const char *message)
{
	if (!rpc_request_is_call(request))
		g_warning("a cast is dropped: %s", message);
	rpc_request_fail(request, class_name, DISPATCHER, message);
	rpc_request_ack(request);
	rpc_request_free(request);
}

static void dispatch(const struct rpc_server_ops *ops, struct rpc_request *request)
{
	const struct rpc_method *method = find_method(ops, rpc_request_method(request));
	const char *namespace = json_string(request_message(request), "namespace");
	g_autofree char *why = NULL;

	if (namespace || !version_served(ops->versions, rpc_request_version(request))) {
		why = g_strdup_printf("Endpoint does not support RPC version %s. "
				      "Attempted method: %s",
				      rpc_request_version(request), rpc_request_method(request));
		refuse(request, "UnsupportedVersion", why);
	} else if (method) {
		method->handle(request, ops->opaque);
	} else if (rpc_request_is_call(request)) {
		why = g_strdup_printf("Endpoint does not support RPC method %s",
				      rpc_request_method(request));
		refuse(request, "NoSuchMethod", why);
	} else {
		if (ops->foreign)
			ops->foreign(rpc_request_method(request), request, ops->opaque);
		rpc_request_ack(request);
		rpc_request_free(request);
	}
}

void server_take(struct rpc *rpc, const char *body, size_t length, const struct delivery *delivery)
{
	g_autoptr(GError) error = NULL;
	cJSON *message = rpc_body_decode(body, length, &error);
	struct rpc_request *request;
	const char *unique_id;

	if (message && !json_string(message, "method"))
		g_set_error_literal(&error, RPC_ERROR, RPC_ERROR_DECODE,
				    "a message without a method");
	if (error) {
		g_warning("a message that came for us is kept aside: %s", error->message);
		rejected_keep(rpc->config, body, length, error->message);
		cJSON_Delete(message);
		consumer_ack(rpc->consumer, delivery);
		return;
	}
	unique_id = json_string(message, "_unique_id");
	if (unique_id && !server_note_unique(rpc->server, unique_id)) {
		g_info("a duplicate of message %.64s is dropped", unique_id);
		cJSON_Delete(message);
		consumer_ack(rpc->consumer, delivery);
		return;
	}
	request = request_new(rpc, message, delivery);
	if (rpc_request_is_call(request))
		server_add_call(rpc, request);
	dispatch(&rpc->server->ops, request);
}

void server_add_call(struct rpc *rpc, struct rpc_request *request)
{
	double timeout = request_timeout(request);
	struct call *call;

	if (timeout <= 0)
		return;
	call = g_new0(struct call, 1);
	call->request = request;
	call->every = (gint64)(timeout / 2 * G_USEC_PER_SEC);
	call->beat_at = g_get_monotonic_time() + call->every;
	pthread_mutex_lock(&rpc->server->lock);
	rpc->server->calls = g_list_prepend(rpc->server->calls, call);
	pthread_mutex_unlock(&rpc->server->lock);
}

void server_remove_call(struct rpc *rpc, struct rpc_request *request)
{
	GList *link;

	pthread_mutex_lock(&rpc->server->lock);
	for (link = rpc->server->calls; link; link = link->next) {
		struct call *call = link->data;

		if (call->request == request) {
			rpc->server->calls = g_list_delete_link(rpc->server->calls, link);
			g_free(call);
			break;
		}
	}
	pthread_mutex_unlock(&rpc->server->lock);
}

void server_beat(struct rpc *rpc)
{
	gint64 now = g_get_monotonic_time();

	/* Under the lock, so that an answered call is not told that it lives. */
	pthread_mutex_lock(&rpc->server->lock);
	for (GList *link = rpc->server->calls; link; link = link->next) {
		struct call *call = link->data;

		if (now < call->beat_at)
			continue;
		call->beat_at = now + call->every;
		request_send(call->request, NULL, NULL, false);
	}
	pthread_mutex_unlock(&rpc->server->lock);
}

int rpc_server_start(struct rpc *rpc, const struct rpc_server_ops *ops, GError **error)
{
	g_autofree char *id = rpc_hex_id();

	if (server_wanted(rpc->server)) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_FAILED, "the server runs already");
		return -1;
	}
	rpc->server->ops = *ops;
	rpc->server->fanout_queue = g_strdup_printf("%s_fanout_%s", rpc->config->topic, id);
	atomic_store(&rpc->server->wanted, true);
	consumer_ask(rpc->consumer);
	return 0;
}

void rpc_server_stop(struct rpc *rpc)
{
	if (!atomic_exchange(&rpc->server->wanted, false))
		return;
	if (!consumer_wait_stopped(rpc->consumer, 5))
		g_warning("the broker did not answer in 5 s when told that we take no more");
}
