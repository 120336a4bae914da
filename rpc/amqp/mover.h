/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that moves messages into a queue, byte for byte, in their order, on a connection of its
 * own. Their sender keeps them unacked meanwhile, so that the broker has them. While the queue is
 * full or missing, the first message is tried again, with a growing pause. After a minute without
 * success only some messages still wait: unacked ones would fill the consumer's prefetch, and keep
 * other messages from it.
 */
#ifndef NOVASNAP_RPC_AMQP_MOVER_H
#define NOVASNAP_RPC_AMQP_MOVER_H

#include "rpc/amqp/raw-message.h"
#include "rpc/amqp/transport-url.h"
#include "rpc/rpc.h"

/* How much waits at most to be moved. */
#define MOVER_MAX_MESSAGES 1000
#define MOVER_MAX_BYTES ((size_t)32 * 1024 * 1024)

struct mover;

enum mover_end {
	MOVER_MOVED,	/* the broker has confirmed that the queue has it */
	MOVER_GIVEN_UP, /* the queue has taken nothing for MOVER_PATIENCE_S, and others wait, too */
	MOVER_STOPPED,	/* the mover was stopped; the queue may have it */
};

#define MOVER_PATIENCE_S 60

/* Called once for each message, in the mover's thread or in mover_stop. */
typedef void (*mover_done)(enum mover_end end, const struct raw_message *message, void *opaque);

/* Starts the thread, which declares the queue (declarations_of_unhandled) on each connection. The
 * arguments must outlive the mover. After MOVER_PATIENCE_S without success at most half of
 * config->prefetch messages wait. NULL with RPC_ERROR_FAILED. */
struct mover *mover_start(const struct rpc_config *config, const struct transport_url *url,
			  const char *queue, GError **error);
/* Adds a message, and takes ownership of it if there is room. Returns false, without a call of
 * `done`, if MOVER_MAX_MESSAGES or MOVER_MAX_BYTES
 * wait already. From any thread; does not wait. */
bool mover_add(struct mover *mover, struct raw_message *message, mover_done done, void *opaque);
/* The number of messages that wait. From any thread. */
unsigned mover_count(struct mover *mover);
/* Moves what waits, for at most `grace_s` seconds, and not while the broker refuses it. Then calls
 * `done` for each of the others, ends the thread and frees the mover. Call no mover_add
 * meanwhile. Accepts NULL. */
void mover_stop(struct mover *mover, unsigned grace_s);

#endif
