/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A body from the broker: as a request, up to where a task would become a job; as a reply; and as a
 * text to be redacted. Nothing is sent, and no job runs.
 */
#include <string.h>

#include "agent/daemon/dispatch.h"
#include "rpc/amqp/consumer.h"
#include "rpc/amqp/publisher.h"
#include "rpc/client.h"
#include "rpc/failure.h"
#include "rpc/handle.h"
#include "rpc/inflight.h"
#include "rpc/json.h"
#include "rpc/redact.h"
#include "rpc/served-topics.h"
#include "rpc/server.h"
#include "tests/fuzz/fuzz.h"

/* The longest name of a queue in AMQP. */
#define KEY_MAX_LENGTH 255

__typeof__(intake_take) __wrap_intake_take, __real_intake_take;
__typeof__(worker_pool_submit) __wrap_worker_pool_submit;
__typeof__(consumer_ack) __wrap_consumer_ack;
__typeof__(consumer_want) __wrap_consumer_want;
__typeof__(publisher_send) __wrap_publisher_send;

void __wrap_consumer_ack(struct consumer *consumer, const struct delivery_tag *tag)
{
	(void)consumer;
	(void)tag;
}

void __wrap_consumer_want(struct consumer *consumer, enum consumer_channel channel, bool wanted)
{
	(void)consumer;
	(void)channel;
	(void)wanted;
}

int __wrap_publisher_send(struct publisher *publisher, const struct outgoing_message *message,
			  bool wait, GError **error)
{
	(void)publisher;
	(void)wait;
	(void)error;
	g_assert_cmpuint(strlen(message->key), <=, KEY_MAX_LENGTH);
	cJSON_free(message->body);
	return 0;
}

/* The message that the journal gets must be readable. */
bool __wrap_intake_take(struct intake *intake, const struct task_method *method,
			struct rpc_request *request, GError **error)
{
	char *text = rpc_request_text(request);
	g_autoptr(GError) decode_error = NULL;
	cJSON *message = rpc_body_decode(text, strlen(text), &decode_error);

	g_assert_no_error(decode_error);
	rpc_message_prepare_replay(message);
	cJSON_Delete(message);
	cJSON_free(text);
	return __real_intake_take(intake, method, request, error);
}

void __wrap_worker_pool_submit(struct worker_pool *pool, const char *key, const char *name,
			       const struct job_ops *ops, void *opaque)
{
	(void)pool;
	(void)name;
	(void)ops;
	g_assert_true(g_uuid_string_is_valid(key));
	task_free(opaque);
}

/* A message that is printed and parsed again stays the same. */
static void check_text(const uint8_t *data, size_t size)
{
	cJSON *message = rpc_body_decode((const char *)data, size, NULL);
	char *text, *body, *again;
	cJSON *copy;

	if (!message)
		return;
	if (cJSON_HasObjectItem(message, "failure"))
		g_error_free(
			rpc_failure_decode(cJSON_GetObjectItemCaseSensitive(message, "failure")));
	text = json_print(message);
	body = rpc_body_encode(message);
	copy = rpc_body_decode(body, strlen(body), NULL);
	again = copy ? json_print(copy) : NULL;
	/* A message that looks like an envelope is decoded as one the second time. */
	if (!cJSON_HasObjectItem(message, "oslo.message"))
		g_assert_cmpstr(text, ==, again);
	cJSON_free(again);
	cJSON_Delete(copy);
	cJSON_free(body);
	cJSON_free(text);
	cJSON_Delete(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rpc_config config;
	static struct agent agent;
	static const struct intake_ops no_jobs;
	static struct dispatch dispatch = {.agent = &agent};
	const struct delivery delivery = {.body = (const char *)data, .length = size, .size = size};
	struct rpc rpc = {.config = &config};
	struct rpc_server_ops ops = dispatch_server_ops(&dispatch);

	if (!dispatch.intake) {
		agent.pool = worker_pool_new(0);
		dispatch.intake = intake_new(&agent, &no_jobs);
		config.topic = "compute";
		config.host = "node1";
		config.rejected_dir = g_build_filename(g_get_tmp_dir(), "rejected", NULL);
		config.rejected_max_files = 2;
		config.rejected_max_bytes = (uint64_t)1024 * 1024;
	}
	rpc.inflight = inflight_new();
	rpc.server = rpc_server_new();
	rpc.topics = served_topics_new(&config);
	rpc.client = rpc_client_new(&config);
	g_assert_cmpint(rpc_server_start(&rpc, &ops, NULL), ==, 0);
	rpc_server_deliver(&delivery, &rpc);
	rpc_client_deliver(&delivery, &rpc);
	rpc_client_free(rpc.client);
	rpc_server_free(rpc.server);
	served_topics_free(rpc.topics);
	inflight_free(rpc.inflight);
	check_text(data, size);
	g_free(rpc_text_redact((const char *)data, size));
	return 0;
}
