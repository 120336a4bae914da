/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One thread waits until another one has acked a message, and the broker has processed the ack.
 */
#ifndef NOVASNAP_RPC_AMQP_ACK_WAIT_H
#define NOVASNAP_RPC_AMQP_ACK_WAIT_H

#include <stdbool.h>

struct ack_wait;

/* For two owners: the one that waits and the one that acks. Each calls ack_wait_unref. */
struct ack_wait *ack_wait_new(void);
void ack_wait_unref(struct ack_wait *wait); /* accepts NULL */

/* For the one that acks. Returns false if it must not ack any more, since nobody waits. */
bool ack_wait_begin(struct ack_wait *wait);
/* Says whether the broker has processed the ack. A second call does nothing. */
void ack_wait_end(struct ack_wait *wait, bool is_acked);

/* Waits at most `limit_s` for the beginning, and as long for the end. Returns false if the ack was
 * not sent, or may be lost. */
bool ack_wait_result(struct ack_wait *wait, unsigned limit_s);

#endif
