/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which broker is tried next, and when (kombu's retries, with the options rabbit_retry_interval,
 * rabbit_retry_backoff and rabbit_interval_max). So that the hosts of a cloud do not all go to the
 * same broker at the same time, each connection has its own random order of the brokers
 * (oslo_messaging._drivers.impl_rabbit.Connection.__init__), and each pause is random.
 */
#ifndef NOVASNAP_RPC_AMQP_RETRY_H
#define NOVASNAP_RPC_AMQP_RETRY_H

#include "rpc/amqp/transport-url.h"
#include "rpc/rpc.h"

/* A connection that lives for at least rabbit_interval_max is stable. All members are private
 * except not_before. */
struct broker_retry {
	unsigned *order;     /* indexes into transport_url.brokers */
	unsigned count;	     /* of the brokers */
	unsigned position;   /* in `order` */
	unsigned failures;   /* since the last stable connection */
	unsigned pause_s;    /* the next pause, before it is made random */
	gint64 connected_at; /* monotonic us */
	gint64 not_before;   /* monotonic us: the next attempt */
};

/* Chooses a random order. The first attempt may be made at once. */
void broker_retry_init(struct broker_retry *retry, const struct rpc_config *config,
		       const struct transport_url *url);
void broker_retry_clear(struct broker_retry *retry);

/* The broker of the next attempt. Valid as long as `url`. */
const struct broker_address *broker_retry_address(const struct broker_retry *retry,
						  const struct transport_url *url);

/* Call it after a connection was established. */
void broker_retry_connected(struct broker_retry *retry);
/* Call it after an established connection was lost. After a stable one, the next attempt goes to
 * the same broker, after about rabbit_retry_interval. Otherwise it goes to the next broker, after a
 * pause that grows as after failures. */
void broker_retry_lost(struct broker_retry *retry, const struct rpc_config *config);
/* Call it after a failed attempt: the next attempt goes to the next broker, without a pause. After
 * each round through all brokers there is a pause, which grows up to rabbit_interval_max. */
void broker_retry_failed(struct broker_retry *retry, const struct rpc_config *config);

/* The pause after `pause_s` in seconds, before it is made random; after 0 it is the first one. */
unsigned broker_retry_grow(unsigned pause_s, const struct rpc_config *config);
/* A random time between one half and one and a half of `pause_s` seconds, in us. */
gint64 broker_retry_jitter(unsigned pause_s);

#endif
