/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See forwarding.h.
 */
#include "rpc/forwarding.h"

#include "rpc/amqp/consumer.h"
#include "rpc/handle.h"

bool forwarding_is_on(const struct rpc *rpc)
{
	return rpc->forwarding != NULL;
}

void forwarding_ack(struct rpc *rpc, const struct delivery_tag *tag)
{
	if (rpc->forwarding)
		forwarder_ack(rpc->forwarding->forwarder, tag);
	else
		consumer_ack(rpc->consumer, tag);
}

bool forwarding_ack_surely(struct rpc *rpc, const struct delivery_tag *tag)
{
	return forwarder_ack_surely(rpc->forwarding->forwarder, tag);
}

void forwarding_requeue(struct rpc *rpc, const struct delivery_tag *tag)
{
	if (rpc->forwarding)
		forwarder_give_up(rpc->forwarding->forwarder, tag);
	else
		consumer_requeue(rpc->consumer, tag);
}

void forwarding_free(struct forwarding *forwarding)
{
	rpc_beside_names_free(forwarding->names);
	pthread_mutex_destroy(&forwarding->lock);
	g_free(forwarding);
}

void forwarding_stop(struct rpc *rpc, unsigned grace_s)
{
	if (!rpc->forwarding)
		return;
	forwarder_stop(rpc->forwarding->forwarder, grace_s);
	forwarding_free(g_steal_pointer(&rpc->forwarding));
}

void forwarding_apply_mode(struct forwarding *forwarding)
{
	forwarder_want(forwarding->forwarder, forwarding->mode != RPC_FORWARD_OFF);
	forwarder_want_canary(forwarding->forwarder,
			      forwarding->mode == RPC_FORWARD_INTERCEPT && forwarding->serving);
}

void forwarding_serve(struct rpc *rpc, bool serving)
{
	struct forwarding *forwarding = rpc->forwarding;

	pthread_mutex_lock(&forwarding->lock);
	forwarding->serving = serving;
	forwarding_apply_mode(forwarding);
	pthread_mutex_unlock(&forwarding->lock);
}
