/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Declares and consumes exchanges and queues as oslo_messaging._drivers.impl_rabbit does.
 */
#include "rpc/amqp/topology.h"

#define PRECONDITION_FAILED 406
#define QUEUE_ARGUMENTS_MAX 5

struct queue_arguments {
	amqp_table_entry_t entries[QUEUE_ARGUMENTS_MAX];
	amqp_table_t table;
};

static void add_expires(struct queue_arguments *arguments, const struct rpc_config *config)
{
	amqp_table_entry_t *entry;

	if (config->queue_ttl_s == 0)
		return;
	entry = &arguments->entries[arguments->table.num_entries++];

	entry->key = amqp_cstring_bytes("x-expires");
	entry->value.kind = AMQP_FIELD_KIND_I32;
	entry->value.value.i32 = (int32_t)MIN((uint64_t)config->queue_ttl_s * 1000, INT32_MAX);
}

static void add_limit(struct queue_arguments *arguments, const char *name, unsigned limit)
{
	amqp_table_entry_t *entry;

	if (limit == 0)
		return;
	entry = &arguments->entries[arguments->table.num_entries++];
	entry->key = amqp_cstring_bytes(name);
	entry->value.kind = AMQP_FIELD_KIND_I64;
	entry->value.value.i64 = limit;
}

static void add_quorum(struct queue_arguments *arguments, const struct rpc_config *config)
{
	amqp_table_entry_t *entry = &arguments->entries[arguments->table.num_entries++];

	entry->key = amqp_cstring_bytes("x-queue-type");
	entry->value.kind = AMQP_FIELD_KIND_UTF8;
	entry->value.value.bytes = amqp_cstring_bytes("quorum");
	add_limit(arguments, "x-delivery-limit", config->quorum_delivery_limit);
	add_limit(arguments, "x-max-in-memory-length", config->quorum_max_memory_length);
	add_limit(arguments, "x-max-in-memory-bytes", config->quorum_max_memory_bytes);
}

/* Those of reply and fanout queues. */
static void add_transient_arguments(struct queue_arguments *arguments,
				    const struct rpc_config *config)
{
	if (config->transient_quorum)
		add_quorum(arguments, config);
	add_expires(arguments, config);
}

/* Checks the broker's reply, and opens the channel again if the broker has closed it. */
static enum broker_result check_reply_and_reopen(struct broker_connection *connection,
						 amqp_channel_t channel, const char *action,
						 GError **error)
{
	g_autoptr(GError) refused = NULL;
	enum broker_result result = broker_check_reply(connection, channel, action, &refused);

	if (result == BROKER_CHANNEL_CLOSED &&
	    broker_open_channel(connection, channel, error) != BROKER_OK)
		return BROKER_LOST;
	if (refused)
		g_propagate_error(error, g_steal_pointer(&refused));
	return result;
}

static enum broker_result declare_exchange(struct broker_connection *connection,
					   amqp_channel_t channel, const char *name,
					   const char *type, bool durable, bool auto_delete,
					   GError **error)
{
	g_autofree char *action = g_strdup_printf("declaring the exchange %s", name);
	g_autoptr(GError) refused = NULL;
	enum broker_result result;

	(void)amqp_exchange_declare(broker_amqp_state(connection), channel,
				    amqp_cstring_bytes(name), amqp_cstring_bytes(type), 0, durable,
				    auto_delete, 0, amqp_empty_table);
	result = check_reply_and_reopen(connection, channel, action, &refused);
	/* Another service declared it with other arguments, which does not matter here. */
	if (result == BROKER_CHANNEL_CLOSED &&
	    broker_reply_code(connection) == PRECONDITION_FAILED) {
		g_info("%s; using the exchange as it is", refused->message);
		return BROKER_OK;
	}
	if (refused)
		g_propagate_error(error, g_steal_pointer(&refused));
	return result;
}

static enum broker_result declare_queue(struct broker_connection *connection,
					amqp_channel_t channel, const char *name, bool durable,
					bool auto_delete, const struct queue_arguments *arguments,
					GError **error)
{
	g_autofree char *action = g_strdup_printf("declaring the queue %s", name);

	(void)amqp_queue_declare(broker_amqp_state(connection), channel, amqp_cstring_bytes(name),
				 0, durable, 0, auto_delete, arguments->table);
	return check_reply_and_reopen(connection, channel, action, error);
}

static enum broker_result bind_queue(struct broker_connection *connection, amqp_channel_t channel,
				     const char *queue, const char *exchange, const char *key,
				     GError **error)
{
	g_autofree char *action = g_strdup_printf("binding the queue %s to %s", queue, exchange);

	(void)amqp_queue_bind(broker_amqp_state(connection), channel, amqp_cstring_bytes(queue),
			      amqp_cstring_bytes(exchange), amqp_cstring_bytes(key),
			      amqp_empty_table);
	return check_reply_and_reopen(connection, channel, action, error);
}

enum broker_result topology_declare_exchange(struct broker_connection *connection,
					     amqp_channel_t channel,
					     const struct rpc_config *config, GError **error)
{
	return declare_exchange(connection, channel, config->control_exchange, "topic",
				config->durable, config->auto_delete, error);
}

enum broker_result topology_declare_topic(struct broker_connection *connection,
					  amqp_channel_t channel, const struct rpc_config *config,
					  const char *queue, GError **error)
{
	struct queue_arguments arguments = {.table = {0, arguments.entries}};
	g_autoptr(GError) refused = NULL;
	enum broker_result result;

	if (config->quorum)
		add_quorum(&arguments, config);
	result = declare_queue(connection, channel, queue, config->durable, config->auto_delete,
			       &arguments, &refused);
	if (result == BROKER_CHANNEL_CLOSED &&
	    broker_reply_code(connection) == PRECONDITION_FAILED) {
		g_warning("%s; using the queue as it is; set amqp_durable_queues, amqp_auto_delete "
			  "and rabbit_quorum_queue as in the other services",
			  refused->message);
		result = BROKER_OK;
	}
	if (result != BROKER_OK) {
		g_propagate_error(error, g_steal_pointer(&refused));
		return result;
	}
	return bind_queue(connection, channel, queue, config->control_exchange, queue, error);
}

enum broker_result topology_declare_fanout(struct broker_connection *connection,
					   amqp_channel_t channel, const struct rpc_config *config,
					   const char *queue, GError **error)
{
	struct queue_arguments arguments = {.table = {0, arguments.entries}};
	g_autofree char *exchange = g_strdup_printf("%s_fanout", config->topic);
	enum broker_result result;

	add_transient_arguments(&arguments, config);
	result = declare_exchange(connection, channel, exchange, "fanout", config->transient_quorum,
				  true, error);
	if (result == BROKER_OK)
		result = declare_queue(connection, channel, queue, config->transient_quorum, false,
				       &arguments, error);
	return result == BROKER_OK
		       ? bind_queue(connection, channel, queue, exchange, config->topic, error)
		       : result;
}

enum broker_result topology_declare_reply(struct broker_connection *connection,
					  amqp_channel_t channel, const struct rpc_config *config,
					  const char *queue, GError **error)
{
	struct queue_arguments arguments = {.table = {0, arguments.entries}};

	add_transient_arguments(&arguments, config);
	return declare_queue(connection, channel, queue, config->transient_quorum, false,
			     &arguments, error);
}

enum broker_result topology_declare_listener(struct broker_connection *connection,
					     amqp_channel_t channel,
					     const struct rpc_config *config, char **ret_queue,
					     const char *const *keys, GError **error)
{
	enum broker_result result;
	amqp_queue_declare_ok_t *declared;

	declared = amqp_queue_declare(broker_amqp_state(connection), channel, amqp_empty_bytes, 0,
				      0, 1, 1, amqp_empty_table);
	result = check_reply_and_reopen(connection, channel, "declaring the queue of a listener",
					error);
	if (result != BROKER_OK || !declared)
		return result;
	g_free(*ret_queue);
	*ret_queue = g_strndup(declared->queue.bytes, declared->queue.len);
	for (; *keys && result == BROKER_OK; keys++)
		result = bind_queue(connection, channel, *ret_queue, config->control_exchange,
				    *keys, error);
	return result;
}

enum broker_result topology_set_prefetch(struct broker_connection *connection,
					 amqp_channel_t channel, unsigned prefetch, GError **error)
{
	(void)amqp_basic_qos(broker_amqp_state(connection), channel, 0, (uint16_t)prefetch, 0);
	return check_reply_and_reopen(connection, channel, "setting the prefetch", error);
}

enum broker_result topology_consume(struct broker_connection *connection, amqp_channel_t channel,
				    const char *queue, const char *tag, bool no_ack, GError **error)
{
	g_autofree char *action = g_strdup_printf("consuming the queue %s", queue);

	(void)amqp_basic_consume(broker_amqp_state(connection), channel, amqp_cstring_bytes(queue),
				 amqp_cstring_bytes(tag), 0, no_ack, 0, amqp_empty_table);
	return check_reply_and_reopen(connection, channel, action, error);
}

enum broker_result topology_cancel(struct broker_connection *connection, amqp_channel_t channel,
				   const char *tag, GError **error)
{
	g_autofree char *action = g_strdup_printf("ending the consumer %s", tag);

	(void)amqp_basic_cancel(broker_amqp_state(connection), channel, amqp_cstring_bytes(tag));
	return broker_check_reply(connection, channel, action, error);
}
