/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server: decodes incoming requests, drops duplicates, and passes each to its method as
 * oslo_messaging.rpc.dispatcher does.
 */
#include "rpc/server.h"

#include <stdatomic.h>
#include <string.h>

#include "rpc/amqp/topology.h"
#include "rpc/base.h"
#include "rpc/content.h"
#include "rpc/handle.h"
#include "rpc/inflight.h"
#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/rejected.h"
#include "rpc/request.h"
#include "rpc/version.h"

#define DISPATCHER_MODULE "oslo_messaging.rpc.dispatcher"
#define UNSUBSCRIBE_TIMEOUT_S 5

enum server_state { SERVER_STOPPED, SERVER_RUNNING, SERVER_PAUSED };

struct rpc_server {
	char *own_queue;    /* "compute.host" */
	char *fanout_queue; /* "compute_fanout_<hex digits>"; used by the consumer's thread */
	atomic_int state;   /* enum server_state */
	struct rpc_server_ops ops; /* written while the server is stopped */
};

/* Chooses a new name: the broker may refuse a queue because of what became of an earlier one with
 * its name. */
static void set_fanout_queue(struct rpc_server *server, const struct rpc_config *config)
{
	g_autofree char *id = rpc_hex_id();

	g_free(server->fanout_queue);
	server->fanout_queue = g_strdup_printf("%s_fanout_%s", config->topic, id);
}

struct rpc_server *rpc_server_new(const struct rpc_config *config)
{
	struct rpc_server *server = g_new0(struct rpc_server, 1);

	server->own_queue = g_strdup_printf("%s.%s", config->topic, config->host);
	set_fanout_queue(server, config);
	return server;
}

void rpc_server_free(struct rpc_server *server)
{
	if (!server)
		return;
	g_free(server->own_queue);
	g_free(server->fanout_queue);
	g_free(server);
}

/* The queues of an oslo server (oslo_messaging._drivers.amqpdriver.AMQPDriverBase.listen). Each
 * consumer's tag is the name of its queue. */
static enum broker_result subscribe_server(struct broker_connection *connection,
					   amqp_channel_t channel, void *opaque, GError **error)
{
	const struct rpc *rpc = opaque;
	const struct rpc_config *config = rpc->config;
	const char *queues[] = {config->topic, rpc->server->own_queue, rpc->server->fanout_queue};
	size_t count = config->stream_fanout ? 2 : 3;
	enum broker_result result;
	bool consumed = false;

	result = topology_declare_exchange(connection, channel, config, error);
	if (result == BROKER_OK)
		result = topology_declare_topic(connection, channel, config, config->topic, error);
	if (result == BROKER_OK)
		result = topology_declare_topic(connection, channel, config, rpc->server->own_queue,
						error);
	if (result == BROKER_OK && !config->stream_fanout)
		result = topology_declare_fanout(connection, channel, config,
						 rpc->server->fanout_queue, error);
	if (result == BROKER_OK)
		result = topology_set_prefetch(connection, channel, config->prefetch, error);
	for (size_t i = 0; i < count && result == BROKER_OK; i++) {
		result = topology_consume(connection, channel, queues[i], queues[i], false, error);
		consumed = consumed || result == BROKER_OK;
	}
	if (result != BROKER_CHANNEL_CLOSED)
		return result;
	set_fanout_queue(rpc->server, config);
	/* Messages of the first queues may have been delivered on the closed channel. */
	return consumed ? BROKER_LOST : result;
}

static enum broker_result unsubscribe_server(struct broker_connection *connection,
					     amqp_channel_t channel, void *opaque, GError **error)
{
	const struct rpc *rpc = opaque;
	const char *tags[] = {rpc->config->topic, rpc->server->own_queue,
			      rpc->server->fanout_queue};
	size_t count = rpc->config->stream_fanout ? 2 : 3;
	enum broker_result result = BROKER_OK;

	for (size_t i = 0; i < count && result == BROKER_OK; i++)
		result = topology_cancel(connection, channel, tags[i], error);
	return result;
}

const struct consumer_channel_ops rpc_server_channel = {
	.subscribe = subscribe_server,
	.unsubscribe = unsubscribe_server,
	.deliver = rpc_server_deliver,
};

static const struct rpc_method *find_method(const struct rpc_server_ops *ops, const char *name)
{
	const struct rpc_method *method;

	for (method = ops->methods; method->name; method++) {
		if (g_str_equal(method->name, name))
			return method;
	}
	return NULL;
}

/* Answers a call with one of the dispatcher's exceptions; a cast is only dropped. */
static void refuse_request(struct rpc_request *request, const char *class_name, const char *message)
{
	if (!rpc_request_is_call(request))
		g_warning("dropping a cast: %s", message);
	rpc_request_fail(request, class_name, DISPATCHER_MODULE, message);
	rpc_request_ack(request);
	rpc_request_free(request);
}

static void dispatch_request(const struct rpc_server_ops *ops, struct rpc_request *request)
{
	const char *name = rpc_request_method(request);
	const char *version = rpc_request_version(request);
	const struct rpc_method *method = find_method(ops, name);
	g_autofree char *reason = NULL;

	/* oslo's dispatcher reports an unknown namespace as an unsupported version. */
	if (rpc_request_has_namespace(request) || !rpc_version_is_served(ops->versions, version)) {
		reason = g_strdup_printf("Endpoint does not support RPC version %s. "
					 "Attempted method: %s",
					 version, name);
		refuse_request(request, "UnsupportedVersion", reason);
	} else if (method) {
		method->handle(request, method->what, ops->opaque);
	} else if (rpc_request_is_call(request) || !ops->unhandled) {
		reason = g_strdup_printf("Endpoint does not support RPC method %s", name);
		refuse_request(request, "NoSuchMethod", reason);
	} else {
		ops->unhandled(name, request, ops->opaque);
		rpc_request_ack(request);
		rpc_request_free(request);
	}
}

/* These texts are stored, quoted in an answer, or used as names at the broker. */
static int check_name_lengths(const cJSON *message, GError **error)
{
	static const char *const names[] = {"method", "version", "_unique_id", "_msg_id",
					    "_reply_q"};

	if (!json_string(message, "method")) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "the message has no method");
		return -1;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		const char *text = json_string(message, names[i]);

		if (!text || strlen(text) <= RPC_MAX_NAME_BYTES)
			continue;
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "the message's %s has %zu bytes, over the limit of %zu", names[i],
			    strlen(text), RPC_MAX_NAME_BYTES);
		return -1;
	}
	return 0;
}

static void reject_delivery(struct rpc *rpc, const struct delivery *delivery,
			    const struct content *content, const GError *why)
{
	atomic_fetch_add(&rpc->rejected, 1);
	if (g_error_matches(why, RPC_ERROR, RPC_ERROR_ENCODING))
		atomic_fetch_add(&rpc->unsupported, 1);
	g_warning("rejecting a message: %s", why->message);
	if (content->text)
		rejected_keep(rpc->config, content->text, content->length, why->message);
	else
		rejected_keep_unreadable(rpc->config, delivery, why->message);
	consumer_ack(rpc->consumer, &delivery->tag);
}

static cJSON *decode_request(struct rpc *rpc, const struct delivery *delivery)
{
	g_autoptr(GError) error = NULL;
	struct content content;
	cJSON *message = content_decode(delivery, &content, &error);

	if (message && check_name_lengths(message, &error) < 0)
		g_clear_pointer(&message, cJSON_Delete);
	if (!message)
		reject_delivery(rpc, delivery, &content, error);
	content_clear(&content);
	return message;
}

void rpc_server_deliver(const struct delivery *delivery, void *opaque)
{
	struct rpc *rpc = opaque;
	cJSON *message = decode_request(rpc, delivery);
	const char *unique_id;
	uint64_t number;

	if (!message)
		return;
	unique_id = json_string(message, "_unique_id");
	switch (inflight_open(rpc->inflight, unique_id, &delivery->tag, &number)) {
	case INFLIGHT_NEW:
		dispatch_request(&rpc->server->ops, rpc_request_new(rpc, message, number));
		return;
	case INFLIGHT_DUPLICATE:
		consumer_ack(rpc->consumer, &delivery->tag);
		break;
	case INFLIGHT_REDELIVERED:
	default:
		break;
	}
	g_info("dropping a duplicate of message %.64s", unique_id);
	cJSON_Delete(message);
}

int rpc_server_start(struct rpc *rpc, const struct rpc_server_ops *ops, GError **error)
{
	struct rpc_server *server = rpc->server;

	if (atomic_load(&server->state) != SERVER_STOPPED) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_FAILED,
				    "the RPC server has already been started");
		return -1;
	}
	server->ops = *ops;
	atomic_store(&server->state, SERVER_RUNNING);
	consumer_want(rpc->consumer, CONSUMER_SERVER, true);
	return 0;
}

/* Stops consuming, and waits until the broker has confirmed it. */
static void stop_consuming(struct rpc *rpc)
{
	consumer_want(rpc->consumer, CONSUMER_SERVER, false);
	if (!consumer_wait(rpc->consumer, CONSUMER_SERVER, false,
			   g_get_monotonic_time() + UNSUBSCRIBE_TIMEOUT_S * G_USEC_PER_SEC))
		g_warning("the broker did not confirm the end of consuming within %d s",
			  UNSUBSCRIBE_TIMEOUT_S);
}

void rpc_server_pause(struct rpc *rpc)
{
	if (atomic_load(&rpc->server->state) != SERVER_RUNNING)
		return;
	stop_consuming(rpc);
	atomic_store(&rpc->server->state, SERVER_PAUSED);
}

int rpc_server_resume(struct rpc *rpc, GError **error)
{
	if (atomic_load(&rpc->server->state) != SERVER_PAUSED) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_FAILED,
				    "the RPC server is not paused");
		return -1;
	}
	atomic_store(&rpc->server->state, SERVER_RUNNING);
	consumer_want(rpc->consumer, CONSUMER_SERVER, true);
	return 0;
}

void rpc_server_stop(struct rpc *rpc)
{
	if (atomic_load(&rpc->server->state) == SERVER_RUNNING)
		stop_consuming(rpc);
	atomic_store(&rpc->server->state, SERVER_STOPPED);
}

unsigned rpc_rejected_count(const struct rpc *rpc)
{
	return atomic_load(&rpc->rejected);
}

unsigned rpc_unsupported_count(const struct rpc *rpc)
{
	return atomic_load(&rpc->unsupported);
}
