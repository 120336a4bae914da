/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request that came, its ack and its answer.
 */
#include <string.h>

#include "rpc/internal.h"
#include "rpc/json.h"

#define REPLY_TIMEOUT_S 60 /* kombu_missing_consumer_retry_timeout */
#define TIMEOUT_MAX_S (24 * 3600)

struct rpc_request {
	struct rpc *rpc;
	cJSON *message; /* less its context */
	cJSON *empty;	/* stands for args where there are none */
	struct rpc_context *context;
	const char *msg_id;  /* NULL: a cast */
	const char *reply_q; /* NULL: a cast */
	bool answered;
};

struct rpc_request *request_new(struct rpc *rpc, cJSON *message)
{
	struct rpc_request *request = g_new0(struct rpc_request, 1);

	request->rpc = rpc;
	request->context = rpc_context_detach(message);
	request->message = message;
	request->msg_id = json_string(message, "_msg_id");
	request->reply_q = json_string(message, "_reply_q");
	if (!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(message, "args")))
		request->empty = cJSON_CreateObject();
	return request;
}

struct rpc_request *rpc_request_new_local(cJSON *message)
{
	return request_new(NULL, message);
}

void rpc_request_free(struct rpc_request *request)
{
	struct delivery delivery;

	if (!request)
		return;
	if (request->rpc) {
		(void)server_close_request(request->rpc, request, false, &delivery);
		server_remove_call(request->rpc, request);
	}
	rpc_context_free(request->context);
	cJSON_Delete(request->message);
	cJSON_Delete(request->empty);
	g_free(request);
}

cJSON *request_message(const struct rpc_request *request)
{
	return request->message;
}

int64_t request_timeout(const struct rpc_request *request)
{
	int64_t timeout;

	if (!json_int64(request->message, "_timeout", &timeout))
		return 0;
	return CLAMP(timeout, 0, TIMEOUT_MAX_S);
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
	return request->empty ? request->empty
			      : cJSON_GetObjectItemCaseSensitive(request->message, "args");
}

struct rpc_context *rpc_request_context(const struct rpc_request *request)
{
	return request->context;
}

bool rpc_request_is_call(const struct rpc_request *request)
{
	return request->rpc && request->msg_id && request->reply_q;
}

void rpc_request_ack(struct rpc_request *request)
{
	struct delivery delivery;

	if (request->rpc && server_close_request(request->rpc, request, true, &delivery))
		consumer_ack(request->rpc->consumer, &delivery);
}

void request_send(struct rpc_request *request, cJSON *result, char *failure, bool ending)
{
	cJSON *message = cJSON_CreateObject();
	g_autofree char *unique_id = rpc_hex_id();
	g_autoptr(GError) error = NULL;
	struct outgoing_message outgoing = {
		.exchange = "",
		.key = request->reply_q,
		.mandatory = true,
		.retry_unroutable = ending,
		.transient = !ending,
		.timeout_s = REPLY_TIMEOUT_S,
	};

	cJSON_AddItemToObject(message, "result", result ? result : cJSON_CreateNull());
	if (failure)
		cJSON_AddStringToObject(message, "failure", failure);
	else
		cJSON_AddNullToObject(message, "failure");
	cJSON_AddBoolToObject(message, "ending", ending);
	cJSON_AddStringToObject(message, "_msg_id", request->msg_id);
	cJSON_AddStringToObject(message, "_unique_id", unique_id);
	outgoing.body = rpc_body_encode(message);
	cJSON_Delete(message);
	cJSON_free(failure);
	if (publisher_send(request->rpc->publisher, &outgoing, false, &error) < 0)
		g_warning("the answer to a call is lost: %s", error->message);
}

static void answer(struct rpc_request *request, cJSON *result, char *failure)
{
	if (!rpc_request_is_call(request) || request->answered) {
		cJSON_Delete(result);
		cJSON_free(failure);
		return;
	}
	request->answered = true;
	server_remove_call(request->rpc, request);
	request_send(request, result, failure, true);
}

void rpc_request_reply(struct rpc_request *request, cJSON *result)
{
	answer(request, result, NULL);
}

void rpc_request_fail(struct rpc_request *request, const char *class_name, const char *module,
		      const char *message)
{
	answer(request, NULL, rpc_failure_encode(class_name, module, message));
}

char *rpc_request_text(const struct rpc_request *request, cJSON *instance)
{
	cJSON *copy = cJSON_Duplicate(request->message, true);
	char *text;

	if (instance &&
	    !cJSON_ReplaceItemInObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(copy, "args"),
						    "instance", instance))
		cJSON_Delete(instance);
	rpc_context_attach(copy, request->context, NULL);
	rpc_body_redact(copy);
	text = json_print(copy);
	cJSON_Delete(copy);
	return text;
}

void rpc_request_reject(struct rpc_request *request, const char *reason)
{
	g_autofree char *why = g_strdup_printf("%s: %s", rpc_request_method(request), reason);
	char *body;

	rpc_context_attach(request->message, request->context, NULL);
	body = json_print(request->message);

	if (request->rpc) {
		g_warning("a message that came for us is kept aside: %s", why);
		rejected_keep(request->rpc->config, body, strlen(body), why);
	} else {
		g_warning("the message cannot be used: %s", why);
	}
	cJSON_free(body);
	rpc_request_fail(request, "ValueError", "builtins", why);
	rpc_request_ack(request);
	rpc_request_free(request);
}
