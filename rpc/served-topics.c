/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See served-topics.h.
 */
#include "rpc/served-topics.h"

#include <stdatomic.h>

#include "rpc/amqp/declarations.h"
#include "rpc/amqp/topology.h"
#include "rpc/handle.h"

#define TOPICS_MAX 2

/* A topic that is served, and its queues. Used by the consumer's thread only, except for the
 * position. */
struct served_topic {
	const char *name;
	char *own_queue;		 /* "compute.host" */
	char *fanout_queue;		 /* its own, or the stream that all servers share */
	struct stream_position position; /* in the stream */
};

struct served_topics {
	struct served_topic all[TOPICS_MAX]; /* the second one is alt_topic */
	size_t count;
	atomic_bool serves_alt; /* all topics are to be served, not only the first one */
	/* Used by the consumer's thread only. */
	size_t served_count;	/* of the topics that it consumes */
	unsigned fanout_number; /* of the names of the fanout queues */
	bool fanout_used;	/* they were consumed */
};

/* Chooses new names: the broker may refuse a queue because of what became of an earlier one with
 * its name. */
static void set_fanout_queues(struct served_topics *topics, const struct rpc_config *config)
{
	topics->fanout_number++;
	topics->fanout_used = false;
	for (size_t i = 0; i < topics->count; i++) {
		struct served_topic *topic = &topics->all[i];

		g_free(topic->fanout_queue);
		topic->fanout_queue =
			declarations_fanout_queue(config, topic->name, topics->fanout_number);
		stream_position_reset(&topic->position);
	}
}

static void add_topic(struct served_topics *topics, const struct rpc_config *config,
		      const char *name)
{
	struct served_topic *topic = &topics->all[topics->count++];

	topic->name = name;
	topic->own_queue = g_strdup_printf("%s.%s", name, config->host);
}

struct served_topics *served_topics_new(const struct rpc_config *config)
{
	struct served_topics *topics = g_new0(struct served_topics, 1);

	add_topic(topics, config, config->topic);
	if (config->alt_topic)
		add_topic(topics, config, config->alt_topic);
	set_fanout_queues(topics, config);
	return topics;
}

void served_topics_free(struct served_topics *topics)
{
	if (!topics)
		return;
	for (size_t i = 0; i < topics->count; i++) {
		g_free(topics->all[i].own_queue);
		g_free(topics->all[i].fanout_queue);
	}
	g_free(topics);
}

bool served_topics_serve_alt(struct served_topics *topics)
{
	return !atomic_exchange(&topics->serves_alt, true);
}

/* The list is valid until the names of the fanout queues change. */
static GPtrArray *list_declarations(struct rpc *rpc)
{
	const struct declaration_conditions conditions = {atomic_load(&rpc->transient_denied),
							  rpc->topics->fanout_used};
	struct served_topics *topics = rpc->topics;
	struct declaration_topic declared[TOPICS_MAX];

	for (size_t i = 0; i < topics->served_count; i++) {
		struct served_topic *topic = &topics->all[i];

		declared[i] = (struct declaration_topic){topic->name, topic->own_queue,
							 topic->fanout_queue,
							 stream_position_get(&topic->position)};
	}
	return declarations_of_server(rpc->config, declared, topics->served_count, conditions);
}

struct delivery_tag served_topics_note_position(struct served_topics *topics,
						const struct delivery *delivery)
{
	struct delivery_tag tag = delivery->tag;

	for (size_t i = 0; i < topics->served_count && tag.next_offset > 0; i++) {
		if (g_strcmp0(topics->all[i].fanout_queue, delivery->consumer) != 0)
			continue;
		tag.position = &topics->all[i].position;
		stream_position_set(tag.position, tag.next_offset);
	}
	return tag;
}

enum broker_result served_topics_subscribe(struct broker_connection *connection,
					   amqp_channel_t channel, void *opaque, GError **error)
{
	struct rpc *rpc = opaque;
	struct served_topics *topics = rpc->topics;
	g_autoptr(GPtrArray) declarations = NULL;
	enum broker_result result;

	topics->served_count = atomic_load(&topics->serves_alt) ? topics->count : 1;
	declarations = list_declarations(rpc);
	result = topology_declare(connection, channel, declarations, error);
	if (result != BROKER_OK && broker_denied_transient(connection))
		atomic_store(&rpc->transient_denied, true);
	if (result == BROKER_OK)
		topics->fanout_used = true;
	if (result == BROKER_CHANNEL_CLOSED)
		set_fanout_queues(topics, rpc->config);
	return result;
}

enum broker_result served_topics_unsubscribe(struct broker_connection *connection,
					     amqp_channel_t channel, void *opaque, GError **error)
{
	struct rpc *rpc = opaque;
	g_autoptr(GPtrArray) declarations = list_declarations(rpc);

	return topology_cancel(connection, channel, declarations, error);
}

void served_topics_forget_position(const char *consumer, void *opaque)
{
	const struct rpc *rpc = opaque;
	struct served_topics *topics = rpc->topics;

	for (size_t i = 0; i < topics->served_count; i++) {
		if (g_str_equal(topics->all[i].fanout_queue, consumer))
			stream_position_reset(&topics->all[i].position);
	}
}

void served_topics_leave(struct broker_connection *connection, amqp_channel_t channel, void *opaque)
{
	const struct rpc *rpc = opaque;
	const struct served_topics *topics = rpc->topics;

	if (rpc->config->stream_fanout || rpc->config->queue_manager_name || !topics->fanout_used)
		return;
	for (size_t i = 0; i < topics->served_count; i++)
		topology_delete(connection, channel, topics->all[i].fanout_queue);
}

bool served_topics_is_fanout(const struct served_topics *topics, const struct delivery *delivery)
{
	for (size_t i = 0; i < topics->served_count; i++) {
		if (g_strcmp0(topics->all[i].fanout_queue, delivery->consumer) == 0)
			return true;
	}
	return false;
}
