/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What other threads say about the messages that the forwarding thread holds.
 */
#ifndef NOVASNAP_RPC_AMQP_FORWARD_ANSWERS_H
#define NOVASNAP_RPC_AMQP_FORWARD_ANSWERS_H

#include "rpc/amqp/ack-wait.h"
#include "rpc/amqp/delivery.h"

struct forward_answers;

enum forward_answer_kind {
	FORWARD_ANSWER_ACK,
	FORWARD_ANSWER_ACK_SURELY, /* another thread waits until the broker has processed it */
	FORWARD_ANSWER_GIVE_UP,	   /* the message is to be forwarded */
	FORWARD_ANSWER_CONTROL,	   /* the answer to a control message */
};

struct forward_answer {
	enum forward_answer_kind kind;
	struct delivery_tag tag;
	char *body;	       /* FORWARD_ANSWER_CONTROL; else NULL */
	struct ack_wait *wait; /* FORWARD_ANSWER_ACK_SURELY; else NULL */
};

struct forward_answers *forward_answers_new(void);
void forward_answers_free(struct forward_answers *answers);

/* From any thread; wake the forwarding thread afterwards. Takes ownership of the body, and one
 * reference to the wait, which is ended with the answers if the thread has not ended it. */
void forward_answers_add(struct forward_answers *answers, const struct forward_answer *answer);
/* For the thread: takes all, oldest first. They are valid until the next call. */
const struct forward_answer *forward_answers_take(struct forward_answers *answers,
						  guint *ret_count);

#endif
