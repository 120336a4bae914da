/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See topology.h.
 */
#include "rpc/amqp/topology.h"

#include <string.h>

#include "rpc/amqp/conflict.h"

#define LISTENER_TAG "listen"

/* A table for librabbitmq, which refers to a declaration. */
struct argument_table {
	amqp_table_entry_t entries[DECLARATION_ARGUMENTS_MAX];
	amqp_table_t table;
};

static void set_value(amqp_field_value_t *value, const struct declaration_argument *argument)
{
	switch (argument->type) {
	case DECLARATION_TEXT:
		value->kind = AMQP_FIELD_KIND_UTF8;
		value->value.bytes = amqp_cstring_bytes(argument->text);
		break;
	case DECLARATION_NUMBER:
		value->kind = AMQP_FIELD_KIND_I64;
		value->value.i64 = argument->number;
		break;
	case DECLARATION_FLAG:
		value->kind = AMQP_FIELD_KIND_BOOLEAN;
		value->value.boolean = argument->number != 0;
		break;
	}
}

static amqp_table_t set_table(struct argument_table *table, const struct declaration *declaration)
{
	table->table = (amqp_table_t){(int)declaration->argument_count, table->entries};
	for (unsigned i = 0; i < declaration->argument_count; i++) {
		table->entries[i].key = amqp_cstring_bytes(declaration->arguments[i].name);
		set_value(&table->entries[i].value, &declaration->arguments[i]);
	}
	return table->table;
}

/* What is attempted, for errors. The caller frees it. */
static char *describe_attempt(const struct declaration *declaration)
{
	switch (declaration->kind) {
	case DECLARATION_EXCHANGE:
		return g_strdup_printf("declaring the exchange %s", declaration->name);
	case DECLARATION_QUEUE:
		return g_strdup_printf("declaring the queue %s", declaration->name);
	case DECLARATION_BINDING:
		return g_strdup_printf("binding the queue %s to %s", declaration->name,
				       declaration->exchange);
	case DECLARATION_UNBINDING:
		return g_strdup_printf("unbinding the queue %s from %s", declaration->name,
				       declaration->exchange);
	case DECLARATION_EXCHANGE_BINDING:
		return g_strdup_printf("binding the exchange %s to %s", declaration->name,
				       declaration->exchange);
	case DECLARATION_EXCHANGE_UNBINDING:
		return g_strdup_printf("unbinding the exchange %s from %s", declaration->name,
				       declaration->exchange);
	case DECLARATION_PREFETCH:
		return g_strdup("setting the prefetch");
	case DECLARATION_CONSUMER:
	default:
		return g_strdup_printf("consuming the queue %s", declaration->name);
	}
}

static void send_binding(amqp_connection_state_t state, amqp_channel_t channel,
			 const struct declaration *declaration, amqp_table_t arguments)
{
	amqp_bytes_t name = amqp_cstring_bytes(declaration->name);
	amqp_bytes_t exchange = amqp_cstring_bytes(declaration->exchange);
	amqp_bytes_t key = amqp_cstring_bytes(declaration->key);

	switch (declaration->kind) {
	case DECLARATION_UNBINDING:
		(void)amqp_queue_unbind(state, channel, name, exchange, key, arguments);
		break;
	case DECLARATION_EXCHANGE_BINDING:
		(void)amqp_exchange_bind(state, channel, name, exchange, key, arguments);
		break;
	case DECLARATION_EXCHANGE_UNBINDING:
		(void)amqp_exchange_unbind(state, channel, name, exchange, key, arguments);
		break;
	default:
		(void)amqp_queue_bind(state, channel, name, exchange, key, arguments);
		break;
	}
}

/* Returns how many consumers a declared queue has. */
static unsigned send_declaration(amqp_connection_state_t state, amqp_channel_t channel,
				 const struct declaration *declaration, bool passive)
{
	amqp_bytes_t name = amqp_cstring_bytes(declaration->name ? declaration->name : "");
	const amqp_queue_declare_ok_t *declared = NULL;
	struct argument_table table;
	amqp_table_t arguments = set_table(&table, declaration);

	switch (declaration->kind) {
	case DECLARATION_EXCHANGE:
		(void)amqp_exchange_declare(
			state, channel, name, amqp_cstring_bytes(declaration->type), passive,
			declaration->durable, declaration->auto_delete, 0, arguments);
		break;
	case DECLARATION_QUEUE:
		declared = amqp_queue_declare(state, channel, name, passive, declaration->durable,
					      declaration->exclusive, declaration->auto_delete,
					      arguments);
		break;
	case DECLARATION_BINDING:
	case DECLARATION_UNBINDING:
	case DECLARATION_EXCHANGE_BINDING:
	case DECLARATION_EXCHANGE_UNBINDING:
		send_binding(state, channel, declaration, arguments);
		break;
	case DECLARATION_PREFETCH:
		(void)amqp_basic_qos(state, channel, 0, (uint16_t)declaration->prefetch, 0);
		break;
	case DECLARATION_CONSUMER:
		(void)amqp_basic_consume(state, channel, name, name, 0, declaration->no_ack, 0,
					 arguments);
		break;
	}
	return declared ? declared->consumer_count : 0;
}

enum broker_result topology_declare_one(struct broker_connection *connection,
					amqp_channel_t channel,
					const struct declaration *declaration, bool passive,
					GError **error)
{
	g_autofree char *action = describe_attempt(declaration);
	unsigned consumers =
		send_declaration(broker_amqp_state(connection), channel, declaration, passive);
	enum broker_result result =
		broker_check_reply_and_reopen(connection, channel, action, error);

	if (result != BROKER_OK || !declaration->unused || consumers == 0)
		return result;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "%s: another process consumes it; taking the next name", action);
	return BROKER_CHANNEL_CLOSED;
}

bool topology_is_conflict(const struct broker_connection *connection, const GError *refusal)
{
	return broker_reply_code(connection) == AMQP_PRECONDITION_FAILED &&
	       conflict_is_refusal(refusal->message);
}

/* Adds what to do about it. */
static void explain_denial(const struct declaration *declaration, GError **error)
{
	g_autofree char *message = NULL;

	if (!*error)
		return;
	message = g_strdup_printf("%s; %s", (*error)->message,
				  declaration->shared ? TOPOLOGY_ADVICE_DENIED
						      : TOPOLOGY_ADVICE_DENIED_PRIVATE);
	g_free((*error)->message);
	(*error)->message = g_steal_pointer(&message);
}

/* Declares a shared exchange or queue; see topology_declare. */
static enum broker_result declare_shared(struct broker_connection *connection,
					 amqp_channel_t channel,
					 const struct declaration *declaration, GError **error)
{
	g_autoptr(GError) refused = NULL;
	enum broker_result result =
		topology_declare_one(connection, channel, declaration, false, &refused);

	if (result == BROKER_CHANNEL_CLOSED && topology_is_conflict(connection, refused)) {
		g_autofree char *advice = conflict_advice(refused->message, false);

		g_warning("%s; using the %s as it is; %s", refused->message,
			  declaration->kind == DECLARATION_QUEUE ? "queue" : "exchange", advice);
		return BROKER_OK;
	}
	if (refused)
		g_propagate_error(error, g_steal_pointer(&refused));
	return result;
}

static enum broker_result declare_optional(struct broker_connection *connection,
					   amqp_channel_t channel,
					   const struct declaration *declaration,
					   const char **ret_missing, GError **error)
{
	g_autoptr(GError) refused = NULL;
	enum broker_result result =
		topology_declare_one(connection, channel, declaration, true, &refused);

	if (result == BROKER_CHANNEL_CLOSED && broker_reply_code(connection) == AMQP_NOT_FOUND) {
		g_info("%s; nothing is bound to it", refused->message);
		*ret_missing = declaration->name;
		return BROKER_OK;
	}
	if (refused)
		g_propagate_error(error, g_steal_pointer(&refused));
	return result;
}

enum broker_result topology_declare(struct broker_connection *connection, amqp_channel_t channel,
				    const GPtrArray *declarations, GError **error)
{
	const char *missing = NULL; /* an exchange */
	bool consumed = false;

	for (guint i = 0; i < declarations->len; i++) {
		const struct declaration *declaration = g_ptr_array_index(declarations, i);
		GError *refused = NULL;
		enum broker_result result;

		if (declaration->kind == DECLARATION_BINDING &&
		    g_strcmp0(declaration->exchange, missing) == 0)
			continue;
		if (declaration->optional)
			result = declare_optional(connection, channel, declaration, &missing,
						  &refused);
		else if (declaration->shared)
			result = declare_shared(connection, channel, declaration, &refused);
		else
			result = topology_declare_one(connection, channel, declaration, false,
						      &refused);
		if (result == BROKER_OK) {
			consumed = consumed || declaration->kind == DECLARATION_CONSUMER;
			continue;
		}
		if (broker_denied_transient(connection))
			explain_denial(declaration, &refused);
		g_propagate_error(error, refused);
		return consumed ? BROKER_LOST : result;
	}
	return BROKER_OK;
}

enum broker_result topology_cancel(struct broker_connection *connection, amqp_channel_t channel,
				   const GPtrArray *declarations, GError **error)
{
	enum broker_result result = BROKER_OK;

	for (guint i = 0; i < declarations->len && result == BROKER_OK; i++) {
		const struct declaration *declaration = g_ptr_array_index(declarations, i);
		g_autofree char *action = NULL;

		if (declaration->kind != DECLARATION_CONSUMER)
			continue;
		action = g_strdup_printf("ending the consumer %s", declaration->name);
		(void)amqp_basic_cancel(broker_amqp_state(connection), channel,
					amqp_cstring_bytes(declaration->name));
		result = broker_check_reply(connection, channel, action, error);
	}
	return result;
}

void topology_delete(struct broker_connection *connection, amqp_channel_t channel,
		     const char *queue)
{
	amqp_queue_delete_t method = {.queue = amqp_cstring_bytes(queue), .nowait = 1};

	(void)amqp_send_method(broker_amqp_state(connection), channel, AMQP_QUEUE_DELETE_METHOD,
			       &method);
}

enum broker_result topology_listen(struct broker_connection *connection, amqp_channel_t channel,
				   const char *exchange, const char *const *keys, GError **error)
{
	amqp_connection_state_t state = broker_amqp_state(connection);
	const amqp_queue_declare_ok_t *declared =
		amqp_queue_declare(state, channel, amqp_empty_bytes, 0, 0, 1, 1, amqp_empty_table);
	enum broker_result result = broker_check_reply_and_reopen(
		connection, channel, "declaring the queue of a listener", error);
	g_autofree char *queue = NULL;

	if (result != BROKER_OK || !declared)
		return result;
	queue = g_strndup(declared->queue.bytes, declared->queue.len);
	for (; *keys && result == BROKER_OK; keys++) {
		(void)amqp_queue_bind(state, channel, amqp_cstring_bytes(queue),
				      amqp_cstring_bytes(exchange), amqp_cstring_bytes(*keys),
				      amqp_empty_table);
		result = broker_check_reply_and_reopen(connection, channel,
						       "binding the queue of a listener", error);
	}
	if (result != BROKER_OK)
		return result;
	(void)amqp_basic_consume(state, channel, amqp_cstring_bytes(queue),
				 amqp_cstring_bytes(LISTENER_TAG), 0, 1, 0, amqp_empty_table);
	return broker_check_reply_and_reopen(connection, channel,
					     "consuming the queue of a listener", error);
}
