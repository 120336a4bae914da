/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes the topology beside nova-compute, and talks with the forwarding thread.
 */
#include "rpc/beside.h"

#include <string.h>

#include "rpc/amqp/beside-topology.h"
#include "rpc/amqp/session.h"
#include "rpc/base.h"
#include "rpc/beside-message.h"
#include "rpc/content.h"
#include "rpc/json.h"
#include "rpc/limits.h"

#define CONNECTION_NAME "novasnap beside"

static int check_name(const char *name, GError **error)
{
	if (strlen(name) <= RPC_MAX_NAME_BYTES)
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_CONFIG,
		    "the name %s has %zu bytes, and AMQP allows %zu; shorten [DEFAULT]host to run "
		    "novasnap beside nova-compute",
		    name, strlen(name), RPC_MAX_NAME_BYTES);
	return -1;
}

struct rpc_beside_names *rpc_beside_names_new(const struct rpc_config *config, GError **error)
{
	struct rpc_beside_names *names = g_new0(struct rpc_beside_names, 1);
	g_autofree char *alt =
		g_strdup_printf("%s.%s", config->alt_topic ? config->alt_topic : "", config->host);

	names->exchange = g_strdup_printf("%s.%s", config->control_exchange, config->host);
	names->queue = g_strdup_printf("novasnap.%s", config->host);
	names->nova_queue = g_strdup_printf("%s.%s", config->topic, config->host);
	if (check_name(names->exchange, error) == 0 && check_name(names->queue, error) == 0 &&
	    check_name(names->nova_queue, error) == 0 && check_name(alt, error) == 0)
		return names;
	rpc_beside_names_free(names);
	return NULL;
}

void rpc_beside_names_free(struct rpc_beside_names *names)
{
	if (!names)
		return;
	g_free(names->exchange);
	g_free(names->queue);
	g_free(names->nova_queue);
	g_free(names);
}

/* Opens a session and makes its declarations; takes ownership of the list. */
static int declare_alone(const struct rpc_config *config, GPtrArray *list, GError **error)
{
	struct broker_session *session = session_open(config, CONNECTION_NAME, error);
	int rc = session ? session_declare(session, list, error) : -1;

	session_close(session);
	g_ptr_array_unref(list);
	return rc;
}

static int make_for_notifications(const struct rpc_config *config,
				  const struct rpc_beside_names *names, GError **error)
{
	const struct rpc_config *notifications = config->notifications;

	if (!notifications)
		return 0;
	if (declare_alone(notifications, beside_topology_exchange(notifications, names, true),
			  error) == 0)
		return 0;
	g_prefix_error(error, "at the broker of [oslo_messaging_notifications]transport_url: ");
	return -1;
}

static int make_with(const struct rpc_config *config, const struct rpc_beside_names *names,
		     GPtrArray *last, GError **error)
{
	GPtrArray *list = beside_topology_exchange(config, names, false);

	g_ptr_array_extend_and_steal(list, beside_topology_queue(config, names));
	if (last)
		g_ptr_array_extend_and_steal(list, last);
	/* The bindings outwards of all brokers come first. */
	if (make_for_notifications(config, names, error) == 0)
		return declare_alone(config, list, error);
	g_ptr_array_unref(list);
	return -1;
}

int rpc_beside_make(const struct rpc_config *config, GError **error)
{
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(config, error);

	return names ? make_with(config, names, NULL, error) : -1;
}

int rpc_beside_take(const struct rpc_config *config, GError **error)
{
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(config, error);
	GError *problem = NULL;
	int rc;

	if (!names || make_with(config, names, beside_topology_bind(config, names), error) < 0)
		return -1;
	rc = declare_alone(config, beside_topology_unbind_nova(config, names), &problem);
	/* nova-compute's queue is still bound: a request must not go to both. */
	if (g_error_matches(problem, RPC_ERROR, RPC_ERROR_REFUSED))
		(void)declare_alone(config, beside_topology_unbind(config, names), NULL);
	if (problem)
		g_propagate_error(error, problem);
	return rc;
}

int rpc_beside_give_back(const struct rpc_config *config, GError **error)
{
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(config, error);

	return names ? declare_alone(config, beside_topology_give_back(config, names), error) : -1;
}

/* Who may not delete it gets no refusal if there is nothing to delete. */
static int delete_exchange_of(struct broker_session *session, const struct rpc_beside_names *names,
			      GError **error)
{
	struct session_object exchange;

	if (session_look_exchange(session, names->exchange, &exchange, error) < 0)
		return -1;
	return exchange.exists ? session_delete_exchange(session, names->exchange, error) : 0;
}

static int delete_exchange(const struct rpc_config *config, const struct rpc_beside_names *names,
			   GError **error)
{
	struct broker_session *session = session_open(config, CONNECTION_NAME, error);
	int rc = session ? delete_exchange_of(session, names, error) : -1;

	session_close(session);
	return rc;
}

static int delete_queue(struct broker_session *session, const struct rpc_beside_names *names,
			GError **error)
{
	struct session_object queue;

	if (session_look_queue(session, names->queue, &queue, error) < 0)
		return -1;
	if (!queue.exists)
		return 0;
	if (queue.messages == 0 && queue.consumers == 0)
		return session_delete_queue(session, names->queue, error);
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "the queue %s is not deleted: it has %u messages and %u consumers",
		    names->queue, queue.messages, queue.consumers);
	return -1;
}

int rpc_beside_remove(const struct rpc_config *config, bool keep_exchange, GError **error)
{
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(config, error);
	struct broker_session *session =
		names ? session_open(config, CONNECTION_NAME, error) : NULL;
	int rc = session ? delete_queue(session, names, error) : -1;

	if (rc == 0 && !keep_exchange)
		rc = delete_exchange_of(session, names, error);
	session_close(session);
	if (rc == 0 && !keep_exchange && config->notifications)
		rc = delete_exchange(config->notifications, names, error);
	return rc;
}

/* An answer to a control message. */
struct awaited_answer {
	const char *id;
	bool arrived;
	struct rpc_beside_answer *answer;
};

static bool receive_answer(const char *exchange, const struct delivery *delivery, void *opaque)
{
	struct awaited_answer *awaited = opaque;
	struct content content;
	cJSON *body = content_decode(delivery, &content, NULL);
	const cJSON *delay = cJSON_GetObjectItemCaseSensitive(body, "delay_ms");
	const cJSON *pid = cJSON_GetObjectItemCaseSensitive(body, "pid");

	(void)exchange;
	content_clear(&content);
	if (body && g_strcmp0(json_string(body, "id"), awaited->id) == 0) {
		awaited->arrived = true;
		awaited->answer->intercepting =
			cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(body, "intercepting"));
		awaited->answer->pid = cJSON_IsNumber(pid) ? (int64_t)pid->valuedouble : 0;
		awaited->answer->delay_ms = cJSON_IsNumber(delay) ? delay->valuedouble : -1;
	}
	cJSON_Delete(body);
	return awaited->arrived;
}

static int send_control(struct broker_session *session, const char *queue, const char *type,
			unsigned timeout_s, struct awaited_answer *awaited, GError **error)
{
	const char *replies = session_consume(session, NULL, NULL, receive_answer, awaited, error);
	char *body = beside_message_ping(NULL, NULL);
	const struct session_message message = {.exchange = "",
						.key = queue,
						.body = body,
						.type = type,
						.message_id = awaited->id,
						.reply_to = replies};
	bool returned = false;
	int rc = replies ? session_publish(session, &message, &returned, error) : -1;

	cJSON_free(body);
	if (rc == 0 && returned) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
			    "the queue %s does not exist", queue);
		return -1;
	}
	/* The answer may have arrived with the confirmation. */
	if (rc == 0 && !awaited->arrived)
		rc = session_receive(session, g_get_monotonic_time() + timeout_s * G_USEC_PER_SEC,
				     error);
	if (rc == 0 && !awaited->arrived) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_TIMEOUT,
			    "novasnapd has not answered a message in its queue %s within %u s",
			    queue, timeout_s);
		return -1;
	}
	return rc;
}

int rpc_beside_control(const struct rpc_config *config, const char *type, const char *id,
		       unsigned timeout_s, struct rpc_beside_answer *ret_answer, GError **error)
{
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(config, error);
	g_autofree char *random = rpc_hex_id();
	struct awaited_answer awaited = {.id = id ? id : random, .answer = ret_answer};
	struct broker_session *session =
		names ? session_open(config, CONNECTION_NAME, error) : NULL;
	int rc = session ? send_control(session, names->queue, type, timeout_s, &awaited, error)
			 : -1;

	session_close(session);
	return rc;
}
