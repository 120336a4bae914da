/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What arrives on the connection of the forwarding thread.
 */
#ifndef NOVASNAP_RPC_AMQP_FORWARDER_RECEIVE_H
#define NOVASNAP_RPC_AMQP_FORWARDER_RECEIVE_H

#include "rpc/amqp/forwarder-link.h"

/* Handles the frames that have arrived, up to a number of deliveries. */
void forwarder_read_frames(struct forwarder_link *link);
/* Publishes the message that measures the delay, if it is due. */
void forwarder_send_canary(struct forwarder_link *link);

#endif
