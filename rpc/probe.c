/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tries out what a server and a client declare, for `novasnap check`.
 */
#include "rpc/amqp/beside-topology.h"
#include "rpc/amqp/conflict.h"
#include "rpc/amqp/connection.h"
#include "rpc/amqp/declarations.h"
#include "rpc/amqp/topology.h"
#include "rpc/amqp/transport-url.h"
#include "rpc/beside.h"
#include "rpc/rpc.h"

#define PROBE_CHANNEL 1
#define PROBE_TTL_S 60
#define ANY_NUMBER 1
#define TOPICS_MAX 2

struct probe {
	const struct rpc_config *config;
	struct transport_url *url;
	struct broker_connection *connection; /* NULL: not connected */
	rpc_probe_report report;
	void *opaque;
	struct rpc_probe_counts counts;
	bool transient_denied;
	GString *denied; /* the names of the shared queues that are denied */
	bool private_denied;
};

static int probe_connect(struct probe *probe, GError **error)
{
	probe->connection = broker_open_any(probe->config, probe->url, "novasnap check", error);
	if (!probe->connection)
		return -1;
	if (broker_open_channel(probe->connection, PROBE_CHANNEL, error) == BROKER_OK)
		return 0;
	broker_abandon(g_steal_pointer(&probe->connection));
	return -1;
}

/* Makes one declaration; after the loss of a connection there is a new one. */
static enum broker_result probe_declare(struct probe *probe, const struct declaration *declaration,
					bool passive, GError **ret_refused, GError **error)
{
	enum broker_result result;

	if (!probe->connection && probe_connect(probe, error) < 0)
		return BROKER_LOST;
	result = topology_declare_one(probe->connection, PROBE_CHANNEL, declaration, passive,
				      ret_refused);
	if (result != BROKER_LOST)
		return result;
	probe->transient_denied =
		probe->transient_denied || broker_denied_transient(probe->connection);
	broker_abandon(g_steal_pointer(&probe->connection));
	return BROKER_LOST;
}

static void report_problem(const struct probe *probe, const struct declaration *declaration,
			   enum rpc_probe_result result, const char *problem)
{
	g_autofree char *text = g_strdup_printf(
		"%s %s: %s", declaration->kind == DECLARATION_QUEUE ? "queue" : "exchange",
		declaration->name, problem);

	probe->report(result, text, probe->opaque);
}

static void note_denial(struct probe *probe, const struct declaration *queue)
{
	if (queue->shared)
		g_string_append_printf(probe->denied, "%s%s", probe->denied->len > 0 ? ", " : "",
				       queue->name);
	else
		probe->private_denied = true;
}

static void report_denials(const struct probe *probe)
{
	g_autofree char *text = g_strdup_printf("%s: " TOPOLOGY_ADVICE_DENIED, probe->denied->str);

	if (probe->denied->len > 0)
		probe->report(RPC_PROBE_REFUSED, text, probe->opaque);
	if (probe->private_denied)
		probe->report(RPC_PROBE_DIFFERENT,
			      "for replies and fanout messages: " TOPOLOGY_ADVICE_DENIED_PRIVATE,
			      probe->opaque);
}

/* A queue of its own is declared in the same way, and deleted. */
static void probe_new_queue(struct probe *probe, const struct declaration *queue)
{
	g_autoptr(GError) refused = NULL;
	g_autofree char *name = NULL;
	struct declaration copy = *queue;
	const struct rpc_config random = {.queue_manager_name = NULL};
	struct declaration_argument *expires = &copy.arguments[copy.argument_count];

	name = declarations_reply_queue(&random, ANY_NUMBER);
	copy.name = name;
	copy.unused = false;
	/* If this process is killed before it deletes the queue, the broker does. */
	if (queue->shared) {
		*expires = (struct declaration_argument){.name = "x-expires",
							 .type = DECLARATION_NUMBER,
							 .number = PROBE_TTL_S * 1000};
		copy.argument_count++;
	}
	if (probe_declare(probe, &copy, false, &refused, &refused) == BROKER_OK) {
		topology_delete(probe->connection, PROBE_CHANNEL, name);
		probe->counts.missing += queue->shared;
		return;
	}
	if (probe->transient_denied && !queue->durable)
		note_denial(probe, queue);
	else
		report_problem(probe, queue, RPC_PROBE_REFUSED, refused->message);
}

/* Whether a stream can be declared is not tried out: a stream does not expire. */
static bool is_stream(const struct declaration *declaration)
{
	return declaration->kind == DECLARATION_QUEUE && declaration->argument_count > 0 &&
	       g_str_equal(declaration->arguments[0].text, "stream");
}

/* Compares what exists under the name of a declaration. What does not exist is not declared, but
 * for a shared queue. */
static void probe_existing(struct probe *probe, const struct declaration *declaration)
{
	g_autoptr(GError) refused = NULL;
	enum broker_result result = probe_declare(probe, declaration, true, &refused, &refused);

	if (result == BROKER_CHANNEL_CLOSED &&
	    broker_reply_code(probe->connection) == AMQP_NOT_FOUND) {
		if (declaration->shared && declaration->kind == DECLARATION_QUEUE &&
		    !is_stream(declaration))
			probe_new_queue(probe, declaration);
		else
			probe->counts.missing++;
		return;
	}
	if (result == BROKER_OK)
		result = probe_declare(probe, declaration, false, &refused, &refused);
	if (result == BROKER_OK) {
		probe->counts.equal++;
	} else if (result == BROKER_CHANNEL_CLOSED &&
		   topology_is_conflict(probe->connection, refused)) {
		g_autofree char *difference = conflict_describe(refused->message);
		g_autofree char *advice = conflict_advice(refused->message, !declaration->shared);
		g_autofree char *text = g_strdup_printf(
			"%s%s; %s", difference,
			declaration->shared ? "; novasnapd uses it as it is, but a nova-compute of "
					      "this configuration may not"
					    : "",
			advice);

		report_problem(probe, declaration,
			       declaration->shared ? RPC_PROBE_DIFFERENT : RPC_PROBE_REFUSED, text);
	} else {
		report_problem(probe, declaration, RPC_PROBE_REFUSED, refused->message);
	}
}

static void probe_list(struct probe *probe, GPtrArray *declarations)
{
	for (guint i = 0; i < declarations->len; i++) {
		const struct declaration *declaration = g_ptr_array_index(declarations, i);

		if (declaration->kind != DECLARATION_EXCHANGE &&
		    declaration->kind != DECLARATION_QUEUE)
			continue;
		if (declaration->shared)
			probe_existing(probe, declaration);
		else
			probe_new_queue(probe, declaration);
	}
	g_ptr_array_unref(declarations);
}

static void probe_server(struct probe *probe)
{
	const struct rpc_config *config = probe->config;
	const struct declaration_conditions conditions = {.used_before = true};
	g_autofree char *reply = declarations_reply_queue(config, ANY_NUMBER);
	const char *const names[TOPICS_MAX] = {config->topic, config->alt_topic};
	char *own[TOPICS_MAX], *fanout[TOPICS_MAX];
	struct declaration_topic topics[TOPICS_MAX];
	size_t count = 0;

	for (; count < TOPICS_MAX && names[count]; count++) {
		own[count] = g_strdup_printf("%s.%s", names[count], config->host);
		fanout[count] = declarations_fanout_queue(config, names[count], ANY_NUMBER);
		topics[count] =
			(struct declaration_topic){names[count], own[count], fanout[count], -1};
	}
	probe_list(probe, declarations_of_server(config, topics, count, conditions));
	probe_list(probe, declarations_of_replies(config, reply, conditions));
	if (config->unhandled_queue)
		probe_list(probe, declarations_of_unhandled(config, config->unhandled_queue));
	while (count-- > 0) {
		g_free(own[count]);
		g_free(fanout[count]);
	}
}

/* What `novasnap beside --enable` has made. */
static void probe_beside(struct probe *probe, const struct rpc_beside_names *names)
{
	GPtrArray *list = beside_topology_exchange(probe->config, names, false);

	g_ptr_array_extend_and_steal(list, beside_topology_queue(probe->config, names));
	for (guint i = 0; i < list->len; i++) {
		const struct declaration *declaration = g_ptr_array_index(list, i);

		if (!declaration->shared && (declaration->kind == DECLARATION_EXCHANGE ||
					     declaration->kind == DECLARATION_QUEUE))
			probe_existing(probe, declaration);
	}
	g_ptr_array_unref(list);
}

int rpc_probe(const struct rpc_config *config, enum rpc_probe_server server,
	      const char *const *notifications, rpc_probe_report report, void *opaque,
	      struct rpc_probe_counts *ret_counts, GError **error)
{
	g_autoptr(rpc_beside_names_t) names = NULL;
	struct probe probe = {.config = config, .report = report, .opaque = opaque};
	int rc;

	if (server == RPC_PROBE_BESIDE) {
		names = rpc_beside_names_new(config, error);
		if (!names)
			return -1;
	}
	probe.url = transport_url_parse(config->transport_url, error);
	if (!probe.url)
		return -1;
	probe.denied = g_string_new(NULL);
	rc = probe_connect(&probe, error);
	if (rc == 0 && server != RPC_PROBE_NO_SERVER)
		probe_server(&probe);
	if (rc == 0 && names)
		probe_beside(&probe, names);
	for (; rc == 0 && *notifications; notifications++)
		probe_list(&probe, declarations_of_notifications(config, *notifications));
	if (rc == 0)
		report_denials(&probe);
	broker_close(probe.connection);
	transport_url_free(probe.url);
	g_string_free(probe.denied, TRUE);
	*ret_counts = probe.counts;
	return rc;
}
