/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens a connection to a broker, and decodes the broker's replies by their type.
 */
#include "rpc/amqp/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/amqp/tls.h"

#define CONNECT_TIMEOUT_S 10
#define RPC_TIMEOUT_S 20
#define CLOSE_TIMEOUT_S 2
#define WAIT_MAX_MS 1000 /* librabbitmq sends heartbeats only while it is called */
#define FRAME_MAX_BYTES 131072
#define REPLY_TEXT_MAX_BYTES 500
#define TRANSIENT_FEATURE "transient_nonexcl_queues"

struct broker_connection {
	amqp_connection_state_t state;
	char *peer;
	int reply_code; /* of the last channel or connection that the broker closed */
	int close_code; /* of the connection, if the broker closed it */
	bool denied_transient;
	struct tls_verification tls;
};

amqp_connection_state_t broker_amqp_state(struct broker_connection *connection)
{
	return connection->state;
}

int broker_fd(struct broker_connection *connection)
{
	return amqp_get_sockfd(connection->state);
}

const char *broker_peer(const struct broker_connection *connection)
{
	return connection->peer;
}

int broker_reply_code(const struct broker_connection *connection)
{
	return connection->reply_code;
}

int broker_close_code(const struct broker_connection *connection)
{
	return connection->close_code;
}

bool broker_denied_transient(const struct broker_connection *connection)
{
	return connection->denied_transient;
}

/* The broker closed a channel or the connection. The channel's number can be used again only after
 * close-ok was sent. */
static enum broker_result handle_broker_close(struct broker_connection *connection,
					      amqp_channel_t channel, const amqp_method_t *method,
					      const char *action, GError **error)
{
	bool is_connection = method->id == AMQP_CONNECTION_CLOSE_METHOD;
	g_autofree char *line = NULL;
	const amqp_bytes_t *text;

	if (is_connection) {
		const amqp_connection_close_t *closed = method->decoded;
		amqp_connection_close_ok_t ok = {0};

		text = &closed->reply_text;
		connection->reply_code = connection->close_code = closed->reply_code;
		connection->denied_transient = closed->reply_code == AMQP_INTERNAL_ERROR &&
					       memmem(text->bytes, text->len, TRANSIENT_FEATURE,
						      strlen(TRANSIENT_FEATURE)) != NULL;
		(void)amqp_send_method(connection->state, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
	} else {
		const amqp_channel_close_t *closed = method->decoded;
		amqp_channel_close_ok_t ok = {0};

		text = &closed->reply_text;
		connection->reply_code = closed->reply_code;
		(void)amqp_send_method(connection->state, channel, AMQP_CHANNEL_CLOSE_OK_METHOD,
				       &ok);
	}
	line = g_strndup(text->bytes, MIN(text->len, REPLY_TEXT_MAX_BYTES));
	g_strdelimit(line, "\r\n", ' ');
	g_set_error(error, RPC_ERROR, is_connection ? RPC_ERROR_DISCONNECTED : RPC_ERROR_FAILED,
		    "%s at %s: the broker closed the %s: %d %s", action, connection->peer,
		    is_connection ? "connection" : "channel", connection->reply_code, line);
	return is_connection ? BROKER_LOST : BROKER_CHANNEL_CLOSED;
}

enum broker_result broker_check_reply(struct broker_connection *connection, amqp_channel_t channel,
				      const char *action, GError **error)
{
	amqp_rpc_reply_t reply = amqp_get_rpc_reply(connection->state);

	switch (reply.reply_type) {
	case AMQP_RESPONSE_NORMAL:
		return BROKER_OK;
	case AMQP_RESPONSE_SERVER_EXCEPTION:
		if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD ||
		    reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD)
			return handle_broker_close(connection, channel, &reply.reply, action,
						   error);
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "%s at %s: the broker answered with the unexpected method 0x%08x",
			    action, connection->peer, reply.reply.id);
		return BROKER_LOST;
	case AMQP_RESPONSE_LIBRARY_EXCEPTION:
	case AMQP_RESPONSE_NONE:
	default:
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "%s at %s: %s", action,
			    connection->peer, amqp_error_string2(reply.library_error));
		return BROKER_LOST;
	}
}

enum broker_result broker_next_frame(struct broker_connection *connection, amqp_frame_t *frame,
				     GError **error)
{
	struct timeval now = {0, 0};
	int rc = amqp_simple_wait_frame_noblock(connection->state, frame, &now);

	if (rc == AMQP_STATUS_TIMEOUT) {
		frame->frame_type = 0;
		return BROKER_OK;
	}
	if (rc != AMQP_STATUS_OK) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "%s: %s", connection->peer,
			    amqp_error_string2(rc));
		return BROKER_LOST;
	}
	if (frame->frame_type == AMQP_FRAME_METHOD &&
	    (frame->payload.method.id == AMQP_CHANNEL_CLOSE_METHOD ||
	     frame->payload.method.id == AMQP_CONNECTION_CLOSE_METHOD))
		return handle_broker_close(connection, frame->channel, &frame->payload.method,
					   "waiting for frames", error);
	return BROKER_OK;
}

static void set_table_bool(amqp_table_entry_t *entry, const char *key)
{
	entry->key = amqp_cstring_bytes(key);
	entry->value.kind = AMQP_FIELD_KIND_BOOLEAN;
	entry->value.value.boolean = 1;
}

static int log_in(struct broker_connection *connection, const struct rpc_config *config,
		  const char *vhost, const struct broker_address *address, const char *name,
		  GError **error)
{
	amqp_table_entry_t capabilities[5], entries[2];
	amqp_table_t properties = {G_N_ELEMENTS(entries), entries};
	amqp_rpc_reply_t reply;

	set_table_bool(&capabilities[0], "connection.blocked");
	set_table_bool(&capabilities[1], "consumer_cancel_notify");
	set_table_bool(&capabilities[2], "publisher_confirms");
	set_table_bool(&capabilities[3], "basic.nack");
	set_table_bool(&capabilities[4], "authentication_failure_close");
	entries[0].key = amqp_cstring_bytes("capabilities");
	entries[0].value.kind = AMQP_FIELD_KIND_TABLE;
	entries[0].value.value.table.num_entries = G_N_ELEMENTS(capabilities);
	entries[0].value.value.table.entries = capabilities;
	entries[1].key = amqp_cstring_bytes("connection_name");
	entries[1].value.kind = AMQP_FIELD_KIND_UTF8;
	entries[1].value.value.bytes = amqp_cstring_bytes(name);

	reply = amqp_login_with_properties(connection->state, vhost, AMQP_DEFAULT_MAX_CHANNELS,
					   FRAME_MAX_BYTES, (int)config->heartbeat_s, &properties,
					   AMQP_SASL_METHOD_PLAIN, address->user,
					   address->password);
	if (reply.reply_type == AMQP_RESPONSE_NORMAL)
		return 0;
	if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
	    reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
		amqp_connection_close_t *closed = reply.reply.decoded;

		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "cannot log in to RabbitMQ at %s, vhost %s, as %s: %d %.*s",
			    connection->peer, vhost, address->user, closed->reply_code,
			    (int)MIN(closed->reply_text.len, REPLY_TEXT_MAX_BYTES),
			    (const char *)closed->reply_text.bytes);
	} else {
		/* A broker that requires a client certificate closes the connection only after the
		 * handshake. */
		g_autofree char *why =
			reply.library_error <= AMQP_STATUS_SSL_ERROR
				? tls_explain_failure(config, &connection->tls, reply.library_error)
				: g_strdup_printf(
					  "%s; check the password, and that the user may use "
					  "the vhost",
					  amqp_error_string2(reply.library_error));

		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "cannot log in to RabbitMQ at %s, vhost %s, as %s: %s",
			    connection->peer, vhost, address->user, why);
	}
	return -1;
}

struct broker_connection *broker_open(const struct rpc_config *config,
				      const struct broker_address *address, const char *vhost,
				      const char *name, GError **error)
{
	struct timeval connect_limit = {CONNECT_TIMEOUT_S, 0}, rpc_limit = {RPC_TIMEOUT_S, 0};
	struct broker_connection *connection = g_new0(struct broker_connection, 1);
	unsigned user_timeout_ms = RPC_TIMEOUT_S * 1000;
	amqp_socket_t *socket;
	GError *local = NULL;
	int rc;

	connection->peer = g_strdup_printf(strchr(address->host, ':') ? "[%s]:%d" : "%s:%d",
					   address->host, address->port);
	connection->state = amqp_new_connection();
	(void)amqp_set_handshake_timeout(connection->state, &connect_limit);
	(void)amqp_set_rpc_timeout(connection->state, &rpc_limit);
	socket = config->ssl ? tls_socket_new(connection->state, config, address->host,
					      &connection->tls, &local)
			     : amqp_tcp_socket_new(connection->state);
	if (!socket) {
		if (!local)
			g_set_error(&local, RPC_ERROR, RPC_ERROR_FAILED,
				    "cannot create a socket for %s", connection->peer);
		goto failed;
	}
	rc = amqp_socket_open_noblock(socket, address->host, address->port, &connect_limit);
	if (rc != AMQP_STATUS_OK) {
		g_autofree char *why = rc <= AMQP_STATUS_SSL_ERROR
					       ? tls_explain_failure(config, &connection->tls, rc)
					       : g_strdup_printf("%s; is RabbitMQ running there?",
								 amqp_error_string2(rc));

		g_set_error(&local, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "cannot connect to RabbitMQ at %s: %s", connection->peer, why);
		goto failed;
	}
	/* Otherwise a write to a dead or stuck peer would never return. */
	(void)setsockopt(broker_fd(connection), IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
			 sizeof(user_timeout_ms));
	if (log_in(connection, config, vhost, address, name, &local) < 0)
		goto failed;
	return connection;

failed:
	g_propagate_error(error, local);
	broker_abandon(connection);
	return NULL;
}

void broker_abandon(struct broker_connection *connection)
{
	if (!connection)
		return;
	(void)amqp_destroy_connection(connection->state);
	g_free(connection->peer);
	g_free(connection);
}

struct broker_connection *broker_open_any(const struct rpc_config *config,
					  const struct transport_url *url, const char *name,
					  GError **error)
{
	struct broker_connection *connection = NULL;

	for (guint i = 0; i < url->brokers->len && !connection; i++) {
		g_clear_error(error);
		connection = broker_open(config, g_ptr_array_index(url->brokers, i), url->vhost,
					 name, error);
	}
	return connection;
}

void broker_close(struct broker_connection *connection)
{
	struct timeval limit = {CLOSE_TIMEOUT_S, 0};

	if (!connection)
		return;
	(void)amqp_set_rpc_timeout(connection->state, &limit);
	(void)amqp_connection_close(connection->state, AMQP_REPLY_SUCCESS);
	broker_abandon(connection);
}

enum broker_result broker_open_channel(struct broker_connection *connection, amqp_channel_t channel,
				       GError **error)
{
	(void)amqp_channel_open(connection->state, channel);
	return broker_check_reply(connection, channel, "opening a channel", error);
}

enum broker_result broker_check_reply_and_reopen(struct broker_connection *connection,
						 amqp_channel_t channel, const char *action,
						 GError **error)
{
	g_autoptr(GError) refused = NULL;
	enum broker_result result = broker_check_reply(connection, channel, action, &refused);

	if (result == BROKER_CHANNEL_CLOSED &&
	    broker_open_channel(connection, channel, error) != BROKER_OK)
		return BROKER_LOST;
	if (refused)
		g_propagate_error(error, g_steal_pointer(&refused));
	return result;
}

enum broker_result broker_select_confirms(struct broker_connection *connection,
					  amqp_channel_t channel, GError **error)
{
	(void)amqp_confirm_select(connection->state, channel);
	return broker_check_reply(connection, channel, "asking for publisher confirms", error);
}

enum broker_result broker_open_publishing(struct broker_connection *connection,
					  amqp_channel_t channel, GError **error)
{
	enum broker_result result = broker_open_channel(connection, channel, error);

	return result == BROKER_OK ? broker_select_confirms(connection, channel, error) : result;
}

void broker_wait(struct broker_connection *connection, int event_fd, gint64 until)
{
	struct pollfd fds[2] = {{.fd = event_fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
	gint64 left_ms = (until - g_get_monotonic_time() + 999) / 1000;
	uint64_t count;

	left_ms = CLAMP(left_ms, 0, WAIT_MAX_MS);
	if (connection) {
		fds[1].fd = broker_fd(connection);
		if (amqp_frames_enqueued(connection->state) ||
		    amqp_data_in_buffer(connection->state))
			left_ms = 0;
	}
	if (poll(fds, 2, (int)left_ms) > 0 && (fds[0].revents & POLLIN))
		(void)!read(event_fd, &count, sizeof(count));
}
