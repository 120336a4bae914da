/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request that this server received, its ack and its answer.
 */
#include "rpc/request.h"

#include <string.h>

#include "rpc/context.h"
#include "rpc/failure.h"
#include "rpc/forwarding.h"
#include "rpc/handle.h"
#include "rpc/inflight.h"
#include "rpc/json.h"
#include "rpc/rejected.h"
#include "rpc/reply.h"

#define TIMEOUT_MAX_S (24 * 3600)

struct rpc_request {
	struct rpc *rpc;   /* NULL: not from a broker */
	uint64_t number;   /* in rpc->inflight */
	cJSON *message;	   /* without its context */
	cJSON *empty_args; /* used as args if the message has none */
	struct rpc_context *context;
	const char *msg_id;	 /* in the message; NULL: a cast */
	const char *reply_queue; /* in the message; NULL: a cast */
	bool answered;
};

/* In seconds; 0 if the caller sent none. */
static unsigned call_timeout(const struct rpc_request *request)
{
	int64_t timeout;

	if (!json_int64(request->message, "_timeout", &timeout))
		return 0;
	return (unsigned)CLAMP(timeout, 0, TIMEOUT_MAX_S);
}

struct rpc_request *rpc_request_new(struct rpc *rpc, cJSON *message, uint64_t number)
{
	struct rpc_request *request = g_new0(struct rpc_request, 1);

	request->rpc = rpc;
	request->number = number;
	request->context = rpc_context_detach(message);
	request->message = message;
	request->msg_id = json_string(message, "_msg_id");
	request->reply_queue = json_string(message, "_reply_q");
	if (!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(message, "args")))
		request->empty_args = cJSON_CreateObject();
	if (rpc_request_is_call(request))
		inflight_add_call(rpc->inflight, number, call_timeout(request),
				  request->reply_queue, request->msg_id);
	return request;
}

struct rpc_request *rpc_request_new_local(cJSON *message)
{
	return rpc_request_new(NULL, message, 0);
}

void rpc_request_free(struct rpc_request *request)
{
	struct delivery_tag tag;

	if (!request)
		return;
	if (request->rpc) {
		/* An exclusive server leaves it unacked at the broker. */
		if (inflight_close(request->rpc->inflight, request->number, false, &tag) &&
		    forwarding_is_on(request->rpc))
			forwarding_requeue(request->rpc, &tag);
		inflight_remove_call(request->rpc->inflight, request->number);
	}
	rpc_context_free(request->context);
	cJSON_Delete(request->message);
	cJSON_Delete(request->empty_args);
	g_free(request);
}

bool rpc_request_has_namespace(const struct rpc_request *request)
{
	const cJSON *namespace = cJSON_GetObjectItemCaseSensitive(request->message, "namespace");

	return namespace && !cJSON_IsNull(namespace);
}

const char *rpc_request_method(const struct rpc_request *request)
{
	return json_string(request->message, "method");
}

const char *rpc_request_version(const struct rpc_request *request)
{
	const char *version = json_string(request->message, "version");

	return version ? version : "1.0";
}

const char *rpc_request_unique_id(const struct rpc_request *request)
{
	return json_string(request->message, "_unique_id");
}

cJSON *rpc_request_args(const struct rpc_request *request)
{
	return request->empty_args ? request->empty_args
				   : cJSON_GetObjectItemCaseSensitive(request->message, "args");
}

struct rpc_context *rpc_request_context(const struct rpc_request *request)
{
	return request->context;
}

bool rpc_request_is_call(const struct rpc_request *request)
{
	return request->rpc && request->msg_id && request->reply_queue;
}

void rpc_request_ack(struct rpc_request *request)
{
	struct delivery_tag tag;

	if (request->rpc && inflight_close(request->rpc->inflight, request->number, true, &tag))
		forwarding_ack(request->rpc, &tag);
}

bool rpc_request_ack_surely(struct rpc_request *request)
{
	struct delivery_tag tag;

	if (!request->rpc || !forwarding_is_on(request->rpc)) {
		rpc_request_ack(request);
		return true;
	}
	if (!inflight_get_tag(request->rpc->inflight, request->number, &tag))
		return true;
	if (forwarding_ack_surely(request->rpc, &tag)) {
		(void)inflight_close(request->rpc->inflight, request->number, true, &tag);
		return true;
	}
	/* It may have arrived again meanwhile. */
	rpc_request_requeue(request);
	return false;
}

void rpc_request_requeue(struct rpc_request *request)
{
	struct delivery_tag tag;

	if (request->rpc && inflight_close(request->rpc->inflight, request->number, false, &tag))
		forwarding_requeue(request->rpc, &tag);
}

/* Takes ownership of `result` and `failure`. */
static void answer_call(struct rpc_request *request, cJSON *result, char *failure)
{
	if (!rpc_request_is_call(request) || request->answered) {
		cJSON_Delete(result);
		cJSON_free(failure);
		return;
	}
	request->answered = true;
	/* First, so that no heartbeat follows the answer. */
	inflight_remove_call(request->rpc->inflight, request->number);
	rpc_reply_send(request->rpc->publisher, request->reply_queue, request->msg_id, result,
		       failure);
}

void rpc_request_reply(struct rpc_request *request, cJSON *result)
{
	answer_call(request, result, NULL);
}

void rpc_request_fail(struct rpc_request *request, const char *class_name, const char *module,
		      const char *message)
{
	answer_call(request, NULL, rpc_failure_encode(class_name, module, message));
}

char *rpc_request_text(const struct rpc_request *request)
{
	cJSON *copy = cJSON_Duplicate(request->message, true);
	char *text;

	rpc_context_attach(copy, request->context, NULL);
	rpc_body_redact(copy);
	text = json_print(copy);
	cJSON_Delete(copy);
	return text;
}

void rpc_request_reject(struct rpc_request *request, const char *reason)
{
	g_autofree char *full_reason =
		g_strdup_printf("%s: %s", rpc_request_method(request), reason);
	char *body;

	if (request->rpc && forwarding_is_on(request->rpc)) {
		g_warning("leaving a request to nova-compute: %s", full_reason);
		rpc_request_requeue(request);
		rpc_request_free(request);
		return;
	}
	rpc_context_attach(request->message, request->context, NULL);
	body = json_print(request->message);
	if (request->rpc) {
		atomic_fetch_add(&request->rpc->rejected, 1);
		g_warning("rejecting a request: %s", full_reason);
		rejected_keep(request->rpc->config, body, strlen(body), full_reason);
	} else {
		g_warning("cannot use the request: %s", full_reason);
	}
	cJSON_free(body);
	rpc_request_fail(request, "ValueError", "builtins", full_reason);
	rpc_request_ack(request);
	rpc_request_free(request);
}
