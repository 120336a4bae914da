/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See beside-look.h.
 */
#include "rpc/beside-look.h"

#include <string.h>

#include "rpc/amqp/session.h"
#include "rpc/base.h"
#include "rpc/beside-message.h"
#include "rpc/content.h"
#include "rpc/json.h"

#define CONNECTION_NAME "novasnap beside"
#define CONDUCTOR_TOPIC "conductor"
#define SERVICE_BINARY "nova-compute"
/* For the second answer to a ping. */
#define SECOND_ANSWER_S 1

static struct rpc_beside_queue copy_queue(const struct session_object *object)
{
	return (struct rpc_beside_queue){object->exists, object->messages, object->consumers};
}

static int look_at_notifications(const struct rpc_config *config,
				 const struct rpc_beside_names *names, bool *ret_exists,
				 GError **error)
{
	struct broker_session *session;
	struct session_object object = {.exists = true};
	int rc = 0;

	if (config->notifications) {
		session = session_open(config->notifications, CONNECTION_NAME, error);
		rc = session ? session_look_exchange(session, names->exchange, &object, error) : -1;
		session_close(session);
	}
	*ret_exists = object.exists;
	return rc;
}

static int look_at_objects(struct broker_session *session, const struct rpc_beside_names *names,
			   struct rpc_beside_objects *objects, GError **error)
{
	struct session_object exchange, queue, nova_queue;

	if (session_look_exchange(session, names->exchange, &exchange, error) < 0 ||
	    session_look_queue(session, names->queue, &queue, error) < 0 ||
	    session_look_queue(session, names->nova_queue, &nova_queue, error) < 0)
		return -1;
	objects->exchange = exchange.exists;
	objects->queue = copy_queue(&queue);
	objects->nova_queue = copy_queue(&nova_queue);
	return 0;
}

int rpc_beside_look(const struct rpc_config *config, struct rpc_beside_objects *ret_objects,
		    GError **error)
{
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(config, error);
	struct broker_session *session =
		names ? session_open(config, CONNECTION_NAME, error) : NULL;
	int rc = session ? look_at_objects(session, names, ret_objects, error) : -1;

	session_close(session);
	return rc < 0 ? rc
		      : look_at_notifications(config, names, &ret_objects->notification_exchange,
					      error);
}

struct awaited_pong {
	const char *msg_id;
	gint64 began;
	struct rpc_beside_ping *ping;
};

static bool receive_pong(const char *exchange, const struct delivery *delivery, void *opaque)
{
	struct awaited_pong *awaited = opaque;
	struct content content;
	cJSON *reply = content_decode(delivery, &content, NULL);
	bool is_answer = reply && g_strcmp0(json_string(reply, "_msg_id"), awaited->msg_id) == 0;

	(void)exchange;
	content_clear(&content);
	cJSON_Delete(reply);
	if (!is_answer)
		return false;
	if (awaited->ping->answers++ == 0)
		awaited->ping->first_ms =
			(double)(g_get_monotonic_time() - awaited->began) / 1000.0;
	return true;
}

static int send_ping(struct broker_session *session, const struct session_message *way,
		     unsigned timeout_s, struct awaited_pong *awaited, GError **error)
{
	const char *replies = session_consume(session, NULL, NULL, receive_pong, awaited, error);
	char *body = beside_message_ping(awaited->msg_id, replies);
	struct session_message message = *way;
	int rc;

	message.body = body;
	/* A nova-compute that gets it later waits for a minute for the queue of the answer. */
	message.expiration_ms = timeout_s * 1000;
	awaited->began = g_get_monotonic_time();
	rc = replies ? session_publish(session, &message, &awaited->ping->returned, error) : -1;
	cJSON_free(body);
	/* An answer may have arrived with the confirmation. */
	if (rc == 0 && !awaited->ping->returned && awaited->ping->answers == 0)
		rc = session_receive(session, awaited->began + timeout_s * G_USEC_PER_SEC, error);
	return rc;
}

int rpc_beside_ping(const struct rpc_config *config, enum rpc_beside_way way, unsigned timeout_s,
		    struct rpc_beside_ping *ret_ping, GError **error)
{
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(config, error);
	g_autofree char *msg_id = rpc_hex_id();
	struct awaited_pong awaited = {.msg_id = msg_id, .ping = ret_ping};
	struct broker_session *session =
		names ? session_open(config, CONNECTION_NAME, error) : NULL;
	bool direct = way == RPC_BESIDE_DIRECT;
	int rc = -1;

	*ret_ping = (struct rpc_beside_ping){.first_ms = 0};
	if (session) {
		const struct session_message to = {.exchange =
							   direct ? "" : config->control_exchange,
						   .key = names->nova_queue};

		rc = send_ping(session, &to, timeout_s, &awaited, error);
	}
	if (rc == 0 && !direct && ret_ping->answers == 1)
		rc = session_receive(
			session, g_get_monotonic_time() + SECOND_ANSWER_S * G_USEC_PER_SEC, error);
	session_close(session);
	return rc;
}

/* What is listened for. */
struct observation {
	const struct rpc_config *config;
	const struct rpc_beside_names *names;
	enum rpc_beside_evidence wanted;
	enum rpc_beside_evidence seen;
};

/* Whether a message is the report of this host's nova-compute (nova.servicegroup.drivers.db). */
static bool is_own_report(const struct rpc_config *config, const struct delivery *delivery)
{
	struct content content;
	cJSON *message = content_decode(delivery, &content, NULL);
	const cJSON *args = cJSON_GetObjectItemCaseSensitive(message, "args");
	const cJSON *object = cJSON_GetObjectItemCaseSensitive(args, "objinst");
	const cJSON *data = cJSON_GetObjectItemCaseSensitive(object, "nova_object.data");
	bool is_report = g_strcmp0(json_string(object, "nova_object.name"), "Service") == 0 &&
			 g_strcmp0(json_string(data, "binary"), SERVICE_BINARY) == 0 &&
			 g_strcmp0(json_string(data, "host"), config->host) == 0;

	content_clear(&content);
	cJSON_Delete(message);
	return is_report;
}

static bool observe_message(const char *exchange, const struct delivery *delivery, void *opaque)
{
	struct observation *observation = opaque;

	if (g_str_equal(exchange, observation->names->exchange))
		observation->seen = RPC_BESIDE_FOLLOWS;
	else if (is_own_report(observation->config, delivery))
		observation->seen = RPC_BESIDE_OLD_CONFIG;
	else
		return false;
	return observation->wanted == RPC_BESIDE_UNSEEN || observation->wanted == observation->seen;
}

int rpc_beside_observe(const struct rpc_config *config, enum rpc_beside_evidence wanted,
		       unsigned timeout_s, enum rpc_beside_evidence *ret_seen, GError **error)
{
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(config, error);
	struct observation observation = {config, names, wanted, RPC_BESIDE_UNSEEN};
	struct broker_session *session =
		names ? session_open(config, CONNECTION_NAME, error) : NULL;
	int rc = -1;

	if (session && session_consume(session, config->control_exchange, CONDUCTOR_TOPIC,
				       observe_message, &observation, error))
		rc = session_receive(session, g_get_monotonic_time() + timeout_s * G_USEC_PER_SEC,
				     error);
	session_close(session);
	*ret_seen = observation.seen;
	return rc;
}
