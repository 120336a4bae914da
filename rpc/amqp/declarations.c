/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See declarations.h.
 */
#include "rpc/amqp/declarations.h"

#include "rpc/amqp/declaration.h"
#include "rpc/base.h"

#define MS_PER_S 1000

/* impl_rabbit._get_queue_arguments without a stream. */
static void add_queue_arguments(struct declaration *queue, const struct rpc_config *config,
				bool quorum, unsigned ttl_s)
{
	if (config->ha_queues)
		declaration_add_text(queue, "x-ha-policy", "all");
	if (quorum) {
		declaration_add_text(queue, "x-queue-type", "quorum");
		declaration_add_number(queue, "x-delivery-limit", config->quorum_delivery_limit);
		declaration_add_number(queue, "x-max-in-memory-length",
				       config->quorum_max_memory_length);
		declaration_add_number(queue, "x-max-in-memory-bytes",
				       config->quorum_max_memory_bytes);
	}
	declaration_add_number(queue, "x-expires", (int64_t)ttl_s * MS_PER_S);
}

static void add_stream_arguments(struct declaration *queue, const struct rpc_config *config)
{
	g_autofree char *age = g_strdup_printf("%us", config->queue_ttl_s);

	declaration_add_text(queue, "x-queue-type", "stream");
	if (config->queue_ttl_s > 0)
		declaration_add_text(queue, "x-max-age", age);
}

static struct declaration *add_consumer(GPtrArray *list, const char *queue,
					const struct rpc_config *config)
{
	struct declaration *consumer = declaration_list_add(list, DECLARATION_CONSUMER, queue);

	if (config->cancel_on_failover)
		declaration_add_flag(consumer, "x-cancel-on-ha-failover");
	return consumer;
}

static void add_control_exchange(GPtrArray *list, const struct rpc_config *config)
{
	struct declaration *exchange =
		declaration_list_add(list, DECLARATION_EXCHANGE, config->control_exchange);

	exchange->type = "topic";
	exchange->durable = config->durable;
	exchange->auto_delete = config->auto_delete;
	exchange->shared = true;
}

static void add_topic_queue(GPtrArray *list, const struct rpc_config *config, const char *name)
{
	struct declaration *queue = declaration_list_add(list, DECLARATION_QUEUE, name);

	queue->durable = config->durable;
	queue->auto_delete = config->auto_delete;
	queue->shared = true;
	add_queue_arguments(queue, config, config->quorum, 0);
	declaration_list_bind(list, DECLARATION_BINDING, name, config->control_exchange, name);
}

/* A random name is nobody else's. */
static bool is_unused(const struct rpc_config *config, struct declaration_conditions conditions)
{
	return config->queue_manager_name && !conditions.used_before;
}

/* The queue comes before its exchange: if the broker denies the queue, an exchange of that
 * configuration would have a shape that keeps the other servers from consuming. */
static void add_fanout(GPtrArray *list, const struct rpc_config *config,
		       const struct declaration_topic *topic,
		       struct declaration_conditions conditions)
{
	g_autofree char *exchange_name = g_strdup_printf("%s_fanout", topic->name);
	struct declaration *queue =
		declaration_list_add(list, DECLARATION_QUEUE, topic->fanout_queue);
	struct declaration *exchange;

	queue->durable = config->transient_quorum || config->stream_fanout;
	queue->exclusive = conditions.transient_denied && !queue->durable;
	queue->shared = config->stream_fanout;
	queue->unused = is_unused(config, conditions) && !config->stream_fanout;
	if (config->stream_fanout)
		add_stream_arguments(queue, config);
	else
		add_queue_arguments(queue, config, config->transient_quorum, config->queue_ttl_s);
	exchange = declaration_list_add(list, DECLARATION_EXCHANGE, exchange_name);
	exchange->type = "fanout";
	exchange->durable = queue->durable;
	exchange->auto_delete = true;
	exchange->shared = true;
	exchange->optional = queue->exclusive;
	declaration_list_bind(list, DECLARATION_BINDING, topic->fanout_queue, exchange_name,
			      topic->name);
}

static void add_fanout_consumer(GPtrArray *list, const struct rpc_config *config,
				const struct declaration_topic *topic)
{
	struct declaration *consumer;

	if (!config->stream_fanout) {
		add_consumer(list, topic->fanout_queue, config);
		return;
	}
	consumer = declaration_list_add(list, DECLARATION_CONSUMER, topic->fanout_queue);
	if (topic->stream_offset < 0)
		declaration_add_text(consumer, "x-stream-offset", "last");
	else
		declaration_add_argument(consumer, "x-stream-offset", DECLARATION_NUMBER)->number =
			topic->stream_offset;
}

GPtrArray *declarations_of_server(const struct rpc_config *config,
				  const struct declaration_topic *topics, size_t count,
				  struct declaration_conditions conditions)
{
	GPtrArray *list = declaration_list_new();

	add_control_exchange(list, config);
	for (size_t i = 0; i < count; i++) {
		add_topic_queue(list, config, topics[i].name);
		add_topic_queue(list, config, topics[i].own_queue);
		add_fanout(list, config, &topics[i], conditions);
	}
	declaration_list_add(list, DECLARATION_PREFETCH, NULL)->prefetch = config->prefetch;
	for (size_t i = 0; i < count; i++) {
		add_consumer(list, topics[i].name, config);
		add_consumer(list, topics[i].own_queue, config);
		add_fanout_consumer(list, config, &topics[i]);
	}
	return list;
}

GPtrArray *declarations_of_replies(const struct rpc_config *config, const char *queue,
				   struct declaration_conditions conditions)
{
	GPtrArray *list = declaration_list_new();
	struct declaration *declared = declaration_list_add(list, DECLARATION_QUEUE, queue);

	declared->durable = config->transient_quorum;
	declared->exclusive = conditions.transient_denied && !declared->durable;
	declared->unused = is_unused(config, conditions);
	add_queue_arguments(declared, config, config->transient_quorum, config->queue_ttl_s);
	add_consumer(list, queue, config)->no_ack = true;
	return list;
}

GPtrArray *declarations_of_exchange(const struct rpc_config *config)
{
	GPtrArray *list = declaration_list_new();

	add_control_exchange(list, config);
	return list;
}

GPtrArray *declarations_of_notifications(const struct rpc_config *config, const char *queue)
{
	GPtrArray *list = declaration_list_new();

	add_topic_queue(list, config, queue);
	return list;
}

/* As amqpdriver.QManager.get or a random id. */
static char *private_name(const struct rpc_config *config, const char *prefix, unsigned number)
{
	g_autofree char *id = rpc_hex_id();

	return config->queue_manager_name
		       ? g_strdup_printf("%s_%s:%u", prefix, config->queue_manager_name, number)
		       : g_strdup_printf("%s_%s", prefix, id);
}

char *declarations_fanout_queue(const struct rpc_config *config, const char *topic, unsigned number)
{
	g_autofree char *stream = g_strdup_printf("%s_fanout", topic);

	return config->stream_fanout ? g_steal_pointer(&stream)
				     : private_name(config, stream, number);
}

char *declarations_reply_queue(const struct rpc_config *config, unsigned number)
{
	return private_name(config, "reply", number);
}
