/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the connections and their threads are.
 */
#include "rpc/amqp/consumer.h"
#include "rpc/amqp/publisher.h"
#include "rpc/client.h"
#include "rpc/forward.h"
#include "rpc/handle.h"

void rpc_get_health(struct rpc *rpc, struct rpc_health *ret_health)
{
	gint64 oldest = MIN(consumer_turned_at(rpc->consumer), publisher_turned_at(rpc->publisher));

	*ret_health = (struct rpc_health){
		.consuming = consumer_is_ready(rpc->consumer),
		.publishing = publisher_is_ready(rpc->publisher),
		.outbox = publisher_count(rpc->publisher),
		.answered = rpc_client_answered(rpc->client),
	};
	if (rpc->notifier != rpc->publisher) {
		oldest = MIN(oldest, publisher_turned_at(rpc->notifier));
		ret_health->outbox += publisher_count(rpc->notifier);
	}
	ret_health->idle_us = g_get_monotonic_time() - oldest;
	if (rpc->forwarding) {
		struct rpc_forward_status status;

		rpc_forward_get_status(rpc, &status);
		ret_health->idle_us = MAX(ret_health->idle_us, status.idle_us);
		rpc_forward_status_clear(&status);
	}
}
