/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See unhandled.h.
 */
#include "rpc/unhandled.h"

#include "rpc/amqp/consumer.h"
#include "rpc/amqp/mover.h"
#include "rpc/handle.h"
#include "rpc/inflight.h"

#define STOP_GRACE_MAX_S 2

/* A message on its way. */
struct unhandled_move {
	struct rpc *rpc;
	struct rpc_request *request; /* NULL: it cannot be decoded */
	uint64_t number;	     /* in rpc->inflight, if there is no request */
};

int unhandled_start(struct rpc *rpc, GError **error)
{
	if (!rpc->config->unhandled_queue || rpc->mover)
		return 0;
	rpc->mover = mover_start(rpc->config, rpc->url, rpc->config->unhandled_queue, error);
	return rpc->mover ? 0 : -1;
}

bool unhandled_can_move(const struct rpc *rpc, const struct delivery *delivery)
{
	return rpc->mover && delivery->raw->is_whole && delivery->length == delivery->size;
}

static void end_unreadable(struct unhandled_move *move, bool acked)
{
	struct delivery_tag tag;

	if (inflight_close(move->rpc->inflight, move->number, acked, &tag) && acked)
		consumer_ack(move->rpc->consumer, &tag);
}

/* A message that is freed without an ack is delivered again on the next connection. */
static void handle_moved(enum mover_end end, const struct raw_message *message, void *opaque)
{
	struct unhandled_move *move = opaque;
	const char *queue = move->rpc->config->unhandled_queue;
	g_autofree char *reason =
		g_strdup_printf("novasnapd does not serve it, and the queue %s takes no messages; "
				"nova-compute will not get it",
				queue);

	if (end == MOVER_GIVEN_UP && move->request) {
		rpc_request_reject(g_steal_pointer(&move->request), reason);
	} else if (end == MOVER_GIVEN_UP) {
		atomic_fetch_add(&move->rpc->rejected, 1);
		g_warning("rejecting a message of %zu bytes: %s", message->length, reason);
		end_unreadable(move, true);
	} else if (move->request) {
		if (end == MOVER_MOVED)
			rpc_request_ack(move->request);
		rpc_request_free(move->request);
	} else {
		end_unreadable(move, end == MOVER_MOVED);
	}
	g_free(move);
}

static void add_move(struct unhandled_move *move, const struct delivery *delivery)
{
	struct raw_message *message =
		raw_message_copy(delivery->raw, delivery->body, delivery->length);

	if (mover_add(move->rpc->mover, message, handle_moved, move))
		return;
	raw_message_free(message);
	g_warning("%u messages already wait to be moved to the queue %s: leaving another one with "
		  "the broker until it is delivered again",
		  mover_count(move->rpc->mover), move->rpc->config->unhandled_queue);
	if (move->request)
		rpc_request_free(move->request);
	else
		end_unreadable(move, false);
	g_free(move);
}

void unhandled_move(struct rpc *rpc, struct rpc_request *request, const struct delivery *delivery)
{
	struct unhandled_move *move = g_new0(struct unhandled_move, 1);

	move->rpc = rpc;
	move->request = request;
	add_move(move, delivery);
}

void unhandled_move_unreadable(struct rpc *rpc, const struct delivery *delivery,
			       const struct delivery_tag *tag)
{
	g_autofree char *id = g_compute_checksum_for_data(
		G_CHECKSUM_SHA256, (const guchar *)delivery->body, delivery->length);
	struct unhandled_move *move;
	uint64_t number;

	switch (inflight_open(rpc->inflight, id, tag, &number)) {
	case INFLIGHT_REDELIVERED: /* its first delivery, from a lost connection, still waits */
		return;
	case INFLIGHT_DUPLICATE:
		(void)inflight_open(rpc->inflight, NULL, tag, &number);
		break;
	case INFLIGHT_NEW:
	default:
		break;
	}
	move = g_new0(struct unhandled_move, 1);
	move->rpc = rpc;
	move->number = number;
	add_move(move, delivery);
}

void unhandled_stop(struct rpc *rpc, unsigned grace_s)
{
	mover_stop(g_steal_pointer(&rpc->mover), MIN(grace_s, STOP_GRACE_MAX_S));
}

unsigned rpc_moving_count(struct rpc *rpc)
{
	return rpc->mover ? mover_count(rpc->mover) : 0;
}
