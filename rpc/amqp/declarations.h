/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is declared and consumed at the broker, as a list: a pure function of the configuration. It
 * mirrors oslo_messaging._drivers.impl_rabbit (declare_topic_consumer, declare_fanout_consumer,
 * declare_direct_consumer, notify_send, _get_queue_arguments) of the releases 14, 16 and 18. They
 * declare the same for the same options; an option that a release does not know has no effect
 * there, so where it is set, the other services have a release that knows it.
 * tests/unit/test-declarations.c compares the lists with declarations that were recorded from
 * oslo.messaging.
 */
#ifndef NOVASNAP_RPC_AMQP_DECLARATIONS_H
#define NOVASNAP_RPC_AMQP_DECLARATIONS_H

#include "rpc/amqp/declaration.h"
#include "rpc/rpc.h"

/* A list of struct declaration, in the order in which they are to be made. Each function returns a
 * new list, which the caller frees with g_ptr_array_unref. The strings of `config` must outlive
 * it. */

/* A topic that a server serves (amqpdriver.AMQPDriverBase.listen). */
struct declaration_topic {
	const char *name;      /* "compute", also the queue that all servers of the topic share */
	const char *own_queue; /* "compute.<host>" */
	/* The queue for messages to all servers. declarations_fanout_queue returns its name. */
	const char *fanout_queue;
	/* The offset in the stream where consuming begins, if the fanout queue is a stream;
	 * negative: at its last messages. */
	int64_t stream_offset;
};

/* What matters for the queues of this process alone. */
struct declaration_conditions {
	/* The broker denies transient queues that are not exclusive. A queue that would be one is
	 * exclusive, and a fanout queue is bound only if the exchange exists: on such a broker the
	 * fanout exchange is durable, so that of this configuration would have the wrong shape. */
	bool transient_denied;
	/* This process has consumed the queues before. Until then, a queue with a name that is not
	 * random may be another process's. */
	bool used_before;
};

/* The exchange, the queues of the topics, the prefetch, and the consumers. */
GPtrArray *declarations_of_server(const struct rpc_config *config,
				  const struct declaration_topic *topics, size_t count,
				  struct declaration_conditions conditions);
/* The queue for replies to this process's calls, on the default exchange, and its consumer. */
GPtrArray *declarations_of_replies(const struct rpc_config *config, const char *queue,
				   struct declaration_conditions conditions);
/* The exchange of the option control_exchange. */
GPtrArray *declarations_of_exchange(const struct rpc_config *config);
/* A queue of notifications, bound with its own name as key. */
GPtrArray *declarations_of_notifications(const struct rpc_config *config, const char *queue);

/* The name of the fanout queue of a topic: with rabbit_stream_fanout that of the stream, with
 * use_queue_manager the same one after each start of the process, else a random one. `number`
 * counts from 1; the next one has another name, unless it is the stream's. The caller frees it. */
char *declarations_fanout_queue(const struct rpc_config *config, const char *topic,
				unsigned number);
/* The name of a queue for replies. It follows the same rules, without the stream. */
char *declarations_reply_queue(const struct rpc_config *config, unsigned number);

#endif
