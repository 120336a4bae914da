/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bounds the memory of the forwarding thread. RabbitMQ limits what it sends ahead by the number of
 * messages only. When a message arrives that would exceed the limit, the thread ends its consumer,
 * and drops the bodies of this message and of all that follow it: the broker still has them. When
 * it has forwarded what it holds, it returns them to the queue in their order, and consumes it
 * again with a small prefetch.
 */
#ifndef NOVASNAP_RPC_AMQP_FORWARDER_EXCESS_H
#define NOVASNAP_RPC_AMQP_FORWARDER_EXCESS_H

#include "rpc/amqp/forwarder-link.h"

/* The header of a message has arrived: drops the body if there is no room for it. */
void forwarder_excess_check(struct forwarder_link *link);
/* Returns true if the message that is complete now was dropped. */
bool forwarder_excess_take(struct forwarder_link *link);
/* The broker has ended the consumer. */
void forwarder_excess_cancelled(struct forwarder_link *link);
/* Returns the messages, if it is time. Ends a consumer whose small prefetch is not needed any more.
 */
void forwarder_excess_update(struct forwarder_link *link);

#endif
