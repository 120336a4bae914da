/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See silent-targets.h.
 */
#include "rpc/amqp/silent-targets.h"

#define PAUSE_MIN_US (15 * G_USEC_PER_SEC)
#define PAUSE_MAX_US (120 * G_USEC_PER_SEC)

struct silent_target {
	gint64 not_before; /* monotonic us */
	gint64 pause_us;
};

struct silent_targets {
	GHashTable *by_name; /* exchange and key -> struct silent_target */
};

struct silent_targets *silent_targets_new(void)
{
	struct silent_targets *targets = g_new0(struct silent_targets, 1);

	targets->by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	return targets;
}

void silent_targets_free(struct silent_targets *targets)
{
	g_hash_table_unref(targets->by_name);
	g_free(targets);
}

static char *name_of(const char *exchange, const char *key)
{
	return g_strdup_printf("%s\n%s", exchange, key);
}

/* NULL: it is not silent. */
static struct silent_target *find(const struct silent_targets *targets, const char *exchange,
				  const char *key)
{
	g_autofree char *name = NULL;

	/* The usual case, of each message. */
	if (!targets || g_hash_table_size(targets->by_name) == 0)
		return NULL;
	name = name_of(exchange, key);
	return g_hash_table_lookup(targets->by_name, name);
}

void silent_targets_add(struct silent_targets *targets, const char *exchange, const char *key,
			int age_s)
{
	struct silent_target *target;

	if (!targets || find(targets, exchange, key))
		return;
	g_warning("the broker has not confirmed a message for %s within %d s: is its queue "
		  "available? Messages for it wait; others do not",
		  key, age_s);
	target = g_new0(struct silent_target, 1);
	target->pause_us = PAUSE_MIN_US;
	(void)g_hash_table_insert(targets->by_name, name_of(exchange, key), target);
}

bool silent_targets_has(const struct silent_targets *targets, const char *exchange, const char *key)
{
	return find(targets, exchange, key) != NULL;
}

gint64 silent_targets_not_before(const struct silent_targets *targets, const char *exchange,
				 const char *key)
{
	const struct silent_target *target = find(targets, exchange, key);

	return target ? target->not_before : 0;
}

void silent_targets_published(struct silent_targets *targets, const char *exchange, const char *key)
{
	struct silent_target *target = find(targets, exchange, key);

	if (!target)
		return;
	target->not_before = g_get_monotonic_time() + target->pause_us;
	target->pause_us = MIN(target->pause_us * 2, PAUSE_MAX_US);
}

void silent_targets_answered(struct silent_targets *targets, const char *exchange, const char *key)
{
	g_autofree char *name = NULL;

	if (!find(targets, exchange, key))
		return;
	name = name_of(exchange, key);
	(void)g_hash_table_remove(targets->by_name, name);
	g_message("the broker confirms messages for %s again", key);
}
