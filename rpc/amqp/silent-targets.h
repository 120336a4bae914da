/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the broker takes messages and does not confirm them: for example a quorum queue without a
 * majority. A target is an exchange with a routing key. Only a few messages are published to a
 * silent target, to find out when it confirms again; the others wait in the outbox, and those for
 * other targets pass them. Used by the publishing thread only. Where `targets` is NULL, none is
 * silent.
 */
#ifndef NOVASNAP_RPC_AMQP_SILENT_TARGETS_H
#define NOVASNAP_RPC_AMQP_SILENT_TARGETS_H

#include <glib.h>
#include <stdbool.h>

struct silent_targets;

struct silent_targets *silent_targets_new(void);
void silent_targets_free(struct silent_targets *targets);

/* The target has not confirmed a message for `age_s` seconds. Logs that once. */
void silent_targets_add(struct silent_targets *targets, const char *exchange, const char *key,
			int age_s);
bool silent_targets_has(const struct silent_targets *targets, const char *exchange,
			const char *key);
/* When the next message may be published to the target, monotonic us; 0: at once. */
gint64 silent_targets_not_before(const struct silent_targets *targets, const char *exchange,
				 const char *key);
/* A message is published to the target. The next one follows after a pause, which grows. */
void silent_targets_published(struct silent_targets *targets, const char *exchange,
			      const char *key);
/* The broker has confirmed or rejected a message to the target: it is not silent any more. */
void silent_targets_answered(struct silent_targets *targets, const char *exchange, const char *key);

#endif
