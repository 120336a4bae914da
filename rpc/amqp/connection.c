/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening an AMQP connection, and reading the broker's replies by their type.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/internal.h"

#define CONNECT_TIMEOUT_S 10
#define RPC_TIMEOUT_S 20
#define CLOSE_TIMEOUT_S 2
#define POLL_MAX_MS 1000 /* heartbeats are looked at so often */
#define FRAME_MAX 131072
#define TEXT_MAX 500 /* of what the broker says */

struct link {
	amqp_connection_state_t state;
	char *peer;
	int code;
	struct tls_check tls;
};

amqp_connection_state_t link_state(struct link *link)
{
	return link->state;
}

int link_fd(struct link *link)
{
	return amqp_get_sockfd(link->state);
}

const char *link_peer(const struct link *link)
{
	return link->peer;
}

int link_code(const struct link *link)
{
	return link->code;
}

/* What the broker says when it closes a channel or the connection. It waits for our "ok" before the
 * channel's number can be used again. */
static enum link_result take_close(struct link *link, amqp_channel_t channel,
				   const amqp_method_t *method, const char *what, GError **error)
{
	bool whole = method->id == AMQP_CONNECTION_CLOSE_METHOD;
	const amqp_bytes_t *text;

	if (whole) {
		const amqp_connection_close_t *closed = method->decoded;
		amqp_connection_close_ok_t ok = {0};

		text = &closed->reply_text;
		link->code = closed->reply_code;
		(void)amqp_send_method(link->state, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
	} else {
		const amqp_channel_close_t *closed = method->decoded;
		amqp_channel_close_ok_t ok = {0};

		text = &closed->reply_text;
		link->code = closed->reply_code;
		(void)amqp_send_method(link->state, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
	}
	g_set_error(error, RPC_ERROR, whole ? RPC_ERROR_DISCONNECTED : RPC_ERROR_FAILED,
		    "%s at %s: the broker closed the %s: %d %.*s", what, link->peer,
		    whole ? "connection" : "channel", link->code, (int)MIN(text->len, TEXT_MAX),
		    (const char *)text->bytes);
	return whole ? LINK_LOST : LINK_CHANNEL_CLOSED;
}

enum link_result link_check(struct link *link, amqp_channel_t channel, const char *what,
			    GError **error)
{
	amqp_rpc_reply_t reply = amqp_get_rpc_reply(link->state);

	switch (reply.reply_type) {
	case AMQP_RESPONSE_NORMAL:
		return LINK_OK;
	case AMQP_RESPONSE_SERVER_EXCEPTION:
		if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD ||
		    reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD)
			return take_close(link, channel, &reply.reply, what, error);
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "%s at %s: the broker answered method 0x%08x", what, link->peer,
			    reply.reply.id);
		return LINK_LOST;
	case AMQP_RESPONSE_LIBRARY_EXCEPTION:
	case AMQP_RESPONSE_NONE:
	default:
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "%s at %s: %s", what,
			    link->peer, amqp_error_string2(reply.library_error));
		return LINK_LOST;
	}
}

enum link_result link_next_frame(struct link *link, amqp_frame_t *frame, GError **error)
{
	struct timeval now = {0, 0};
	int rc = amqp_simple_wait_frame_noblock(link->state, frame, &now);

	if (rc == AMQP_STATUS_TIMEOUT) {
		frame->frame_type = 0;
		return LINK_OK;
	}
	if (rc != AMQP_STATUS_OK) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "%s: %s", link->peer,
			    amqp_error_string2(rc));
		return LINK_LOST;
	}
	if (frame->frame_type == AMQP_FRAME_METHOD &&
	    (frame->payload.method.id == AMQP_CHANNEL_CLOSE_METHOD ||
	     frame->payload.method.id == AMQP_CONNECTION_CLOSE_METHOD))
		return take_close(link, frame->channel, &frame->payload.method, "idle", error);
	return LINK_OK;
}

static void set_table_bool(amqp_table_entry_t *entry, const char *key)
{
	entry->key = amqp_cstring_bytes(key);
	entry->value.kind = AMQP_FIELD_KIND_BOOLEAN;
	entry->value.value.boolean = 1;
}

static int log_in(struct link *link, const struct rpc_config *config, const char *vhost,
		  const struct rpc_server_address *address, const char *name, GError **error)
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

	reply = amqp_login_with_properties(
		link->state, vhost, AMQP_DEFAULT_MAX_CHANNELS, FRAME_MAX, (int)config->heartbeat_s,
		&properties, AMQP_SASL_METHOD_PLAIN, address->user, address->password);
	if (reply.reply_type == AMQP_RESPONSE_NORMAL)
		return 0;
	if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
	    reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
		amqp_connection_close_t *closed = reply.reply.decoded;

		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "cannot log in to RabbitMQ at %s, vhost %s, as %s: %d %.*s", link->peer,
			    vhost, address->user, closed->reply_code,
			    (int)MIN(closed->reply_text.len, TEXT_MAX),
			    (const char *)closed->reply_text.bytes);
	} else {
		/* A broker that wants a client's certificate says so after the handshake. */
		g_autofree char *why =
			reply.library_error <= AMQP_STATUS_SSL_ERROR
				? tls_explain(config, &link->tls, reply.library_error)
				: g_strdup_printf(
					  "%s; is the password right, and does the user have "
					  "that vhost?",
					  amqp_error_string2(reply.library_error));

		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "cannot log in to RabbitMQ at %s, vhost %s, as %s: %s", link->peer,
			    vhost, address->user, why);
	}
	return -1;
}

struct link *link_open(const struct rpc_config *config, const struct rpc_url *url,
		       const struct link_retry *retry, const char *name, GError **error)
{
	const struct rpc_server_address *address = g_ptr_array_index(url->servers, retry->server);
	struct timeval connect_limit = {CONNECT_TIMEOUT_S, 0}, rpc_limit = {RPC_TIMEOUT_S, 0};
	struct link *link = g_new0(struct link, 1);
	unsigned user_timeout_ms = RPC_TIMEOUT_S * 1000;
	amqp_socket_t *socket;
	GError *local = NULL;
	int rc;

	link->peer = g_strdup_printf(strchr(address->host, ':') ? "[%s]:%d" : "%s:%d",
				     address->host, address->port);
	link->state = amqp_new_connection();
	(void)amqp_set_handshake_timeout(link->state, &connect_limit);
	(void)amqp_set_rpc_timeout(link->state, &rpc_limit);
	socket = config->ssl
			 ? tls_socket_new(link->state, config, address->host, &link->tls, &local)
			 : amqp_tcp_socket_new(link->state);
	if (!socket) {
		if (!local)
			g_set_error(&local, RPC_ERROR, RPC_ERROR_FAILED,
				    "cannot make a socket for %s", link->peer);
		goto failed;
	}
	rc = amqp_socket_open_noblock(socket, address->host, address->port, &connect_limit);
	if (rc != AMQP_STATUS_OK) {
		g_autofree char *why =
			rc <= AMQP_STATUS_SSL_ERROR
				? tls_explain(config, &link->tls, rc)
				: g_strdup_printf("%s; does it run there?", amqp_error_string2(rc));

		g_set_error(&local, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "cannot connect to RabbitMQ at %s: %s", link->peer, why);
		goto failed;
	}
	/* A peer that is gone, or never reads, ends a write that would last for ever. */
	(void)setsockopt(link_fd(link), IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
			 sizeof(user_timeout_ms));
	if (log_in(link, config, url->vhost, address, name, &local) < 0)
		goto failed;
	return link;

failed:
	g_propagate_error(error, local);
	link_abandon(link);
	return NULL;
}

void link_abandon(struct link *link)
{
	if (!link)
		return;
	(void)amqp_destroy_connection(link->state);
	g_free(link->peer);
	g_free(link);
}

void link_close(struct link *link)
{
	struct timeval limit = {CLOSE_TIMEOUT_S, 0};

	if (!link)
		return;
	(void)amqp_set_rpc_timeout(link->state, &limit);
	(void)amqp_connection_close(link->state, AMQP_REPLY_SUCCESS);
	link_abandon(link);
}

void link_retry_begin(struct link_retry *retry, const struct rpc_config *config)
{
	retry->failures = 0;
	retry->pause_s = config->retry_interval_s;
	retry->at = g_get_monotonic_time() + (gint64)retry->pause_s * G_USEC_PER_SEC;
}

void link_retry_failed(struct link_retry *retry, const struct rpc_config *config,
		       const struct rpc_url *url)
{
	retry->server = (retry->server + 1) % url->servers->len;
	if (++retry->failures % url->servers->len != 0)
		return;
	retry->at = g_get_monotonic_time() + (gint64)retry->pause_s * G_USEC_PER_SEC;
	retry->pause_s = MIN(retry->pause_s + config->retry_backoff_s, config->interval_max_s);
}

enum link_result link_open_channel(struct link *link, amqp_channel_t channel, GError **error)
{
	(void)amqp_channel_open(link->state, channel);
	return link_check(link, channel, "opening a channel", error);
}

void link_poll(struct link *link, int event_fd, gint64 until)
{
	struct pollfd fds[2] = {{.fd = event_fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
	gint64 left_ms = (until - g_get_monotonic_time() + 999) / 1000;
	uint64_t count;

	left_ms = CLAMP(left_ms, 0, POLL_MAX_MS);
	if (link) {
		fds[1].fd = link_fd(link);
		if (amqp_frames_enqueued(link->state) || amqp_data_in_buffer(link->state))
			left_ms = 0;
	}
	if (poll(fds, 2, (int)left_ms) > 0 && (fds[0].revents & POLLIN))
		(void)!read(event_fd, &count, sizeof(count));
}
