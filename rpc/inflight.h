/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests in progress, and the ids of recent requests:
 * - open requests: delivered and not acked yet;
 * - unanswered calls, whose callers get heartbeats while they wait;
 * - the _unique_id of the last INFLIGHT_SEEN_MAX requests, to recognize duplicates
 *   (oslo_messaging._drivers.amqp._MessageManager, which keeps 16).
 *
 * All functions may be called from any thread. The table's lock is held while a heartbeat is sent,
 * so it is taken before the outbox's lock; never the other way round.
 */
#ifndef NOVASNAP_RPC_INFLIGHT_H
#define NOVASNAP_RPC_INFLIGHT_H

#include "rpc/amqp/delivery.h"

#define INFLIGHT_SEEN_MAX 4096

struct inflight;

struct inflight *inflight_new(void);
/* Accepts NULL. */
void inflight_free(struct inflight *inflight);

enum inflight_verdict {
	INFLIGHT_NEW,	      /* handle it */
	INFLIGHT_REDELIVERED, /* already open, from a lost connection: its ack will be for this
			       * delivery; drop it */
	INFLIGHT_DUPLICATE,   /* already open from this connection, or handled recently: ack it, and
			       * drop it */
};

/* Records a delivered request. `unique_id` is copied; a request without one (NULL) is always new. A
 * new request is open from now on: `ret_number` is set, and identifies it below. Each delivery of a
 * connection must be acked: of several with the same id, the first one stays unacked until the
 * request is closed. */
enum inflight_verdict inflight_open(struct inflight *inflight, const char *unique_id,
				    const struct delivery_tag *tag, uint64_t *ret_number);

/* Closes a request when it is acked or freed. Returns whether it was open; `ret_tag` is then its
 * latest delivery. A request that is freed without an ack (`acked` false) counts as new when the
 * broker delivers it again. */
bool inflight_close(struct inflight *inflight, uint64_t number, bool acked,
		    struct delivery_tag *ret_tag);

/* Gets the latest delivery of an open request. Returns whether it is open. */
bool inflight_get_tag(struct inflight *inflight, uint64_t number, struct delivery_tag *ret_tag);

/* Adds an open call: its caller gets a heartbeat every half of `timeout_s`. Does nothing if that is
 * less than 2 s. The strings are the heartbeats' destination, and are copied. */
void inflight_add_call(struct inflight *inflight, uint64_t number, unsigned timeout_s,
		       const char *reply_queue, const char *msg_id);
/* The call is answered or freed: after this returns, no heartbeat is sent for it. */
void inflight_remove_call(struct inflight *inflight, uint64_t number);

/* Calls `send` for each call whose heartbeat is due. Returns when the next one is due, monotonic
 * us, or G_MAXINT64. */
gint64 inflight_send_heartbeats(struct inflight *inflight,
				void (*send)(const char *reply_queue, const char *msg_id,
					     void *opaque),
				void *opaque);

#endif
