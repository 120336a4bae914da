/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which broker is tried next, and when (kombu's retries, with the options rabbit_retry_interval,
 * rabbit_retry_backoff and rabbit_interval_max).
 */
#ifndef NOVASNAP_RPC_AMQP_RETRY_H
#define NOVASNAP_RPC_AMQP_RETRY_H

#include "rpc/amqp/transport-url.h"
#include "rpc/rpc.h"

struct broker_retry {
	unsigned broker;   /* an index into transport_url.brokers */
	unsigned failures; /* since the last success */
	unsigned pause_s;  /* before the next round through all brokers */
	gint64 not_before; /* monotonic us */
};

/* Call it after a connection was established, and after an established connection was lost: the
 * next attempt goes to the same broker, after rabbit_retry_interval. */
void broker_retry_reset(struct broker_retry *retry, const struct rpc_config *config);

/* Call it after a failed attempt: the next attempt goes to the next broker, without a pause. After
 * each round through all brokers there is a pause, which grows up to rabbit_interval_max. */
void broker_retry_failed(struct broker_retry *retry, const struct rpc_config *config,
			 const struct transport_url *url);

#endif
