/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the brokers, and what novasnapd declares there.
 */
#include "agent/check/rabbitmq.h"

#include "agent/check/nova-release.h"

#define REPLY_S 15
#define BROKER_POLL_US (G_USEC_PER_SEC / 10)
/* After the broker has rejected a login, another attempt may still succeed within this time. */
#define BROKER_REFUSED_US G_USEC_PER_SEC

/* Returns whether the broker accepted a login, and if not, the last error (NULL: no reply). */
static bool wait_for_broker(struct rpc *rpc, char **ret_problem)
{
	gint64 until = g_get_monotonic_time() + (gint64)REPLY_S * G_USEC_PER_SEC;
	g_autofree char *problem = NULL;

	while (g_get_monotonic_time() < until) {
		if (rpc_wait_ready(rpc, 0))
			return true;
		g_free(problem);
		problem = rpc_last_connect_error(rpc);
		if (problem)
			until = MIN(until, g_get_monotonic_time() + BROKER_REFUSED_US);
		g_usleep(BROKER_POLL_US);
	}
	*ret_problem = g_steal_pointer(&problem);
	return false;
}

/* Names the user, and how the connection is authenticated. */
static void report_login(struct check *check, const char *subject, const struct rpc_config *rpc)
{
	g_autofree char *url = rpc_url_describe(rpc->transport_url);
	const char *certificate = rpc->ssl ? rpc->ssl_cert_file : NULL;

	check_report(check, CHECK_OK, subject, "login accepted: %s%s%s%s", url,
		     rpc->ssl ? ", with TLS" : "", certificate ? " and the certificate " : "",
		     certificate ? certificate : "");
}

/* Returns whether the broker accepts a login. `ret_has_alt`: nova is asked for its release through
 * this broker, and this is whether its nova-compute serves the alt_topic; NULL: it is not asked. */
static bool check_broker(struct check *check, const char *subject, const struct rpc_config *config,
			 const char *key, bool *ret_has_alt)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *problem = NULL;
	struct rpc_config alone = *config;
	struct rpc *rpc;
	bool accepted;

	alone.notifications = NULL;
	alone.response_timeout_s = MIN(alone.response_timeout_s, REPLY_S);
	/* What does not exist yet is left to the services that use it. */
	alone.declares_nothing = true;
	/* The names of the queue manager are those of novasnapd. */
	alone.queue_manager_name = NULL;
	rpc = rpc_open(&alone, &error);
	if (!rpc) {
		check_report(check, CHECK_FAIL, subject, "%s", error->message);
		return false;
	}
	accepted = wait_for_broker(rpc, &problem);
	if (accepted) {
		report_login(check, subject, config);
		if (ret_has_alt)
			*ret_has_alt = check_nova_release(check, rpc);
	} else {
		check_report(check, CHECK_FAIL, subject, "%s (see %stransport_url)",
			     problem ? problem : "no reply", key);
	}
	rpc_close(rpc, 0);
	return accepted;
}

/* What rpc_probe reports to. */
struct queue_check {
	struct check *check;
	const char *subject;
	unsigned reported;
};

static void report_probe(enum rpc_probe_result result, const char *text, void *opaque)
{
	struct queue_check *queues = opaque;

	check_report(queues->check, result == RPC_PROBE_REFUSED ? CHECK_FAIL : CHECK_WARN,
		     queues->subject, "%s", text);
	queues->reported++;
}

static void add_topics(GPtrArray *names, const char *const *topics)
{
	for (; topics && *topics; topics++) {
		g_ptr_array_add(names, g_strconcat(*topics, ".info", NULL));
		g_ptr_array_add(names, g_strconcat(*topics, ".error", NULL));
	}
}

/* The queues that notifications are declared with; NULL-terminated. */
static GPtrArray *list_notification_queues(const struct nova_notify_config *config)
{
	GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

	if (config->enabled && config->legacy)
		add_topics(names, config->topics);
	if (config->enabled && config->versioned)
		add_topics(names, config->versioned_topics);
	g_ptr_array_add(names, NULL);
	return names;
}

static void check_queues(struct check *check, const char *subject, const struct rpc_config *config,
			 enum rpc_probe_server server, const GPtrArray *notifications)
{
	struct queue_check queues = {.check = check, .subject = subject};
	static const char *const none[] = {NULL};
	const char *const *names = notifications ? (const char *const *)notifications->pdata : none;
	struct rpc_probe_counts counts;
	g_autoptr(GError) error = NULL;

	if (rpc_probe(config, server, names, report_probe, &queues, &counts, &error) < 0)
		check_report(check, CHECK_FAIL, subject, "%s", error->message);
	else if (queues.reported == 0)
		check_report(check, CHECK_OK, subject,
			     "%u exchanges and queues are as configured, %u do not exist yet",
			     counts.equal, counts.missing);
}

void check_rabbitmq(struct check *check)
{
	struct rpc_config config = check->config->rpc;
	const struct rpc_config *other = config.notifications;
	g_autoptr(GPtrArray) queues = list_notification_queues(&check->config->notify);
	bool has_alt = false;

	if (check_broker(check, "RabbitMQ", &config, "[DEFAULT]", &has_alt)) {
		if (!has_alt)
			config.alt_topic = NULL;
		check_queues(check, "queues", &config,
			     check->config->beside ? RPC_PROBE_BESIDE : RPC_PROBE_EXCLUSIVE,
			     other ? NULL : queues);
	}
	if (other && check_broker(check, "RabbitMQ for notifications", other,
				  "[oslo_messaging_notifications]", NULL))
		check_queues(check, "queues for notifications", other, RPC_PROBE_NO_SERVER, queues);
}
