/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rpc room: oslo.messaging on RabbitMQ. One connection consumes (requests to our server,
 * replies to our calls, copies for a listener), another one publishes. Each belongs to a thread of
 * its own, which never waits for a job. Messages to be published go through a bounded outbox, and
 * each is kept until the broker has confirmed it. Both connections are established again, and
 * everything is declared again, whenever they are lost.
 *
 * Names, arguments and order of all that is declared mirror oslo_messaging._drivers.impl_rabbit and
 * amqpdriver of the Zed release.
 *
 * All functions may be called from any thread unless it says otherwise. Functions that return int
 * return 0, or -1 with an error.
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
	RPC_ERROR_CONFIG,	 /* transport_url or another key cannot be used */
	RPC_ERROR_DECODE,	 /* a body or an object is malformed; the text says why */
	RPC_ERROR_DISCONNECTED,	 /* the broker could not be reached within the time limit */
	RPC_ERROR_OUTBOX_FULL,	 /* too many messages already wait for the broker */
	RPC_ERROR_NOT_CONFIRMED, /* published, and the broker refused it or no queue took it */
	RPC_ERROR_TIMEOUT,	 /* no reply within the time limit (oslo's MessagingTimeout) */
	/* Exceptions that the other side raised; rpc_failure_from_error has their class. */
	RPC_ERROR_REMOTE,
	RPC_ERROR_UNEXPECTED_TASK_STATE,
	RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE,
	RPC_ERROR_INSTANCE_NOT_FOUND,
};

/* Whether a call may have been carried out although it failed: the call or its answer was lost. */
bool rpc_error_is_unanswered(const GError *error);

/* Gets the class ("InstanceNotFound") and module ("nova.exception") of the exception that the other
 * side raised (RPC_ERROR_REMOTE and the codes after it). The strings live as long as the error.
 * Returns false when the error is not a remote exception. */
bool rpc_failure_from_error(const GError *error, const char **ret_class, const char **ret_module);

/* Returns the task state that the conductor found in place of the expected one
 * (RPC_ERROR_UNEXPECTED_TASK_STATE): "" for None, NULL where the exception does not say. It lives
 * as long as the error. */
const char *rpc_failure_actual_task_state(const GError *error);

/* The options of nova.conf; each comment names the option where its name differs. All strings
 * belong to the caller and must live as long as the rpc. */
struct rpc_config {
	const char *transport_url;    /* rabbit://user:password@host:port,.../vhost */
	const char *control_exchange; /* "nova" */
	const char *host;	      /* [DEFAULT]host: the name of this compute host */
	const char *topic;	      /* "compute" */
	bool durable;		      /* amqp_durable_queues or rabbit_quorum_queue */
	bool auto_delete;	      /* amqp_auto_delete */
	bool quorum;		      /* rabbit_quorum_queue */
	unsigned heartbeat_s;	      /* heartbeat_timeout_threshold; 0: no heartbeats */
	unsigned retry_interval_s;    /* rabbit_retry_interval, 1 */
	unsigned retry_backoff_s;     /* rabbit_retry_backoff, 2 */
	unsigned interval_max_s;      /* rabbit_interval_max, 30 */
	unsigned queue_ttl_s;	      /* rabbit_transient_queues_ttl, 1800 */
	unsigned prefetch;	      /* rabbit_qos_prefetch_count; 0: no limit */
	unsigned response_timeout_s;  /* rpc_response_timeout */
	unsigned outbox_max;	      /* messages that may wait for the publishing thread */
	bool ssl;
	const char *ssl_ca_file;   /* NULL: the system's certificates */
	const char *ssl_cert_file; /* NULL: no client certificate */
	const char *ssl_key_file;  /* NULL: the key is in ssl_cert_file */
	/* The folder in which rejected messages are kept (rejected.h); NULL: they are not kept. */
	const char *rejected_dir;
	unsigned rejected_max_files;
	uint64_t rejected_max_bytes; /* of all files together */
};

/* The context of a request: the _context_* members of its message, without the prefix. Immutable.
 */
struct rpc_context;
/* Takes the object with the fields. NULL: the empty context of an admin. */
struct rpc_context *rpc_context_new(cJSON *fields);
/* Takes NULL. */
void rpc_context_free(struct rpc_context *context);
const cJSON *rpc_context_fields(const struct rpc_context *context);
/* Returns a field that is a string ("auth_token", "request_id", "user_id"...), else NULL. */
const char *rpc_context_string(const struct rpc_context *context, const char *field);
typedef struct rpc_context rpc_context_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(rpc_context_t, rpc_context_free)

struct rpc;

/* Parses transport_url and starts both threads. Returns before they have connected; `config` must
 * live until rpc_close. Returns NULL with RPC_ERROR_CONFIG or RPC_ERROR_FAILED. */
struct rpc *rpc_open(const struct rpc_config *config, GError **error);
/* Publishes the messages that still wait (for at most `grace_s` seconds), ends both threads and
 * frees everything. No other function may be under way. Takes NULL. */
void rpc_close(struct rpc *rpc, unsigned grace_s);
/* Waits until both connections are established and all that is wanted is consumed. Returns false
 * after `timeout_s` seconds; 0 only looks. */
bool rpc_wait_ready(struct rpc *rpc, unsigned timeout_s);
/* Returns why the broker could not be reached in the last attempt, or why it accepts nothing; NULL
 * when it accepts messages or was not tried yet. The caller frees it. */
char *rpc_last_connect_error(struct rpc *rpc);

/* A request that our server received. It belongs to the code that it was handed to, until
 * rpc_request_free. One thread at a time uses it. */
struct rpc_request;
const char *rpc_request_method(const struct rpc_request *request);
const char *rpc_request_version(const struct rpc_request *request);   /* "1.0" where it has none */
const char *rpc_request_unique_id(const struct rpc_request *request); /* NULL where it has none */
/* The arguments: always an object, which belongs to the request. */
cJSON *rpc_request_args(const struct rpc_request *request);
/* The context, which belongs to the request. */
struct rpc_context *rpc_request_context(const struct rpc_request *request);
/* Whether somebody waits for an answer. */
bool rpc_request_is_call(const struct rpc_request *request);
/* Acks the message: the broker forgets it. Without an ack the broker delivers it again after the
 * connection is lost. The second ack of a request does nothing. */
void rpc_request_ack(struct rpc_request *request);
/* Answers a call; does nothing for a cast, or the second time. `result` is taken; NULL: a JSON
 * null. While a call with a time-out is not answered, its caller gets a heartbeat every half of it.
 */
void rpc_request_reply(struct rpc_request *request, cJSON *result);
/* Answers a call with an exception: its class ("ValueError"), module ("builtins") and message. Does
 * nothing for a cast, or the second time. */
void rpc_request_fail(struct rpc_request *request, const char *class_name, const char *module,
		      const char *message);
/* For a request whose arguments cannot be used: logs the reason, keeps the message in rejected_dir,
 * answers a call with ValueError, acks the message and frees the request. */
void rpc_request_reject(struct rpc_request *request, const char *reason);
/* Takes NULL. */
void rpc_request_free(struct rpc_request *request);
/* Returns the message as JSON text with all secrets redacted; freed with cJSON_free. */
char *rpc_request_text(const struct rpc_request *request);
/* Makes a request that came from no broker: its ack and its answer go nowhere. The message is
 * taken. */
struct rpc_request *rpc_request_new_local(cJSON *message);

/* A method that our server serves. */
struct rpc_method {
	const char *name;
	/* Takes the request. It is called in the consuming thread, so it must not wait for
	 * anything. `what` is that of this entry, `opaque` that of the server. */
	void (*handle)(struct rpc_request *request, const void *what, void *opaque);
	const void *what; /* may be NULL */
};

struct rpc_server_ops {
	const struct rpc_method *methods; /* ends with a NULL name */
	/* The versions that are served, as {"5.13", "6.5", NULL}: a request is served by one of the
	 * same major version whose minor version is not older. */
	const char *const *versions;
	/* Called for a cast of a method that is not in the table, before it is acked and dropped.
	 * (A call is answered with NoSuchMethod.) May be NULL. */
	void (*unhandled)(const char *method, const struct rpc_request *request, void *opaque);
	void *opaque;
};

/* Starts our server: declares and consumes the queues `topic`, `topic.host` and one on the fanout
 * exchange, also after each reconnection. Duplicates (the same _unique_id) are dropped; a message
 * that cannot be decoded is kept in rejected_dir and acked. `ops` is copied, what it points to must
 * live until rpc_close. Fails with RPC_ERROR_FAILED when the server was started already. The four
 * functions of the server are called from one thread at a time. */
int rpc_server_start(struct rpc *rpc, const struct rpc_server_ops *ops, GError **error);
/* Stops consuming; messages stay in their queues. Waits for at most 5 s for the broker to confirm.
 * After it returns, no request is handed to a method; those handed out before may still be acked
 * and answered. Does nothing unless the server runs. */
void rpc_server_pause(struct rpc *rpc);
/* Consumes again after rpc_server_pause, with the same methods. Fails with RPC_ERROR_FAILED when
 * the server is not paused. */
int rpc_server_resume(struct rpc *rpc, GError **error);
/* Stops consuming, as rpc_server_pause. The server may then be started with other methods. */
void rpc_server_stop(struct rpc *rpc);

/* Calls a method of another service and waits for its reply. `args` is taken. `timeout_s` 0 stands
 * for response_timeout_s. Returns the result (a JSON null where there is none), which the caller
 * frees, or NULL with an error: a remote exception, RPC_ERROR_TIMEOUT, RPC_ERROR_DISCONNECTED,
 * RPC_ERROR_OUTBOX_FULL or RPC_ERROR_NOT_CONFIRMED (see rpc_error_is_unanswered). */
cJSON *rpc_call(struct rpc *rpc, const char *topic, struct rpc_context *context, const char *method,
		const char *version, cJSON *args, unsigned timeout_s, GError **error);

/* Publishes a body as it is (the caller has put it into an envelope) on the control exchange, with
 * `topic` as routing key, and waits for the broker's confirmation for at most response_timeout_s.
 * Like a client of oslo it declares no queue: a message that no queue takes is
 * RPC_ERROR_NOT_CONFIRMED. Other errors: RPC_ERROR_DISCONNECTED, RPC_ERROR_OUTBOX_FULL. */
int rpc_publish_body(struct rpc *rpc, const char *topic, const char *body, GError **error);

enum rpc_priority { RPC_PRIORITY_INFO, RPC_PRIORITY_ERROR };

/* Sends a notification with the routing key "<topic>.info" or "<topic>.error" on the control
 * exchange (oslo_messaging.notify.notifier). The queue of that name is declared and bound once per
 * connection. The context is sent without its token. `payload` is taken. Does not wait for the
 * broker; a notification that is lost is logged. */
void rpc_notify(struct rpc *rpc, const char *topic, enum rpc_priority priority,
		const char *publisher_id, const char *event_type, struct rpc_context *context,
		cJSON *payload);

/* The same with priority info, for those who listen at the moment: no queue is declared, the broker
 * keeps nothing, and a loss is not logged. */
void rpc_notify_transient(struct rpc *rpc, const char *topic, const char *publisher_id,
			  const char *event_type, struct rpc_context *context, cJSON *payload);

/* Listens to copies of messages, in an exclusive queue of our own that is bound to the control
 * exchange with each of the NULL-terminated routing keys ("notifications.info", "compute.<host>").
 * The other receivers get their messages as before. `event_type` is "" for a message that is not a
 * notification. The callback runs in the consuming thread; its arguments are valid only during the
 * call. Fails with RPC_ERROR_FAILED when a listener was started already. */
int rpc_listen(struct rpc *rpc, const char *const *keys,
	       void (*on_message)(const char *event_type, const cJSON *message, void *opaque),
	       void *opaque, GError **error);

/* Decodes a body, which is oslo's envelope 2.0 or a bare message, into the inner message (as
 * json_parse does: numbers and strings that cJSON would change are kept to the letter). The caller
 * frees it. Returns NULL with RPC_ERROR_DECODE. */
cJSON *rpc_body_decode(const char *body, size_t length, GError **error);
/* Returns the envelope around a message as JSON text; freed with cJSON_free. */
char *rpc_body_encode(const cJSON *message);
/* Replaces every token and password in a message or an envelope with "***". Call it before a
 * message is written to disk or shown. */
void rpc_body_redact(cJSON *message);
/* Prepares a redacted message to be served again: removes the token that was replaced, so that the
 * agent's own is used, and makes a cast of a call, because no caller waits any more. */
void rpc_message_prepare_replay(cJSON *message);

#endif
