/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rpc room: oslo.messaging on RabbitMQ. One connection consumes (server queues and the reply
 * queue), one publishes; each belongs to its own thread, which never waits for a job. What others
 * want published goes through a bounded outbox, and is confirmed by the broker.
 *
 * Names, arguments and order of all that is declared mirror oslo_messaging._drivers.impl_rabbit and
 * amqpdriver of the Zed release.
 */
#ifndef NOVASNAP_RPC_RPC_H
#define NOVASNAP_RPC_RPC_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define RPC_ERROR rpc_error_quark()
GQuark rpc_error_quark(void);

enum rpc_error {
	RPC_ERROR_FAILED,
	RPC_ERROR_CONFIG,	 /* transport_url or another key cannot work */
	RPC_ERROR_DECODE,	 /* a body that is no message; the reason is in the text */
	RPC_ERROR_DISCONNECTED,	 /* the broker could not be reached within the limit */
	RPC_ERROR_OUTBOX_FULL,	 /* too much waits for the broker already */
	RPC_ERROR_NOT_CONFIRMED, /* published, and the broker did not take it (nack, unroutable) */
	RPC_ERROR_TIMEOUT,	 /* no reply within the limit (MessagingTimeout) */
	/* What the other side raised; see rpc_failure_from_error for all of it. */
	RPC_ERROR_REMOTE,
	RPC_ERROR_UNEXPECTED_TASK_STATE,
	RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE,
	RPC_ERROR_INSTANCE_NOT_FOUND,
};

/* All strings belong to the caller and live as long as the rpc. Times in seconds. */
struct rpc_config {
	const char *transport_url;    /* rabbit://user:pass@host:port,.../vhost */
	const char *control_exchange; /* "nova" */
	const char *host;	      /* [DEFAULT]host: the name of this compute host */
	const char *topic;	      /* "compute" */
	bool durable;		      /* amqp_durable_queues or rabbit_quorum_queue */
	bool auto_delete;	      /* amqp_auto_delete */
	bool quorum;		      /* rabbit_quorum_queue */
	unsigned heartbeat_s;	      /* heartbeat_timeout_threshold; 0: none */
	unsigned retry_interval_s;    /* rabbit_retry_interval, 1 */
	unsigned retry_backoff_s;     /* rabbit_retry_backoff, 2 */
	unsigned interval_max_s;      /* rabbit_interval_max, 30 */
	unsigned queue_ttl_s;	      /* rabbit_transient_queues_ttl, 1800 */
	unsigned prefetch;	      /* 0: no limit */
	unsigned response_timeout_s;  /* rpc_response_timeout */
	unsigned outbox_max;	      /* messages that may wait for the publisher */
	bool ssl;
	const char *ssl_ca_file;
	const char *ssl_cert_file;
	const char *ssl_key_file;
	/* Where a body that cannot be decoded is kept; NULL: nowhere. */
	const char *rejected_dir;
	unsigned rejected_max_files;
	uint64_t rejected_max_bytes; /* of all together */
};

/* --- the request's context ------------------------------------------------------------------ */

/* The _context_* fields of a message, with their prefix cut off; immutable. */
struct rpc_context;
struct rpc_context *
rpc_context_new(cJSON *fields); /* takes the object; NULL: an admin's empty one */
void rpc_context_free(struct rpc_context *context);
const cJSON *rpc_context_fields(const struct rpc_context *context);
/* A string field, NULL where absent or no string: "auth_token", "request_id", "user_id"... */
const char *rpc_context_string(const struct rpc_context *context, const char *field);
typedef struct rpc_context rpc_context_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(rpc_context_t, rpc_context_free)

/* --- the connections ------------------------------------------------------------------------ */

struct rpc;

/* Parses the configuration, starts both threads. Returns at once: the broker may come later. */
struct rpc *rpc_open(const struct rpc_config *config, GError **error);
/* Publishes what still waits (for at most `grace_s`), ends both threads, frees all. */
void rpc_close(struct rpc *rpc, unsigned grace_s);
/* Both connections are up (and, when a server runs, its queues are consumed). False after
 * `timeout_s`. */
bool rpc_wait_ready(struct rpc *rpc, unsigned timeout_s);
/* Why the broker could not be reached the last time; the caller frees it. NULL: it could, or was
 * not tried yet. */
char *rpc_last_connect_error(struct rpc *rpc);

/* --- the server ----------------------------------------------------------------------------- */

/* A message that came for us. Owned by whoever it was given to, until rpc_request_free. */
struct rpc_request;
const char *rpc_request_method(const struct rpc_request *request);
const char *rpc_request_version(const struct rpc_request *request);	    /* "1.0" where absent */
const char *rpc_request_unique_id(const struct rpc_request *request);	    /* NULL where absent */
cJSON *rpc_request_args(const struct rpc_request *request);		    /* always an object */
struct rpc_context *rpc_request_context(const struct rpc_request *request); /* no new reference */
bool rpc_request_is_call(const struct rpc_request *request);
/* Tells the broker that the message is ours now; once, from any thread. Without it the message
 * comes again after the connection is lost. */
void rpc_request_ack(struct rpc_request *request);
/* Answers a call, or does nothing for a cast; once. `result` is taken and may be NULL (null). While
 * a call with a _timeout is unanswered, its caller is told every half of it that we live. */
void rpc_request_reply(struct rpc_request *request, cJSON *result);
/* Answers with an exception: class ("ValueError"), module ("builtins"), and what is to be said. */
void rpc_request_fail(struct rpc_request *request, const char *class_name, const char *module,
		      const char *message);
/* For arguments that make no sense: logs the reason, keeps the message beside those that cannot be
 * decoded, acks it, answers a call with ValueError, and frees it. */
void rpc_request_reject(struct rpc_request *request, const char *reason);
void rpc_request_free(struct rpc_request *request);
/* The message as JSON, every secret in it hidden; freed with cJSON_free. `instance`, where it is
 * not NULL, stands for the one that was taken from the arguments, and is taken. */
char *rpc_request_text(const struct rpc_request *request, cJSON *instance);
/* A request that came from no broker: its ack and its answer go nowhere. The message is taken. */
struct rpc_request *rpc_request_new_local(cJSON *message);

struct rpc_method {
	const char *name;
	/* Called in the consuming thread, so it only hands the request on; takes the request.
	 * `what` is that of this table, `opaque` that of the server. */
	void (*handle)(struct rpc_request *request, const void *what, void *opaque);
	const void *what; /* may be NULL */
};

struct rpc_server_ops {
	const struct rpc_method *methods; /* ends with a NULL name */
	/* Versions served, e.g. {"5.13", "6.5", NULL}: same major, minor at least what is asked. */
	const char *const *versions;
	/* Told of a cast of a method that is not in the table (a call is answered with
	 * NoSuchMethod), before it is acked and dropped. May be NULL. */
	void (*unhandled)(const char *method, const struct rpc_request *request, void *opaque);
	void *opaque;
};

/* Declares and consumes `topic`, `topic.host` and the fanout, as often as the connection comes up.
 * Duplicates by _unique_id are dropped; what cannot be decoded is kept and acked. */
int rpc_server_start(struct rpc *rpc, const struct rpc_server_ops *ops, GError **error);
/* No request is taken after it returns; what was taken may still be acked and answered. */
void rpc_server_stop(struct rpc *rpc);

/* --- the client ----------------------------------------------------------------------------- */

/* Calls and waits for the reply. `args` is taken. timeout_s 0: the configuration's. Returns the
 * result (a JSON null where there is none), or NULL with an error. */
cJSON *rpc_call(struct rpc *rpc, const char *topic, struct rpc_context *context, const char *method,
		const char *version, cJSON *args, unsigned timeout_s, GError **error);
/* Casts, and waits until the broker has confirmed. `args` is taken. */
int rpc_cast(struct rpc *rpc, const char *topic, struct rpc_context *context, const char *method,
	     const char *version, cJSON *args, GError **error);

/* Publishes a body as it is (an envelope of whoever sends it) and waits for the confirmation.
 * `topic` is the routing key on the control exchange; declares the queue as a client of oslo does:
 * not at all, so a message that no queue takes is RPC_ERROR_NOT_CONFIRMED. */
int rpc_publish_body(struct rpc *rpc, const char *topic, const char *body, GError **error);

/* --- the notifier --------------------------------------------------------------------------- */

enum rpc_priority { RPC_PRIORITY_INFO, RPC_PRIORITY_ERROR };

/* Emits a notification on `<topic>.<priority>` of the control exchange, declaring and binding the
 * queue of that name once per connection, as oslo's publisher does. The context is sent without its
 * token. `payload` is taken. Does not wait for the broker; what the outbox refuses is logged. */
void rpc_notify(struct rpc *rpc, const char *topic, enum rpc_priority priority,
		const char *publisher_id, const char *event_type, struct rpc_context *context,
		cJSON *payload);

/* The same for whoever listens just now: no queue is declared, nothing is kept by the broker. */
void rpc_notify_transient(struct rpc *rpc, const char *topic, const char *publisher_id,
			  const char *event_type, struct rpc_context *context, cJSON *payload);

/* Consumes copies of messages from a queue of our own (exclusive, bound to the control exchange
 * with each of the NULL-terminated routing keys: "notifications.info", "compute.<host>"), beside
 * whoever else gets them. `event_type` is "" for what is no notification. The callback runs in the
 * consuming thread and may keep nothing of what it is given. */
int rpc_listen(struct rpc *rpc, const char *const *keys,
	       void (*heard)(const char *event_type, const cJSON *message, void *opaque),
	       void *opaque, GError **error);

/* --- failures and bodies -------------------------------------------------------------------- */

/* Whether a call may have been done although it failed: its answer, or the call, was lost. */
bool rpc_error_is_unanswered(const GError *error);

/* What a remote side raised (RPC_ERROR_REMOTE and the codes after it), as read from its failure;
 * the strings live as long as the error. False where the error is no remote one. */
bool rpc_failure_from_error(const GError *error, const char **ret_class, const char **ret_module);

/* The task state that was found in place of the expected one (RPC_ERROR_UNEXPECTED_TASK_STATE), ""
 * for none; NULL where the failure does not tell it. Lives as long as the error. */
const char *rpc_failure_actual_task_state(const GError *error);

/* Decodes a body (envelope 2.0 or bare) into the inner message. Numbers whose text cJSON would
 * change are kept to the letter. NULL with RPC_ERROR_DECODE. */
cJSON *rpc_body_decode(const char *body, size_t length, GError **error);
/* The envelope around a message, as JSON text; the caller frees it with cJSON_free. */
char *rpc_body_encode(const cJSON *message);
/* Replaces every token and password in a message (or envelope) with "***"; for whatever is written
 * to disk or shown. */
void rpc_body_redact(cJSON *message);
/* Makes a message that was kept fit to be served again: without the token that was cut out, so that
 * the agent's own is used; and as a cast, for nobody waits for the answer of a call any more. */
void rpc_message_prepare_replay(cJSON *message);

#endif
