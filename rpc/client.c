/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls to other services, and their replies.
 */
#include "rpc/client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "rpc/amqp/declarations.h"
#include "rpc/amqp/publisher.h"
#include "rpc/amqp/topology.h"
#include "rpc/base.h"
#include "rpc/content.h"
#include "rpc/context.h"
#include "rpc/failure.h"
#include "rpc/handle.h"
#include "rpc/json.h"

/* A call that waits for its reply; on the caller's stack. */
struct pending_call {
	cJSON *reply; /* the final reply; NULL: not received yet */
};

struct rpc_client {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	char *reply_queue;   /* written only by the consumer's thread */
	GHashTable *pending; /* _msg_id -> struct pending_call */
	bool calls_ended;

	atomic_int answered; /* see rpc_client_answered */

	/* Used by the consumer's thread. */
	unsigned reply_number; /* of the queue's name */
	bool reply_used;       /* it was consumed */
};

/* Keeps the name across connections, because replies may wait in the queue. Only when the broker
 * refuses the queue, the next one gets another name; calls under way then get no reply. */
static void rename_reply_queue(struct rpc_client *client, const struct rpc_config *config)
{
	pthread_mutex_lock(&client->lock);
	g_free(client->reply_queue);
	client->reply_queue = declarations_reply_queue(config, ++client->reply_number);
	client->reply_used = false;
	pthread_mutex_unlock(&client->lock);
}

struct rpc_client *rpc_client_new(const struct rpc_config *config)
{
	struct rpc_client *client = g_new0(struct rpc_client, 1);

	client->reply_number = 1;
	client->answered = -1;
	client->reply_queue = declarations_reply_queue(config, client->reply_number);
	client->pending = g_hash_table_new(g_str_hash, g_str_equal);
	pthread_mutex_init(&client->lock, NULL);
	pthread_cond_init(&client->changed, NULL);
	return client;
}

void rpc_client_free(struct rpc_client *client)
{
	if (!client)
		return;
	g_hash_table_unref(client->pending);
	pthread_cond_destroy(&client->changed);
	pthread_mutex_destroy(&client->lock);
	g_free(client->reply_queue);
	g_free(client);
}

static enum broker_result subscribe_replies(struct broker_connection *connection,
					    amqp_channel_t channel, void *opaque, GError **error)
{
	struct rpc *rpc = opaque;
	struct rpc_client *client = rpc->client;
	const struct declaration_conditions conditions = {atomic_load(&rpc->transient_denied),
							  client->reply_used};
	g_autoptr(GPtrArray) declarations =
		declarations_of_replies(rpc->config, client->reply_queue, conditions);
	enum broker_result result = topology_declare(connection, channel, declarations, error);

	if (result != BROKER_OK && broker_denied_transient(connection))
		atomic_store(&rpc->transient_denied, true);
	if (result == BROKER_OK)
		client->reply_used = true;
	if (result == BROKER_CHANNEL_CLOSED)
		rename_reply_queue(client, rpc->config);
	return result;
}

const struct consumer_channel_ops rpc_client_channel = {
	.subscribe = subscribe_replies,
	.deliver = rpc_client_deliver,
};

static cJSON *decode_reply(struct rpc *rpc, const struct delivery *delivery)
{
	g_autoptr(GError) error = NULL;
	struct content content;
	cJSON *reply = content_decode(delivery, &content, &error);

	content_clear(&content);
	if (!reply) {
		if (g_error_matches(error, RPC_ERROR, RPC_ERROR_ENCODING))
			atomic_fetch_add(&rpc->unsupported, 1);
		g_warning("dropping a reply: %s", error->message);
	} else if (!json_string(reply, "_msg_id")) {
		g_warning("dropping a reply: it has no _msg_id");
		g_clear_pointer(&reply, cJSON_Delete);
	}
	return reply;
}

void rpc_client_deliver(const struct delivery *delivery, void *opaque)
{
	struct rpc *rpc = opaque;
	struct rpc_client *client = rpc->client;
	cJSON *reply = decode_reply(rpc, delivery);
	struct pending_call *pending;

	if (!reply)
		return;
	/* A heartbeat. The time limit here is for the whole call, so it has no effect. */
	if (cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(reply, "ending"))) {
		cJSON_Delete(reply);
		return;
	}
	pthread_mutex_lock(&client->lock);
	pending = g_hash_table_lookup(client->pending, json_string(reply, "_msg_id"));
	if (pending && !pending->reply) {
		pending->reply = g_steal_pointer(&reply);
		pthread_cond_broadcast(&client->changed);
	}
	pthread_mutex_unlock(&client->lock);
	if (reply)
		g_info("dropping a reply: no call waits for it any more");
	cJSON_Delete(reply);
}

/* The body of a call, with its keys in oslo's order. Takes ownership of `args`. */
static char *encode_call(struct rpc_context *context, const char *method, const char *version,
			 cJSON *args, const char *msg_id, const char *reply_queue)
{
	cJSON *message = cJSON_CreateObject();
	g_autofree char *unique_id = rpc_hex_id();
	char *body;

	cJSON_AddStringToObject(message, "method", method);
	cJSON_AddItemToObject(message, "args", args);
	cJSON_AddStringToObject(message, "version", version);
	cJSON_AddStringToObject(message, "_msg_id", msg_id);
	cJSON_AddStringToObject(message, "_reply_q", reply_queue);
	cJSON_AddNullToObject(message, "_timeout");
	cJSON_AddStringToObject(message, "_unique_id", unique_id);
	rpc_context_attach(message, context, NULL);
	body = rpc_body_encode(message);
	cJSON_Delete(message);
	return body;
}

/* Waits for the reply until the deadline (monotonic us). The lock is held. */
static int wait_for_reply(struct rpc_client *client, const struct pending_call *pending,
			  gint64 deadline_us)
{
	struct timespec deadline = rpc_timespec(deadline_us);
	int rc = 0;

	while (!pending->reply && !client->calls_ended && rc == 0)
		rc = pthread_cond_clockwait(&client->changed, &client->lock, CLOCK_MONOTONIC,
					    &deadline);
	return pending->reply ? 0 : -1;
}

void rpc_end_calls(struct rpc *rpc)
{
	struct rpc_client *client = rpc->client;

	pthread_mutex_lock(&client->lock);
	client->calls_ended = true;
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
	consumer_end_waits(rpc->consumer);
	publisher_end_waits(rpc->publisher);
}

int rpc_client_answered(const struct rpc_client *client)
{
	return atomic_load(&client->answered);
}

static bool are_calls_ended(struct rpc_client *client)
{
	bool ended;

	pthread_mutex_lock(&client->lock);
	ended = client->calls_ended;
	pthread_mutex_unlock(&client->lock);
	return ended;
}

/* Takes ownership of the reply; returns its result, or sets an error from its failure. */
static cJSON *read_result(cJSON *reply, GError **error)
{
	const cJSON *failure = cJSON_GetObjectItemCaseSensitive(reply, "failure");
	cJSON *result = NULL;

	if (failure && !cJSON_IsNull(failure)) {
		g_propagate_error(error, rpc_failure_decode(failure));
	} else {
		result = cJSON_DetachItemFromObjectCaseSensitive(reply, "result");
		if (!result)
			result = cJSON_CreateNull();
	}
	cJSON_Delete(reply);
	return result;
}

cJSON *rpc_call(struct rpc *rpc, const char *topic, struct rpc_context *context, const char *method,
		const char *version, cJSON *args, unsigned timeout_s, GError **error)
{
	struct rpc_client *client = rpc->client;
	struct pending_call pending = {NULL};
	g_autofree char *msg_id = rpc_hex_id();
	struct outgoing_message message = {
		.exchange = rpc->config->control_exchange,
		.key = topic,
		.mandatory = true,
		.retry_unroutable = true,
	};
	gint64 deadline;
	int rc;

	if (timeout_s == 0)
		timeout_s = rpc->config->response_timeout_s;
	deadline = g_get_monotonic_time() + (gint64)timeout_s * G_USEC_PER_SEC;
	message.timeout_s = timeout_s;
	message.deadline = deadline;
	message.expiration_ms = timeout_s * 1000;

	/* The reply queue must exist before the call is published. */
	consumer_want(rpc->consumer, CONSUMER_REPLIES, true);
	if (!consumer_wait(rpc->consumer, CONSUMER_REPLIES, true, deadline)) {
		cJSON_Delete(args);
		if (!are_calls_ended(client))
			atomic_store(&client->answered, 0);
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "calling %s: cannot receive the reply: the broker could not be reached "
			    "in %u s",
			    method, timeout_s);
		return NULL;
	}
	pthread_mutex_lock(&client->lock);
	message.body = encode_call(context, method, version, args, msg_id, client->reply_queue);
	g_hash_table_insert(client->pending, msg_id, &pending);
	pthread_mutex_unlock(&client->lock);
	rc = publisher_send(rpc->publisher, &message, true, error);
	pthread_mutex_lock(&client->lock);
	if (rc == 0 && wait_for_reply(client, &pending, deadline) < 0) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_TIMEOUT, "%s did not answer in %u s", topic,
			    timeout_s);
		rc = -1;
	}
	g_hash_table_remove(client->pending, msg_id);
	pthread_mutex_unlock(&client->lock);
	if (rc == 0 || !are_calls_ended(client))
		atomic_store(&client->answered, rc == 0);
	if (rc == 0)
		return read_result(pending.reply, error);
	cJSON_Delete(pending.reply);
	if (are_calls_ended(client)) {
		g_clear_error(error);
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
				    "novasnapd is stopping and does not wait for the reply");
	}
	g_prefix_error(error, "calling %s: ", method);
	return NULL;
}

int rpc_publish_body(struct rpc *rpc, const char *topic, const char *body, GError **error)
{
	struct outgoing_message message = {
		.exchange = rpc->config->control_exchange,
		.key = topic,
		.mandatory = true,
		.timeout_s = rpc->config->response_timeout_s,
	};
	size_t size = strlen(body) + 1;

	message.body = cJSON_malloc(size);
	memcpy(message.body, body, size);
	return publisher_send(rpc->publisher, &message, true, error);
}
