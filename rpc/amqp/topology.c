/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exchanges and queues, with the names and arguments of oslo_messaging._drivers.impl_rabbit: they
 * must equal those of the peers, or the broker answers 406.
 */
#include "rpc/internal.h"

#define PRECONDITION_FAILED 406
#define MAX_ARGUMENTS 2

struct arguments {
	amqp_table_entry_t entries[MAX_ARGUMENTS];
	amqp_table_t table;
};

static void add_expires(struct arguments *arguments, const struct rpc_config *config)
{
	amqp_table_entry_t *entry = &arguments->entries[arguments->table.num_entries++];

	entry->key = amqp_cstring_bytes("x-expires");
	entry->value.kind = AMQP_FIELD_KIND_I32;
	entry->value.value.i32 = (int32_t)MIN((uint64_t)config->queue_ttl_s * 1000, INT32_MAX);
}

static void add_quorum(struct arguments *arguments)
{
	amqp_table_entry_t *entry = &arguments->entries[arguments->table.num_entries++];

	entry->key = amqp_cstring_bytes("x-queue-type");
	entry->value.kind = AMQP_FIELD_KIND_UTF8;
	entry->value.value.bytes = amqp_cstring_bytes("quorum");
}

static enum link_result reopen(struct link *link, amqp_channel_t channel, enum link_result result,
			       GError **error)
{
	g_autoptr(GError) ignored = NULL;

	if (result != LINK_CHANNEL_CLOSED)
		return result;
	if (link_open_channel(link, channel, &ignored) == LINK_OK)
		return result;
	g_clear_error(error);
	g_propagate_error(error, g_steal_pointer(&ignored));
	return LINK_LOST;
}

static enum link_result declare_exchange(struct link *link, amqp_channel_t channel,
					 const char *name, const char *type, bool durable,
					 bool auto_delete, GError **error)
{
	g_autofree char *what = g_strdup_printf("declaring the exchange %s", name);
	g_autoptr(GError) refused = NULL;
	enum link_result result;

	(void)amqp_exchange_declare(link_state(link), channel, amqp_cstring_bytes(name),
				    amqp_cstring_bytes(type), 0, durable, auto_delete, 0,
				    amqp_empty_table);
	result = reopen(link, channel, link_check(link, channel, what, &refused), &refused);
	/* Others declared it otherwise, and it is theirs as much as ours: it serves as it is. */
	if (result == LINK_CHANNEL_CLOSED && link_code(link) == PRECONDITION_FAILED) {
		g_info("%s; it is used as it is", refused->message);
		return LINK_OK;
	}
	if (refused)
		g_propagate_error(error, g_steal_pointer(&refused));
	return result;
}

static enum link_result declare_queue(struct link *link, amqp_channel_t channel, const char *name,
				      bool durable, bool auto_delete,
				      const struct arguments *arguments, GError **error)
{
	g_autofree char *what = g_strdup_printf("declaring the queue %s", name);

	(void)amqp_queue_declare(link_state(link), channel, amqp_cstring_bytes(name), 0, durable, 0,
				 auto_delete, arguments->table);
	return reopen(link, channel, link_check(link, channel, what, error), error);
}

static enum link_result bind(struct link *link, amqp_channel_t channel, const char *queue,
			     const char *exchange, const char *key, GError **error)
{
	g_autofree char *what = g_strdup_printf("binding the queue %s to %s", queue, exchange);

	(void)amqp_queue_bind(link_state(link), channel, amqp_cstring_bytes(queue),
			      amqp_cstring_bytes(exchange), amqp_cstring_bytes(key),
			      amqp_empty_table);
	return reopen(link, channel, link_check(link, channel, what, error), error);
}

enum link_result topology_declare_exchange(struct link *link, amqp_channel_t channel,
					   const struct rpc_config *config, GError **error)
{
	return declare_exchange(link, channel, config->control_exchange, "topic", config->durable,
				config->auto_delete, error);
}

enum link_result topology_declare_topic(struct link *link, amqp_channel_t channel,
					const struct rpc_config *config, const char *name,
					GError **error)
{
	struct arguments arguments = {.table = {0, arguments.entries}};
	g_autoptr(GError) refused = NULL;
	enum link_result result;

	if (config->quorum)
		add_quorum(&arguments);
	result = declare_queue(link, channel, name, config->durable, config->auto_delete,
			       &arguments, &refused);
	if (result == LINK_CHANNEL_CLOSED && link_code(link) == PRECONDITION_FAILED) {
		g_warning("%s; amqp_durable_queues, amqp_auto_delete and rabbit_quorum_queue must "
			  "be those of the other services; it is used as it is",
			  refused->message);
		result = LINK_OK;
	}
	if (result != LINK_OK) {
		g_propagate_error(error, g_steal_pointer(&refused));
		return result;
	}
	return bind(link, channel, name, config->control_exchange, name, error);
}

enum link_result topology_declare_fanout(struct link *link, amqp_channel_t channel,
					 const struct rpc_config *config, const char *queue,
					 GError **error)
{
	struct arguments arguments = {.table = {0, arguments.entries}};
	g_autofree char *exchange = g_strdup_printf("%s_fanout", config->topic);
	enum link_result result;

	add_expires(&arguments, config);
	result = declare_exchange(link, channel, exchange, "fanout", false, true, error);
	if (result == LINK_OK)
		result = declare_queue(link, channel, queue, false, false, &arguments, error);
	return result == LINK_OK ? bind(link, channel, queue, exchange, config->topic, error)
				 : result;
}

enum link_result topology_declare_reply(struct link *link, amqp_channel_t channel,
					const struct rpc_config *config, const char *queue,
					GError **error)
{
	struct arguments arguments = {.table = {0, arguments.entries}};

	add_expires(&arguments, config);
	return declare_queue(link, channel, queue, false, false, &arguments, error);
}

enum link_result topology_declare_listener(struct link *link, amqp_channel_t channel,
					   const struct rpc_config *config, char **ret_queue,
					   const char *const *keys, GError **error)
{
	enum link_result result;
	amqp_queue_declare_ok_t *declared;

	declared = amqp_queue_declare(link_state(link), channel, amqp_empty_bytes, 0, 0, 1, 1,
				      amqp_empty_table);
	result = link_check(link, channel, "declaring a queue to listen", error);
	if (result != LINK_OK || !declared)
		return reopen(link, channel, result, error);
	g_free(*ret_queue);
	*ret_queue = g_strndup(declared->queue.bytes, declared->queue.len);
	for (; *keys && result == LINK_OK; keys++)
		result = bind(link, channel, *ret_queue, config->control_exchange, *keys, error);
	return result;
}

enum link_result topology_consume(struct link *link, amqp_channel_t channel, const char *queue,
				  const char *tag, bool no_ack, GError **error)
{
	g_autofree char *what = g_strdup_printf("consuming the queue %s", queue);

	(void)amqp_basic_consume(link_state(link), channel, amqp_cstring_bytes(queue),
				 amqp_cstring_bytes(tag), 0, no_ack, 0, amqp_empty_table);
	return reopen(link, channel, link_check(link, channel, what, error), error);
}
