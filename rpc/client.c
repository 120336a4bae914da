/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls and casts, and the replies to the calls (oslo_messaging._drivers.amqpdriver ReplyWaiter).
 */
#include <string.h>
#include <time.h>

#include "rpc/internal.h"
#include "rpc/json.h"

struct pending {
	cJSON *reply; /* the final one; NULL: not yet */
};

struct client_state {
	char *reply_queue;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	GHashTable *pending; /* _msg_id -> struct pending on a caller's stack */
};

struct client_state *client_state_new(void)
{
	struct client_state *state = g_new0(struct client_state, 1);
	g_autofree char *id = rpc_hex_id();

	state->reply_queue = g_strdup_printf("reply_%s", id);
	state->pending = g_hash_table_new(g_str_hash, g_str_equal);
	pthread_mutex_init(&state->lock, NULL);
	pthread_cond_init(&state->changed, NULL);
	return state;
}

void client_state_free(struct client_state *state)
{
	if (!state)
		return;
	g_hash_table_unref(state->pending);
	pthread_cond_destroy(&state->changed);
	pthread_mutex_destroy(&state->lock);
	g_free(state->reply_queue);
	g_free(state);
}

const char *client_reply_queue(struct client_state *state)
{
	return state->reply_queue;
}

void client_take_reply(struct rpc *rpc, const char *body, size_t length)
{
	struct client_state *state = rpc->client;
	g_autoptr(GError) error = NULL;
	cJSON *reply = rpc_body_decode(body, length, &error);
	const char *msg_id = reply ? json_string(reply, "_msg_id") : NULL;
	struct pending *pending;

	if (!msg_id) {
		g_warning("a reply is dropped: %s", error ? error->message : "it has no _msg_id");
		cJSON_Delete(reply);
		return;
	}
	/* "I live": the time limit here is on the whole of the call, so nothing changes. */
	if (cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(reply, "ending"))) {
		cJSON_Delete(reply);
		return;
	}
	pthread_mutex_lock(&state->lock);
	pending = g_hash_table_lookup(state->pending, msg_id);
	if (pending && !pending->reply) {
		pending->reply = g_steal_pointer(&reply);
		pthread_cond_broadcast(&state->changed);
	}
	pthread_mutex_unlock(&state->lock);
	if (reply)
		g_info("a reply came for a call that nobody waits for any more");
	cJSON_Delete(reply);
}

/* The keys in oslo's order. */
static cJSON *make_message(struct rpc_context *context, const char *method, const char *version,
			   cJSON *args, const char *msg_id, const char *reply_q)
{
	cJSON *message = cJSON_CreateObject();
	g_autofree char *unique_id = rpc_hex_id();

	cJSON_AddStringToObject(message, "method", method);
	cJSON_AddItemToObject(message, "args", args);
	cJSON_AddStringToObject(message, "version", version);
	if (msg_id) {
		cJSON_AddStringToObject(message, "_msg_id", msg_id);
		cJSON_AddStringToObject(message, "_reply_q", reply_q);
		cJSON_AddNullToObject(message, "_timeout");
	}
	cJSON_AddStringToObject(message, "_unique_id", unique_id);
	rpc_context_attach(message, context, NULL);
	return message;
}

static int wait_for_reply(struct client_state *state, struct pending *pending, gint64 deadline_us)
{
	struct timespec deadline = {deadline_us / G_USEC_PER_SEC,
				    (deadline_us % G_USEC_PER_SEC) * 1000};
	int rc = 0;

	while (!pending->reply && rc == 0)
		rc = pthread_cond_clockwait(&state->changed, &state->lock, CLOCK_MONOTONIC,
					    &deadline);
	return pending->reply ? 0 : -1;
}

cJSON *rpc_call(struct rpc *rpc, const char *topic, struct rpc_context *context, const char *method,
		const char *version, cJSON *args, unsigned timeout_s, GError **error)
{
	struct client_state *state = rpc->client;
	struct pending pending = {NULL};
	g_autofree char *msg_id = rpc_hex_id();
	struct outgoing_message outgoing = {
		.exchange = rpc->config->control_exchange,
		.key = topic,
		.mandatory = true,
		.retry_unroutable = true,
	};
	gint64 deadline;
	cJSON *message, *failure, *result = NULL;
	int rc;

	if (timeout_s == 0)
		timeout_s = rpc->config->response_timeout_s;
	deadline = g_get_monotonic_time() + (gint64)timeout_s * G_USEC_PER_SEC;
	outgoing.timeout_s = timeout_s;
	outgoing.expiration_ms = timeout_s * 1000;
	message = make_message(context, method, version, args, msg_id, state->reply_queue);
	outgoing.body = rpc_body_encode(message);
	cJSON_Delete(message);

	/* The reply needs its queue. */
	consumer_want(rpc->consumer, CHANNEL_REPLY, true);
	if (!consumer_wait(rpc->consumer, CHANNEL_REPLY, true, deadline)) {
		cJSON_free(outgoing.body);
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "calling %s: no reply can come, for the broker was not reached in %u s",
			    method, timeout_s);
		return NULL;
	}
	pthread_mutex_lock(&state->lock);
	g_hash_table_insert(state->pending, msg_id, &pending);
	pthread_mutex_unlock(&state->lock);
	rc = publisher_send(rpc->publisher, &outgoing, true, error);
	pthread_mutex_lock(&state->lock);
	if (rc == 0 && wait_for_reply(state, &pending, deadline) < 0) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_TIMEOUT, "%s did not answer in %u s", topic,
			    timeout_s);
		rc = -1;
	}
	g_hash_table_remove(state->pending, msg_id);
	pthread_mutex_unlock(&state->lock);
	if (rc < 0) {
		cJSON_Delete(pending.reply);
		g_prefix_error(error, "calling %s: ", method);
		return NULL;
	}
	failure = cJSON_GetObjectItemCaseSensitive(pending.reply, "failure");
	if (failure && !cJSON_IsNull(failure)) {
		g_propagate_error(error, rpc_failure_decode(failure));
	} else {
		result = cJSON_DetachItemFromObjectCaseSensitive(pending.reply, "result");
		if (!result)
			result = cJSON_CreateNull();
	}
	cJSON_Delete(pending.reply);
	return result;
}

int rpc_cast(struct rpc *rpc, const char *topic, struct rpc_context *context, const char *method,
	     const char *version, cJSON *args, GError **error)
{
	cJSON *message = make_message(context, method, version, args, NULL, NULL);
	char *body = rpc_body_encode(message);
	int rc = rpc_publish_body(rpc, topic, body, error);

	cJSON_Delete(message);
	cJSON_free(body);
	return rc;
}

int rpc_publish_body(struct rpc *rpc, const char *topic, const char *body, GError **error)
{
	struct outgoing_message outgoing = {
		.exchange = rpc->config->control_exchange,
		.key = topic,
		.mandatory = true,
		.timeout_s = rpc->config->response_timeout_s,
	};
	size_t size = strlen(body) + 1;

	outgoing.body = cJSON_malloc(size);
	memcpy(outgoing.body, body, size);
	return publisher_send(rpc->publisher, &outgoing, true, error);
}
