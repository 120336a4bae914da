/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The body of a ping to nova-compute (nova.baserpc.BaseRPCAPI.ping).
 */
#ifndef NOVASNAP_RPC_BESIDE_MESSAGE_H
#define NOVASNAP_RPC_BESIDE_MESSAGE_H

/* A call whose answers have the id `msg_id`, or a cast if both are NULL. It has no _unique_id:
 * oslo.messaging does not drop a second copy of it. Freed with cJSON_free. */
char *beside_message_ping(const char *msg_id, const char *reply_queue);

#endif
