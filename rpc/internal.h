/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of this room share. Lock order: the server's lock before the outbox's; no other
 * lock is held while one is taken.
 */
#ifndef NOVASNAP_RPC_INTERNAL_H
#define NOVASNAP_RPC_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "rpc/amqp/librabbitmq.h"
#include "rpc/base.h"
#include "rpc/context.h"
#include "rpc/failure.h"
#include "rpc/limits.h"
#include "rpc/redact.h"
#include "rpc/rejected.h"
#include "rpc/rpc.h"

/* --- url.c ----------------------------------------------------------------------------------- */

struct rpc_server_address {
	char *host;
	char *user;
	char *password;
	int port;
};

struct rpc_url {
	GPtrArray *servers; /* struct rpc_server_address, in the order of the text; at least one */
	char *vhost;
};

/* rabbit://user:pass@host:port,user:pass@host:port/vhost, percent-encoded; the slash before the
 * vhost may be doubled. RPC_ERROR_CONFIG, which never quotes the password. */
struct rpc_url *rpc_url_parse(const char *text, GError **error);
void rpc_url_free(struct rpc_url *url);

/* --- tls.c ------------------------------------------------------------------------------------ */

struct tls_check {
	int code; /* X509_V_*, of the broker's certificate */
};

/* NULL with RPC_ERROR_CONFIG for files that do not serve. `check` lives as long as the socket. */
amqp_socket_t *tls_socket_new(amqp_connection_state_t state, const struct rpc_config *config,
			      const char *host, struct tls_check *check, GError **error);
/* Why the socket could not be opened (`status` is librabbitmq's); the caller frees it. */
char *tls_explain(const struct rpc_config *config, const struct tls_check *check, int status);

/* --- link.c: one AMQP connection, of one thread ----------------------------------------------- */

/* What an operation on a link came to. */
enum link_result {
	LINK_OK,
	LINK_CHANNEL_CLOSED, /* the broker refused; the channel is closed, the connection is not */
	LINK_LOST,
};

struct link;

/* Which server to try next, and when. */
struct link_retry {
	unsigned server;   /* an index into the URL's */
	unsigned failures; /* since the last success */
	unsigned pause_s;  /* before the next round of all servers */
	gint64 at;	   /* monotonic us: not before */
};

/* After a success, or the loss of a connection that was well: a short pause, the same server. */
void link_retry_begin(struct link_retry *retry, const struct rpc_config *config);
/* After a failure: the next server at once, and a pause that grows after each round of all. */
void link_retry_failed(struct link_retry *retry, const struct rpc_config *config,
		       const struct rpc_url *url);

/* NULL with RPC_ERROR_DISCONNECTED, or RPC_ERROR_CONFIG for TLS files that do not serve. */
struct link *link_open(const struct rpc_config *config, const struct rpc_url *url,
		       const struct link_retry *retry, const char *name, GError **error);
/* Says good-bye to the broker (for at most 2 s), so that what was written before is read. */
void link_close(struct link *link);
/* Closes the socket alone, of a connection that is not well. */
void link_abandon(struct link *link);
amqp_connection_state_t link_state(struct link *link);
int link_fd(struct link *link);
/* host:port */
const char *link_peer(const struct link *link);
enum link_result link_open_channel(struct link *link, amqp_channel_t channel, GError **error);
/* Turns the last reply into a result and, unless it was well, an error that begins with `what`. A
 * channel that the broker closed may be opened again. */
enum link_result link_check(struct link *link, amqp_channel_t channel, const char *what,
			    GError **error);
/* The next frame that has come, valid until buffers are released; frame_type 0: none. */
enum link_result link_next_frame(struct link *link, amqp_frame_t *frame, GError **error);
/* The broker's code of the last LINK_CHANNEL_CLOSED: 404, 406... */
int link_code(const struct link *link);
/* Waits until something may be read or the eventfd is written, up to `until` (monotonic us), and
 * not for so long that heartbeats suffer. */
void link_poll(struct link *link, int event_fd, gint64 until);

/* --- topology.c ------------------------------------------------------------------------------ */

/* In all of these a channel that the broker closed is opened again. An exchange or queue that is
 * declared otherwise already (406) is used as it is, and the log says so. */

/* The topic exchange of the control exchange's name. */
enum link_result topology_declare_exchange(struct link *link, amqp_channel_t channel,
					   const struct rpc_config *config, GError **error);
/* A queue on it, bound with its own name. */
enum link_result topology_declare_topic(struct link *link, amqp_channel_t channel,
					const struct rpc_config *config, const char *name,
					GError **error);
enum link_result topology_declare_fanout(struct link *link, amqp_channel_t channel,
					 const struct rpc_config *config, const char *queue,
					 GError **error);
enum link_result topology_declare_reply(struct link *link, amqp_channel_t channel,
					const struct rpc_config *config, const char *queue,
					GError **error);
enum link_result topology_declare_listener(struct link *link, amqp_channel_t channel,
					   const struct rpc_config *config, char **ret_queue,
					   const char *const *keys, GError **error);
enum link_result topology_consume(struct link *link, amqp_channel_t channel, const char *queue,
				  const char *tag, bool no_ack, GError **error);

/* --- publisher.c ----------------------------------------------------------------------------- */

struct publisher;

struct outgoing {
	const char *exchange;	/* copied */
	const char *key;	/* copied */
	char *body;		/* of cJSON; taken */
	unsigned expiration_ms; /* 0: none */
	bool mandatory;
	bool retry_unroutable; /* until timeout_s, for the queue may come with its owner */
	bool declare;	       /* a queue of the key's name is declared and bound before */
	bool transient;	       /* nothing of it outlives a broker's restart, nor a lack of room */
	unsigned timeout_s;    /* how long it may wait for the broker; 0: for ever */
};

struct publisher *publisher_start(const struct rpc_config *config, const struct rpc_url *url,
				  GError **error);
void publisher_stop(struct publisher *publisher, unsigned grace_s);
bool publisher_ready(struct publisher *publisher);
/* Why it is not; the caller frees it. NULL: nothing is known. */
char *publisher_last_connect_error(struct publisher *publisher);
/* Queues a message. With `wait`, returns when the broker has confirmed it, or why it has not. */
int publisher_send(struct publisher *publisher, const struct outgoing *message, bool wait,
		   GError **error);
/* Breaks the connection when a write has been stuck for too long; from another thread. */
void publisher_watch(struct publisher *publisher);

/* --- incoming.c ------------------------------------------------------------------------------ */

/* A delivery that is coming in: its method, a header, then the body in pieces. Starts as zeros. */
struct incoming {
	bool begun;
	bool sized; /* the header has come */
	uint64_t tag;
	uint64_t size; /* bytes that the header announces */
	uint64_t seen; /* and those that have come */
	/* Once it is complete: where it lies, and how much of it: all, or, when it is over
	 * RPC_MAX_BODY_BYTES, the first RPC_MAX_KEPT_BYTES bytes. */
	const char *body;
	size_t length;
	GByteArray *pieces;
};

void incoming_begin(struct incoming *incoming, uint64_t tag);
/* 1 when the delivery is complete with this header or piece, until incoming_forget; 0 when it is
 * not; -1 with an error when the frame has no place there. A body of one piece is used where it
 * lies. */
int incoming_take(struct incoming *incoming, const amqp_frame_t *frame, GError **error);
void incoming_forget(struct incoming *incoming);

/* --- consumer.c ------------------------------------------------------------------------------ */

struct consumer;

/* What is consumed, each on the channel of that number. */
enum consumer_channel { CHANNEL_SERVER = 1, CHANNEL_REPLY, CHANNEL_LISTEN, CHANNELS };

struct consumer *consumer_start(struct rpc *rpc, GError **error);
void consumer_stop(struct consumer *consumer);
/* The connection is up, and what is wanted is consumed. */
bool consumer_ready(struct consumer *consumer);
/* From now on that is consumed, or not; from any thread. */
void consumer_want(struct consumer *consumer, enum consumer_channel channel, bool wanted);
/* Waits until it is (or is not any more) consumed. False after `deadline` (monotonic us). */
bool consumer_wait(struct consumer *consumer, enum consumer_channel channel, bool consumed,
		   gint64 deadline);
/* A delivery's place, for its ack. */
struct delivery {
	unsigned generation; /* of the connection */
	amqp_channel_t channel;
	uint64_t tag;
};
/* Acks, from any thread; nothing happens when that connection is gone. */
void consumer_ack(struct consumer *consumer, const struct delivery *delivery);

/* --- server.c, request.c, client.c ------------------------------------------------------------ */

struct server_state;
struct client_state;

struct rpc {
	const struct rpc_config *config;
	struct rpc_url *url;
	struct publisher *publisher;
	struct consumer *consumer;
	struct server_state *server;
	struct client_state *client;

	/* Written once each, before the channel is wanted. */
	char **listen_keys;
	void (*heard)(const char *event_type, const cJSON *message, void *opaque);
	void *heard_opaque;
};

struct server_state *server_state_new(void);
void server_state_free(struct server_state *state);
const char *server_fanout_queue(struct server_state *state);
/* A body that came for the server. */
void server_take(struct rpc *rpc, const char *body, size_t length, const struct delivery *delivery);
/* One that is over RPC_MAX_BODY_BYTES, of which the first bytes are at hand. */
void server_take_too_long(struct rpc *rpc, const char *begin, size_t begin_length, uint64_t length,
			  const struct delivery *delivery);
/* Tells the callers of unanswered calls that we live; returns when to call it again, monotonic us.
 */
gint64 server_beat(struct rpc *rpc);
/* Notes the id; true when it was not seen lately. */
bool server_note_unique(struct server_state *state, const char *unique_id);

/* A message that was taken; it is the request's from now on. */
struct rpc_request *request_new(struct rpc *rpc, cJSON *message);
/* The message as it came, less its context. */
cJSON *request_message(const struct rpc_request *request);
/* Seconds, 0 where none. */
int64_t request_timeout(const struct rpc_request *request);
void request_send(struct rpc_request *request, cJSON *result, char *failure, bool ending);
/* A request is open until it is acked, and again unseen when it is freed without. True when the ack
 * is still owed; `ret_delivery` is then where it came last. */
bool server_close_request(struct rpc *rpc, struct rpc_request *request, bool acked,
			  struct delivery *ret_delivery);
void server_remove_call(struct rpc *rpc, struct rpc_request *request);

struct client_state *client_state_new(void);
void client_state_free(struct client_state *state);
const char *client_reply_queue(struct client_state *state);
void client_take_reply(struct rpc *rpc, const char *body, size_t length);

#endif
