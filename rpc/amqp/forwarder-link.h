/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection of the forwarding thread: what is sent on it, and what becomes of the messages
 * that are held. Only the thread uses it, except for the members that say otherwise.
 */
#ifndef NOVASNAP_RPC_AMQP_FORWARDER_LINK_H
#define NOVASNAP_RPC_AMQP_FORWARDER_LINK_H

#include <pthread.h>
#include <stdatomic.h>

#include "rpc/amqp/connection.h"
#include "rpc/amqp/delays.h"
#include "rpc/amqp/delivery.h"
#include "rpc/amqp/held.h"
#include "rpc/amqp/retry.h"
#include "rpc/amqp/transport-url.h"
#include "rpc/amqp/write-watchdog.h"
#include "rpc/beside.h"

/* The callbacks run in the thread and must not wait for anything. */
struct forwarder_ops {
	/* A message has arrived. Returns true if it is taken: forwarder_ack or forwarder_give_up
	 * must be called for its tag. Returns false if it is to be forwarded. */
	bool (*take)(const struct delivery *delivery, void *opaque);
	/* A control message of that `type` has arrived. forwarder_answer must be called for it. */
	void (*control)(const struct delivery *delivery, const char *type, const char *message_id,
			void *opaque);
	void *opaque;
};

struct forwarder_status {
	bool connected;
	unsigned connection; /* the number of the connection; another one: it was made again */
	bool consuming;
	bool refused;	       /* nova-compute's queue is missing or takes nothing */
	unsigned held;	       /* messages that have arrived and are not acked yet */
	uint64_t forwarded;    /* confirmed copies so far */
	uint64_t rejected;     /* given to dead-lettering so far */
	uint64_t taken;	       /* so far */
	gint64 turn_at;	       /* monotonic us: the thread's last turn; it has one each second */
	gint64 progress_at;    /* monotonic us: a message arrived or was acked */
	gint64 stalled_since;  /* monotonic us: messages wait, and no copy was confirmed since then;
				* 0: none wait */
	struct delays hops;    /* from the arrival of a message to the confirmation of its copy */
	struct delays canary;  /* from publishing to arrival of the own messages */
	gint64 canary_sent_at; /* monotonic us: of the one that has not arrived yet; 0: none */
	char *problem;	       /* why it does not consume; NULL: it does, or is not wanted to */
};

/* The messages that there was no room for (forwarder-excess.h). */
struct forwarder_excess {
	bool dropping;	 /* from the first of them until they are returned */
	bool cancelled;	 /* no more messages arrive */
	GArray *numbers; /* uint64_t: their delivery tags */
	gint64 large_at; /* monotonic us: a large message arrived */
};

struct forwarder_link {
	const struct rpc_config *config;
	const struct transport_url *url;
	const struct rpc_beside_names *names;
	struct forwarder_ops ops;
	char *key; /* of the requests to this host, and of the canary */
	struct write_watchdog watchdog;
	atomic_bool wanted;	  /* set by any thread */
	atomic_bool wants_canary; /* set by any thread */

	pthread_mutex_t lock;
	struct forwarder_status status; /* guarded by the lock */

	struct broker_connection *connection; /* NULL: there is none */
	const struct broker_address *address;
	struct broker_retry retry;
	unsigned connection_number;
	bool established;
	bool consuming;
	unsigned prefetch; /* of the next consumer */
	bool drained;	   /* the queue is empty, and the thread ends: it is not consumed again */
	bool blocked;	   /* the broker accepts nothing at the moment */
	unsigned pause_s;  /* after the broker has refused to let it consume; 0: it has not */
	gint64 consume_at; /* monotonic us */
	char *problem;
	struct held *held;
	struct forwarder_excess excess;
	struct delivery_assembler arriving, returning;
	bool from_nova_compute; /* the message that arrives was published by nova-compute */
	char *canary;		/* the id of the one that is under way */
	gint64 canary_sent_at;	/* monotonic us */
};

/* Sets the fields that are not zero at the start. */
void forwarder_link_init(struct forwarder_link *link, const struct rpc_config *config,
			 const struct transport_url *url, const struct rpc_beside_names *names,
			 const struct forwarder_ops *ops);
void forwarder_link_clear(struct forwarder_link *link);

/* The connection is lost, because of `why`, which is freed: the broker delivers again what is held.
 */
void forwarder_link_disconnect(struct forwarder_link *link, GError *why);
/* The connection was closed. */
void forwarder_link_forget(struct forwarder_link *link);
void forwarder_link_connect(struct forwarder_link *link);
/* Gives up a connection on which the confirmation of a copy is overdue. */
void forwarder_link_check_confirmation(struct forwarder_link *link);
/* Starts or ends consuming, if it is wanted. */
void forwarder_link_update_consuming(struct forwarder_link *link);

/* Notes why nothing is consumed or forwarded, and logs it with `what` once; NULL: it is. */
void forwarder_link_set_problem(struct forwarder_link *link, const char *problem, const char *what);
/* Increments a counter of the status: there is progress. */
void forwarder_link_count(struct forwarder_link *link, uint64_t *counter);

/* Gives up the connection if librabbitmq could not send a method: `rc` is its status. */
void forwarder_link_check_sent(struct forwarder_link *link, int rc);
/* Acks a message that is held, and frees it. */
void forwarder_link_ack(struct forwarder_link *link, struct held_message *message);
/* Publishes what may be published now. Returns the time of the next try, monotonic us. */
gint64 forwarder_link_publish_waiting(struct forwarder_link *link);
/* Lets the answer to the oldest message be published, if that is a control message. */
void forwarder_link_answer_oldest(struct forwarder_link *link);
/* The broker has confirmed or rejected copies, as for held_confirm. */
void forwarder_link_confirm(struct forwarder_link *link, uint64_t number, bool multiple,
			    bool accepted);
/* The broker has closed the channel for publishing because of `why`, which is freed. */
void forwarder_link_handle_refusal(struct forwarder_link *link, GError *why);

#endif
