/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Explains RabbitMQ's refusal of an exchange or queue that exists with other arguments:
 * "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'nova' in vhost '/': received
 * 'false' but current is 'true'" (rabbit_misc:assert_args_equivalence).
 */
#ifndef NOVASNAP_RPC_AMQP_CONFLICT_H
#define NOVASNAP_RPC_AMQP_CONFLICT_H

#include <glib.h>
#include <stdbool.h>

/* Whether a message of the broker is such a refusal. */
bool conflict_is_refusal(const char *message);

/* What to do about it: the options that determine the argument. `own`: only novasnapd declares it,
 * for the mode beside. The caller frees the text. */
char *conflict_advice(const char *message, bool own);

/* The argument, and both values, for a user: "durable is true at the broker, and false by this
 * configuration". The caller frees the text. */
char *conflict_describe(const char *message);

#endif
