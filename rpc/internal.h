/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of this room share. Lock order: the server's lock before the outbox's; no other
 * lock is held while one is taken.
 */
#ifndef NOVASNAP_RPC_INTERNAL_H
#define NOVASNAP_RPC_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "rpc/amqp/connection.h"
#include "rpc/amqp/publisher.h"
#include "rpc/amqp/topology.h"
#include "rpc/base.h"
#include "rpc/context.h"
#include "rpc/failure.h"
#include "rpc/limits.h"
#include "rpc/redact.h"
#include "rpc/rejected.h"
#include "rpc/rpc.h"

/* --- incoming.c ------------------------------------------------------------------------------ */

/* A delivery that is coming in: its method, a header, then the body in pieces. Starts as zeros. */
struct incoming {
	bool begun;
	bool sized; /* the header has come */
	uint64_t tag;
	uint64_t size; /* bytes that the header announces */
	uint64_t seen; /* and those that have come */
	/* Once it is complete: where it lies, and how much of it: all, or, when it is over
	 * RPC_MAX_BODY_BYTES, the first RPC_MAX_KEPT_BYTES bytes. */
	const char *body;
	size_t length;
	GByteArray *pieces;
};

void incoming_begin(struct incoming *incoming, uint64_t tag);
/* 1 when the delivery is complete with this header or piece, until incoming_forget; 0 when it is
 * not; -1 with an error when the frame has no place there. A body of one piece is used where it
 * lies. */
int incoming_take(struct incoming *incoming, const amqp_frame_t *frame, GError **error);
void incoming_forget(struct incoming *incoming);

/* --- consumer.c ------------------------------------------------------------------------------ */

struct consumer;

/* What is consumed, each on the channel of that number. */
enum consumer_channel { CHANNEL_SERVER = 1, CHANNEL_REPLY, CHANNEL_LISTEN, CHANNELS };

struct consumer *consumer_start(struct rpc *rpc, GError **error);
void consumer_stop(struct consumer *consumer);
/* The connection is up, and what is wanted is consumed. */
bool consumer_ready(struct consumer *consumer);
/* From now on that is consumed, or not; from any thread. */
void consumer_want(struct consumer *consumer, enum consumer_channel channel, bool wanted);
/* Waits until it is (or is not any more) consumed. False after `deadline` (monotonic us). */
bool consumer_wait(struct consumer *consumer, enum consumer_channel channel, bool consumed,
		   gint64 deadline);
/* A delivery's place, for its ack. */
struct delivery {
	unsigned generation; /* of the connection */
	amqp_channel_t channel;
	uint64_t tag;
};
/* Acks, from any thread; nothing happens when that connection is gone. */
void consumer_ack(struct consumer *consumer, const struct delivery *delivery);

/* --- server.c, request.c, client.c ------------------------------------------------------------ */

struct server_state;
struct client_state;

struct rpc {
	const struct rpc_config *config;
	struct transport_url *url;
	struct publisher *publisher;
	struct consumer *consumer;
	struct server_state *server;
	struct client_state *client;

	/* Written once each, before the channel is wanted. */
	char **listen_keys;
	void (*heard)(const char *event_type, const cJSON *message, void *opaque);
	void *heard_opaque;
};

struct server_state *server_state_new(void);
void server_state_free(struct server_state *state);
const char *server_fanout_queue(struct server_state *state);
/* A body that came for the server. */
void server_take(struct rpc *rpc, const char *body, size_t length, const struct delivery *delivery);
/* One that is over RPC_MAX_BODY_BYTES, of which the first bytes are at hand. */
void server_take_too_long(struct rpc *rpc, const char *begin, size_t begin_length, uint64_t length,
			  const struct delivery *delivery);
/* Tells the callers of unanswered calls that we live; returns when to call it again, monotonic us.
 */
gint64 server_beat(struct rpc *rpc);
/* Notes the id; true when it was not seen lately. */
bool server_note_unique(struct server_state *state, const char *unique_id);

/* A message that was taken; it is the request's from now on. */
struct rpc_request *request_new(struct rpc *rpc, cJSON *message);
/* The message as it came, less its context. */
cJSON *request_message(const struct rpc_request *request);
/* Seconds, 0 where none. */
int64_t request_timeout(const struct rpc_request *request);
void request_send(struct rpc_request *request, cJSON *result, char *failure, bool ending);
/* A request is open until it is acked, and again unseen when it is freed without. True when the ack
 * is still owed; `ret_delivery` is then where it came last. */
bool server_close_request(struct rpc *rpc, struct rpc_request *request, bool acked,
			  struct delivery *ret_delivery);
void server_remove_call(struct rpc *rpc, struct rpc_request *request);

struct client_state *client_state_new(void);
void client_state_free(struct client_state *state);
const char *client_reply_queue(struct client_state *state);
void client_take_reply(struct rpc *rpc, const char *body, size_t length);

#endif
