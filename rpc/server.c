/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server: decodes incoming requests, drops duplicates, and passes each to its method as
 * oslo_messaging.rpc.dispatcher does.
 */
#include "rpc/server.h"

#include <stdatomic.h>
#include <string.h>

#include "rpc/content.h"
#include "rpc/forwarding.h"
#include "rpc/handle.h"
#include "rpc/inflight.h"
#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/rejected.h"
#include "rpc/request.h"
#include "rpc/served-topics.h"
#include "rpc/unhandled.h"
#include "rpc/version.h"

#define DISPATCHER_MODULE "oslo_messaging.rpc.dispatcher"
#define UNSUBSCRIBE_TIMEOUT_S 5

enum server_state { SERVER_STOPPED, SERVER_RUNNING, SERVER_PAUSED };

struct rpc_server {
	atomic_int state;	   /* enum server_state */
	struct rpc_server_ops ops; /* written while the server is stopped */
};

struct rpc_server *rpc_server_new(void)
{
	return g_new0(struct rpc_server, 1);
}

void rpc_server_free(struct rpc_server *server)
{
	g_free(server);
}

const struct consumer_channel_ops rpc_server_channel = {
	.subscribe = served_topics_subscribe,
	.unsubscribe = served_topics_unsubscribe,
	.cancelled = served_topics_forget_position,
	.leave = served_topics_leave,
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

/* Answers a call with one of the dispatcher's exceptions; a cast is moved, or only dropped. */
static void refuse_request(struct rpc *rpc, const struct delivery *delivery,
			   struct rpc_request *request, const char *class_name, const char *message)
{
	const struct rpc_server_ops *ops = &rpc->server->ops;
	bool is_cast = !rpc_request_is_call(request);
	bool moved = is_cast && unhandled_can_move(rpc, delivery) &&
		     !served_topics_is_fanout(rpc->topics, delivery);

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
	    unhandled_can_move(rpc, delivery) && !served_topics_is_fanout(rpc->topics, delivery)) {
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
	const struct delivery_tag tag = served_topics_note_position(rpc->topics, delivery);
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
	if (forwarding_is_on(rpc) || !served_topics_serve_alt(rpc->topics) ||
	    atomic_load(&rpc->server->state) != SERVER_RUNNING)
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
