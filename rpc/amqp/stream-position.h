/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a stream is consumed next (impl_rabbit.Consumer.next_stream_offset). Unlike a queue, a
 * stream keeps its messages, and it takes none back: a message that is returned is read again.
 * The functions may be called from any thread.
 */
#ifndef NOVASNAP_RPC_AMQP_STREAM_POSITION_H
#define NOVASNAP_RPC_AMQP_STREAM_POSITION_H

#include <stdatomic.h>
#include <stdint.h>

#define STREAM_POSITION_LAST (-1)

struct stream_position {
	atomic_llong next; /* an offset; negative: the last messages of the stream */
};

/* Begins at the last messages, as oslo.messaging does. */
void stream_position_reset(struct stream_position *position);
/* The offset to consume from; negative: the last messages. */
int64_t stream_position_get(struct stream_position *position);
/* Continues at `offset`: the message before it was delivered. */
void stream_position_set(struct stream_position *position, int64_t offset);
/* Continues at `offset` or at an earlier one: the message there was returned. */
void stream_position_rewind(struct stream_position *position, int64_t offset);

#endif
