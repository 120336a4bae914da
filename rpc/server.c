/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server: decodes incoming requests, drops duplicates, and passes each to its method as
 * oslo_messaging.rpc.dispatcher does.
 */
#include "rpc/server.h"

#include <stdatomic.h>
#include <string.h>

#include "rpc/amqp/declarations.h"
#include "rpc/amqp/topology.h"
#include "rpc/content.h"
#include "rpc/forwarding.h"
#include "rpc/handle.h"
#include "rpc/inflight.h"
#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/rejected.h"
#include "rpc/request.h"
#include "rpc/unhandled.h"
#include "rpc/version.h"

#define DISPATCHER_MODULE "oslo_messaging.rpc.dispatcher"
#define UNSUBSCRIBE_TIMEOUT_S 5

enum server_state { SERVER_STOPPED, SERVER_RUNNING, SERVER_PAUSED };

/* A topic that is served, and its queues. Used by the consumer's thread only, except for the
 * position. */
struct served_topic {
	const char *name;
	char *own_queue;		 /* "compute.host" */
	char *fanout_queue;		 /* its own, or the stream that all servers share */
	struct stream_position position; /* in the stream */
};

#define TOPICS_MAX 2

struct rpc_server {
	struct served_topic topics[TOPICS_MAX]; /* the second one is alt_topic */
	size_t topic_count;
	atomic_bool serves_alt; /* all topics are to be served, not only the first one */
	/* Used by the consumer's thread only. */
	size_t served_count;	/* of the topics that it consumes */
	unsigned fanout_number; /* of the names of the fanout queues */
	bool fanout_used;	/* they were consumed */

	atomic_int state;	   /* enum server_state */
	struct rpc_server_ops ops; /* written while the server is stopped */
};

/* Chooses new names: the broker may refuse a queue because of what became of an earlier one with
 * its name. */
static void set_fanout_queues(struct rpc_server *server, const struct rpc_config *config)
{
	server->fanout_number++;
	server->fanout_used = false;
	for (size_t i = 0; i < server->topic_count; i++) {
		struct served_topic *topic = &server->topics[i];

		g_free(topic->fanout_queue);
		topic->fanout_queue =
			declarations_fanout_queue(config, topic->name, server->fanout_number);
		stream_position_reset(&topic->position);
	}
}

static void add_topic(struct rpc_server *server, const struct rpc_config *config, const char *name)
{
	struct served_topic *topic = &server->topics[server->topic_count++];

	topic->name = name;
	topic->own_queue = g_strdup_printf("%s.%s", name, config->host);
}

struct rpc_server *rpc_server_new(const struct rpc_config *config)
{
	struct rpc_server *server = g_new0(struct rpc_server, 1);

	add_topic(server, config, config->topic);
	if (config->alt_topic)
		add_topic(server, config, config->alt_topic);
	set_fanout_queues(server, config);
	return server;
}

void rpc_server_free(struct rpc_server *server)
{
	if (!server)
		return;
	for (size_t i = 0; i < server->topic_count; i++) {
		g_free(server->topics[i].own_queue);
		g_free(server->topics[i].fanout_queue);
	}
	g_free(server);
}

/* The list is valid until the names of the fanout queues change. */
static GPtrArray *list_declarations(struct rpc *rpc)
{
	const struct declaration_conditions conditions = {atomic_load(&rpc->transient_denied),
							  rpc->server->fanout_used};
	struct rpc_server *server = rpc->server;
	struct declaration_topic topics[TOPICS_MAX];

	for (size_t i = 0; i < server->served_count; i++) {
		struct served_topic *topic = &server->topics[i];

		topics[i] = (struct declaration_topic){topic->name, topic->own_queue,
						       topic->fanout_queue,
						       stream_position_get(&topic->position)};
	}
	return declarations_of_server(rpc->config, topics, server->served_count, conditions);
}

/* Consuming a stream continues after this message (impl_rabbit.Consumer._callback). Returns the
 * delivery's tag. */
static struct delivery_tag note_position(struct rpc_server *server, const struct delivery *delivery)
{
	struct delivery_tag tag = delivery->tag;

	for (size_t i = 0; i < server->served_count && tag.next_offset > 0; i++) {
		if (g_strcmp0(server->topics[i].fanout_queue, delivery->consumer) != 0)
			continue;
		tag.position = &server->topics[i].position;
		stream_position_set(tag.position, tag.next_offset);
	}
	return tag;
}

/* The queues of an oslo server (oslo_messaging._drivers.amqpdriver.AMQPDriverBase.listen). */
static enum broker_result subscribe_server(struct broker_connection *connection,
					   amqp_channel_t channel, void *opaque, GError **error)
{
	struct rpc *rpc = opaque;
	struct rpc_server *server = rpc->server;
	g_autoptr(GPtrArray) declarations = NULL;
	enum broker_result result;

	server->served_count = atomic_load(&server->serves_alt) ? server->topic_count : 1;
	declarations = list_declarations(rpc);
	result = topology_declare(connection, channel, declarations, error);
	if (result != BROKER_OK && broker_denied_transient(connection))
		atomic_store(&rpc->transient_denied, true);
	if (result == BROKER_OK)
		server->fanout_used = true;
	if (result == BROKER_CHANNEL_CLOSED)
		set_fanout_queues(server, rpc->config);
	return result;
}

static enum broker_result unsubscribe_server(struct broker_connection *connection,
					     amqp_channel_t channel, void *opaque, GError **error)
{
	struct rpc *rpc = opaque;
	g_autoptr(GPtrArray) declarations = list_declarations(rpc);

	return topology_cancel(connection, channel, declarations, error);
}

/* The offsets of a new stream begin again (impl_rabbit.Consumer.reset_stream_offset). */
static void forget_position(const char *consumer, void *opaque)
{
	const struct rpc *rpc = opaque;
	struct rpc_server *server = rpc->server;

	for (size_t i = 0; i < server->served_count; i++) {
		if (g_str_equal(server->topics[i].fanout_queue, consumer))
			stream_position_reset(&server->topics[i].position);
	}
}

/* As impl_rabbit.Connection.close: only a queue with a random name would never be used again. */
static void leave_server(struct broker_connection *connection, amqp_channel_t channel, void *opaque)
{
	const struct rpc *rpc = opaque;
	const struct rpc_server *server = rpc->server;

	if (rpc->config->stream_fanout || rpc->config->queue_manager_name || !server->fanout_used)
		return;
	for (size_t i = 0; i < server->served_count; i++)
		topology_delete(connection, channel, server->topics[i].fanout_queue);
}

const struct consumer_channel_ops rpc_server_channel = {
	.subscribe = subscribe_server,
	.unsubscribe = unsubscribe_server,
	.cancelled = forget_position,
	.leave = leave_server,
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

/* Of a fanout each server has a copy of its own: a nova-compute that is away misses it as well. */
static bool is_fanout(const struct rpc_server *server, const struct delivery *delivery)
{
	for (size_t i = 0; i < server->served_count; i++) {
		if (g_strcmp0(server->topics[i].fanout_queue, delivery->consumer) == 0)
			return true;
	}
	return false;
}

/* Answers a call with one of the dispatcher's exceptions; a cast is moved, or only dropped. */
static void refuse_request(struct rpc *rpc, const struct delivery *delivery,
			   struct rpc_request *request, const char *class_name, const char *message)
{
	const struct rpc_server_ops *ops = &rpc->server->ops;
	bool is_cast = !rpc_request_is_call(request);
	bool moved =
		is_cast && unhandled_can_move(rpc, delivery) && !is_fanout(rpc->server, delivery);

	if (is_cast && ops->unhandled)
		ops->unhandled(request, moved, ops->opaque);
	else if (is_cast)
		g_warning("%s a cast: %s", moved ? "moving" : "dropping", message);
	if (moved) {
		unhandled_move(rpc, request, delivery);
		return;
	}
	rpc_request_fail(request, class_name, DISPATCHER_MODULE, message);
	rpc_request_ack(request);
	rpc_request_free(request);
}

static void dispatch_request(struct rpc *rpc, const struct delivery *delivery,
			     struct rpc_request *request)
{
	const struct rpc_server_ops *ops = &rpc->server->ops;
	const char *name = rpc_request_method(request);
	const char *version = rpc_request_version(request);
	const struct rpc_method *method = find_method(ops, name);
	g_autofree char *reason = NULL;

	/* oslo's dispatcher reports an unknown namespace as an unsupported version. */
	if (rpc_request_has_namespace(request) || !rpc_version_is_served(ops->versions, version)) {
		reason = g_strdup_printf("Endpoint does not support RPC version %s. "
					 "Attempted method: %s",
					 version, name);
		refuse_request(rpc, delivery, request, "UnsupportedVersion", reason);
	} else if (method) {
		method->handle(request, method->what, ops->opaque);
	} else {
		reason = g_strdup_printf("Endpoint does not support RPC method %s", name);
		refuse_request(rpc, delivery, request, "NoSuchMethod", reason);
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
	forwarding_ack(rpc, &delivery->tag);
}

/* NULL: it cannot be decoded. Then it is moved, or rejected. */
static cJSON *decode_request(struct rpc *rpc, const struct delivery *delivery,
			     const struct delivery_tag *tag)
{
	g_autoptr(GError) error = NULL;
	struct content content;
	cJSON *message = content_decode(delivery, &content, &error);

	if (message && check_name_lengths(message, &error) < 0)
		g_clear_pointer(&message, cJSON_Delete);
	if (!message && g_error_matches(error, RPC_ERROR, RPC_ERROR_ENCODING) &&
	    unhandled_can_move(rpc, delivery) && !is_fanout(rpc->server, delivery)) {
		g_warning("moving a message to the queue %s: %s", rpc->config->unhandled_queue,
			  error->message);
		atomic_fetch_add(&rpc->unsupported, 1);
		unhandled_move_unreadable(rpc, delivery, tag);
	} else if (!message) {
		reject_delivery(rpc, delivery, &content, error);
	}
	content_clear(&content);
	return message;
}

bool rpc_server_can_serve(const struct rpc *rpc, const cJSON *message)
{
	const struct rpc_server_ops *ops = &rpc->server->ops;
	const cJSON *namespace = cJSON_GetObjectItemCaseSensitive(message, "namespace");
	const char *version = json_string(message, "version");

	return check_name_lengths(message, NULL) == 0 && (!namespace || cJSON_IsNull(namespace)) &&
	       rpc_version_is_served(ops->versions, version ? version : "1.0") &&
	       find_method(ops, json_string(message, "method"));
}

void rpc_server_take(struct rpc *rpc, const struct delivery *delivery,
		     const struct delivery_tag *tag, cJSON *message)
{
	const char *unique_id = json_string(message, "_unique_id");
	uint64_t number;

	switch (inflight_open(rpc->inflight, unique_id, tag, &number)) {
	case INFLIGHT_NEW:
		dispatch_request(rpc, delivery, rpc_request_new(rpc, message, number));
		return;
	case INFLIGHT_DUPLICATE:
		forwarding_ack(rpc, tag);
		break;
	case INFLIGHT_REDELIVERED:
	default:
		break;
	}
	g_info("dropping a duplicate of message %.64s", unique_id);
	cJSON_Delete(message);
}

void rpc_server_deliver(const struct delivery *delivery, void *opaque)
{
	struct rpc *rpc = opaque;
	const struct delivery_tag tag = note_position(rpc->server, delivery);
	cJSON *message = decode_request(rpc, delivery, &tag);

	if (message)
		rpc_server_take(rpc, delivery, &tag, message);
}

static void start_consuming(struct rpc *rpc)
{
	if (forwarding_is_on(rpc))
		forwarding_serve(rpc, true);
	else
		consumer_want(rpc->consumer, CONSUMER_SERVER, true);
}

int rpc_server_start(struct rpc *rpc, const struct rpc_server_ops *ops, GError **error)
{
	struct rpc_server *server = rpc->server;

	if (atomic_load(&server->state) != SERVER_STOPPED) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_FAILED,
				    "the RPC server has already been started");
		return -1;
	}
	if (unhandled_start(rpc, error) < 0)
		return -1;
	server->ops = *ops;
	atomic_store(&server->state, SERVER_RUNNING);
	start_consuming(rpc);
	return 0;
}

/* Stops consuming, and waits until the broker has confirmed it. */
static void stop_consuming(struct rpc *rpc)
{
	if (forwarding_is_on(rpc)) {
		forwarding_serve(rpc, false);
		return;
	}
	consumer_want(rpc->consumer, CONSUMER_SERVER, false);
	if (!consumer_wait(rpc->consumer, CONSUMER_SERVER, false,
			   g_get_monotonic_time() + UNSUBSCRIBE_TIMEOUT_S * G_USEC_PER_SEC))
		g_warning("the broker did not confirm the end of consuming within %d s",
			  UNSUBSCRIBE_TIMEOUT_S);
}

void rpc_server_serve_alt(struct rpc *rpc)
{
	struct rpc_server *server = rpc->server;

	if (forwarding_is_on(rpc) || atomic_exchange(&server->serves_alt, true) ||
	    atomic_load(&server->state) != SERVER_RUNNING)
		return;
	stop_consuming(rpc);
	start_consuming(rpc);
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
	start_consuming(rpc);
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
