/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The publishing connection and its thread. It publishes the messages in the outbox and keeps each
 * one until the broker has confirmed it. Messages that are unconfirmed when the connection breaks
 * are published again on the next one.
 */
#ifndef NOVASNAP_RPC_AMQP_PUBLISHER_H
#define NOVASNAP_RPC_AMQP_PUBLISHER_H

#include "rpc/amqp/outbox.h"
#include "rpc/amqp/transport-url.h"
#include "rpc/rpc.h"

struct publisher;

/* Starts the thread, and returns before it has connected. `config` and `url` must outlive the
 * publisher. Returns NULL with RPC_ERROR_FAILED. */
struct publisher *publisher_start(const struct rpc_config *config, const struct transport_url *url,
				  GError **error);
/* Accepts no more messages, publishes the queued ones (for at most `grace_s` seconds), ends the
 * thread and frees the publisher. */
void publisher_stop(struct publisher *publisher, unsigned grace_s);

/* From now on no sender waits for a confirmation that has not come yet. From any thread. */
void publisher_end_waits(struct publisher *publisher);

/* Whether the connection is established. */
bool publisher_is_ready(struct publisher *publisher);
/* Returns why the connection is not established, or why the broker accepts nothing; NULL if no
 * reason is known. The caller frees it. */
char *publisher_last_connect_error(struct publisher *publisher);

/* The time of the thread's last turn, monotonic us. */
gint64 publisher_turned_at(const struct publisher *publisher);
/* How many messages the broker has not confirmed yet. */
unsigned publisher_count(struct publisher *publisher);

/* Adds a message to the outbox, and always takes ownership of its body. With `wait`, waits until
 * the broker has confirmed it, with the errors of outbox_wait. Without, returns immediately, with
 * the errors of outbox_add. */
int publisher_send(struct publisher *publisher, const struct outgoing_message *content, bool wait,
		   GError **error);

/* Shuts down the socket if a write to it has been stuck for too long; the thread then reconnects.
 * Call it about every second from another thread. */
void publisher_check_stuck_write(struct publisher *publisher);

#endif
