/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The options of oslo.messaging.
 */
#include "agent/config/messaging.h"

#include <string.h>

#include "agent/config/fill.h"
#include "agent/config/substitution.h"
#include "agent/config/value.h"

#define RABBIT "oslo_messaging_rabbit"
#define NOTIFICATIONS "oslo_messaging_notifications"
/* Names of oslo.messaging before 2024, which are valid in a query, too. */
#define MISSPELT "rabbit_quroum_"

/* The transport URL whose query is applied. */
struct url_query {
	struct config_inputs *inputs;
	const char *section; /* of the URL's key */
	const char *url;
};

static int set_error_at(const struct config_inputs *inputs, const char *section, const char *name,
			const char *problem, GError **error)
{
	const struct config_source source = {config_table, config_table_size, inputs->ini};
	const struct config_key *key = config_key_find(&source, section, name);

	return config_key_set_error(key, config_key_setting(key, inputs->ini), problem, error);
}

/* Returns NULL if the value can be used, else the problem with it, which the caller frees. */
static char *find_problem(const struct config_ignored_option *option, const char *text)
{
	g_autofree char *lower = g_ascii_strdown(text, -1);
	g_autofree char *all = NULL;
	bool flag;

	if (option->type == CONFIG_UINT && *text &&
	    !g_regex_match_simple("^\\s*[-+]?\\d+\\s*$", text, 0, 0))
		return g_strdup("must be a whole number");
	if (option->type == CONFIG_BOOL) {
		if (!config_value_parse_bool(text, &flag))
			return g_strdup("must be true or false");
		g_free(lower);
		lower = g_strdup(flag ? "true" : "false");
	}
	if (!option->accepted || !*lower || g_strv_contains(option->accepted, lower))
		return NULL;
	all = g_strjoinv(", ", (char **)option->accepted);
	return g_strdup_printf("is \"%s\", which novasnap does not support (%s); it supports %s",
			       text, option->why, all);
}

static int check_option(const struct config_inputs *inputs,
			const struct config_ignored_option *option, GError **error)
{
	const struct config_source source = {config_table, config_table_size, inputs->ini};
	const struct config_key key = {
		.section = option->section, .name = option->name, .old_names = {option->old_name}};
	const struct ini_setting *setting = config_key_setting(&key, inputs->ini);
	g_autofree char *problem = NULL;
	g_autofree char *text = NULL;

	if (!setting)
		return 0;
	text = config_substitute(&source, &key, setting, setting->text, error);
	if (!text)
		return -1;
	problem = find_problem(option, text);
	return problem ? config_key_set_error(&key, setting, problem, error) : 0;
}

static const struct config_ignored_option *find_ignored_option(const char *name)
{
	for (size_t i = 0; i < config_ignored_option_count; i++) {
		const struct config_ignored_option *option = &config_ignored_options[i];

		if (g_str_equal(option->section, RABBIT) && g_str_equal(option->name, name))
			return option;
	}
	return NULL;
}

static const struct config_key *find_key(const char *name)
{
	for (size_t i = 0; i < config_table_size; i++) {
		int rank = config_key_rank(&config_table[i], RABBIT, name);

		if (rank == 0 || (rank > 0 && g_str_has_prefix(name, MISSPELT)))
			return &config_table[i];
	}
	return NULL;
}

static int apply_url_option(const struct url_query *query, const struct rpc_url_option *option,
			    GError **error)
{
	const struct config_ignored_option *ignored = find_ignored_option(option->name);
	const struct config_key *key = find_key(option->name);
	g_autofree char *problem = NULL;
	g_autofree char *where = NULL;

	if (key &&
	    config_key_store(key, option->value, query->inputs, query->inputs->memory, error) == 0)
		return 0;
	if (key) {
		g_prefix_error(error, "the query of [%s]transport_url: ", query->section);
		return -1;
	}
	problem = ignored ? find_problem(ignored, option->value)
			  : g_strdup("[" RABBIT "] has no such option");
	if (!problem)
		return 0;
	where = g_strdup_printf("its query's %s: %s", option->name, problem);
	return set_error_at(query->inputs, query->section, "transport_url", where, error);
}

/* Overrides members of config.rpc by the options in a URL's query, as
 * oslo_messaging._drivers.common.ConfigOptsProxy does. */
static int apply_query(const struct url_query *query, GError **error)
{
	static const char prefix[] = "transport_url: ";
	g_autoptr(GError) invalid = NULL;
	g_autoptr(GPtrArray) options = rpc_url_options(query->url, &invalid);

	if (!options) {
		const char *problem = invalid->message;

		problem += g_str_has_prefix(problem, prefix) ? strlen(prefix) : 0;
		return set_error_at(query->inputs, query->section, "transport_url", problem, error);
	}
	for (guint i = 0; i < options->len; i++) {
		if (apply_url_option(query, options->pdata[i], error) < 0)
			return -1;
	}
	return 0;
}

/* Only these drivers send messages. oslo.messaging ignores a driver that it does not know. */
static int load_drivers(struct config_inputs *inputs, GError **error)
{
	const char *const *drivers = inputs->notification_drivers;
	bool enveloped = g_strv_contains(drivers, "messagingv2");
	bool bare = g_strv_contains(drivers, "messaging");

	if (g_strv_contains(drivers, "routing"))
		return set_error_at(inputs, NOTIFICATIONS, "driver",
				    "is \"routing\", which novasnap does not support; use "
				    "messagingv2, or noop for no notifications",
				    error);
	inputs->config.notify.enabled = bare || enveloped;
	inputs->config.rpc.notification_format = !bare	      ? RPC_NOTIFICATION_ENVELOPE
						 : !enveloped ? RPC_NOTIFICATION_BARE
							      : RPC_NOTIFICATION_BOTH;
	return 0;
}

/* As oslo_messaging._drivers.impl_rabbit.Connection and _get_queue_arguments. */
static int check_queues(const struct config_inputs *inputs, GError **error)
{
	const struct rpc_config *rpc = &inputs->config.rpc;

	if (rpc->ha_queues && (rpc->quorum || rpc->transient_quorum))
		return set_error_at(inputs, RABBIT, "rabbit_ha_queues",
				    "cannot be combined with rabbit_quorum_queue or "
				    "rabbit_transient_quorum_queue",
				    error);
	if (rpc->stream_fanout && (!rpc->transient_quorum || rpc->prefetch == 0))
		return set_error_at(inputs, RABBIT, "rabbit_stream_fanout",
				    "needs rabbit_transient_quorum_queue and "
				    "rabbit_qos_prefetch_count",
				    error);
	return 0;
}

int config_messaging_load(struct config_inputs *inputs, GError **error)
{
	struct rpc_config *rpc = &inputs->config.rpc;
	const struct rpc_config section = *rpc;
	const struct url_query query = {inputs, "DEFAULT", rpc->transport_url};
	const char *url = inputs->notification_transport_url;
	const struct url_query notifications = {inputs, NOTIFICATIONS, url};

	for (size_t i = 0; i < config_ignored_option_count; i++) {
		if (check_option(inputs, &config_ignored_options[i], error) < 0)
			return -1;
	}
	if (load_drivers(inputs, error) < 0)
		return -1;
	if (url && inputs->config.notify.enabled && !rpc_url_equal(url, rpc->transport_url)) {
		if (apply_query(&notifications, error) < 0)
			return -1;
		inputs->notifications = *rpc;
		inputs->notifications.transport_url = url;
		*rpc = section;
		rpc->notifications = &inputs->notifications;
	}
	if (apply_query(&query, error) < 0)
		return -1;
	return check_queues(inputs, error);
}
