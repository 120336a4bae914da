/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See conflict.h.
 */
#include "rpc/amqp/conflict.h"

#include <string.h>

#define ARGUMENT "inequivalent arg '"
#define RECEIVED "received "
#define CURRENT " but current is "

/* The options that determine an argument. For fanout exchanges and streams there are others. */
static const struct {
	const char *argument;
	const char *options;
	const char *fanout_options;
} determined_by[] = {
	{"durable", "amqp_durable_queues and rabbit_quorum_queue",
	 "rabbit_transient_quorum_queue and rabbit_stream_fanout"},
	{"auto_delete", "amqp_auto_delete", "rabbit_transient_quorum_queue"},
	{"x-queue-type", "rabbit_quorum_queue", "rabbit_stream_fanout"},
	{"x-delivery-limit", "rabbit_quorum_delivery_limit", NULL},
	{"x-max-in-memory-length", "rabbit_quorum_max_memory_length", NULL},
	{"x-max-in-memory-bytes", "rabbit_quorum_max_memory_bytes", NULL},
	{"x-max-age", "rabbit_transient_queues_ttl", "rabbit_transient_queues_ttl"},
	{"x-expires", "rabbit_transient_queues_ttl", NULL},
};

bool conflict_is_refusal(const char *message)
{
	return strstr(message, ARGUMENT) != NULL;
}

/* The text after a mark, up to the next end mark or the message's end. NULL: not there. */
static char *text_between(const char *message, const char *mark, const char *end)
{
	const char *from = strstr(message, mark);
	const char *to;

	if (!from)
		return NULL;
	from += strlen(mark);
	to = strstr(from, end);
	return to ? g_strndup(from, (gsize)(to - from)) : g_strdup(from);
}

static const char *find_options(const char *argument, bool fanout)
{
	for (size_t i = 0; i < G_N_ELEMENTS(determined_by); i++) {
		if (g_strcmp0(determined_by[i].argument, argument) != 0)
			continue;
		return fanout && determined_by[i].fanout_options ? determined_by[i].fanout_options
								 : determined_by[i].options;
	}
	return NULL;
}

static char *advise_on_own(const char *message)
{
	g_autofree char *queue = text_between(message, "for queue '", "'");
	g_autofree char *vhost = text_between(message, "in vhost '", "'");

	if (queue && vhost)
		return g_strdup_printf(
			"only novasnapd uses it: while nova-compute has the requests "
			"(novasnap beside --status), delete it with `rabbitmqctl "
			"delete_queue -p %s %s`, and novasnapd makes it again",
			vhost, queue);
	return g_strdup("`novasnap beside --disable` removes it");
}

char *conflict_advice(const char *message, bool own)
{
	g_autofree char *argument = text_between(message, ARGUMENT, "'");
	g_autofree char *name = text_between(message, "' for ", " in vhost");
	const char *options = find_options(argument, name && g_str_has_suffix(name, "_fanout'"));

	if (own)
		return advise_on_own(message);
	return options ? g_strdup_printf("set %s as in the other services", options)
		       : g_strdup("find out which service declared it so");
}

/* RabbitMQ describes a value as 'true', or as "the value 'quorum' of type 'longstr'". */
static void shorten_value(char **value)
{
	char *quoted = *value ? text_between(*value, "'", "'") : NULL;

	if (!quoted)
		return;
	g_free(*value);
	*value = quoted;
}

char *conflict_describe(const char *message)
{
	g_autofree char *argument = text_between(message, ARGUMENT, "'");
	g_autofree char *received = text_between(message, RECEIVED, CURRENT);
	g_autofree char *current = text_between(message, CURRENT, "\n");

	shorten_value(&received);
	shorten_value(&current);
	if (!argument || !received || !current)
		return g_strdup(message);
	return g_strdup_printf("its %s is \"%s\" at the broker, and \"%s\" by this configuration",
			       argument, current, received);
}
