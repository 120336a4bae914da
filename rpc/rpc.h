/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rpc room: oslo.messaging on RabbitMQ. One connection consumes (requests to this server,
 * replies to its calls, copies for a listener), another one publishes. Each has its own thread,
 * which never waits for a job. Messages to be published go through a bounded outbox, and each is
 * kept until the broker has confirmed it. A lost connection is established again, and everything on
 * it is declared again.
 *
 * The names and arguments of all declarations mirror oslo_messaging._drivers.impl_rabbit and
 * amqpdriver (rpc/amqp/declarations.h).
 *
 * All functions may be called from any thread unless documented otherwise. Functions that return
 * int return 0, or -1 with an error.
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
	RPC_ERROR_CONFIG, /* transport_url or another option is invalid */
	RPC_ERROR_DECODE, /* a body or an object is malformed; the text describes the problem */
	RPC_ERROR_DISCONNECTED,	 /* the broker could not be reached within the time limit */
	RPC_ERROR_OUTBOX_FULL,	 /* too many messages already wait for the broker */
	RPC_ERROR_NOT_CONFIRMED, /* published, but the broker rejected it or no queue took it */
	RPC_ERROR_REFUSED,	 /* the broker refuses this message: too large, or not permitted */
	RPC_ERROR_TIMEOUT,	 /* no reply within the time limit (oslo's MessagingTimeout) */
	/* Exceptions raised by the remote side; rpc_failure_from_error returns their class. */
	RPC_ERROR_REMOTE,
	RPC_ERROR_UNEXPECTED_TASK_STATE,
	RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE,
	RPC_ERROR_INSTANCE_NOT_FOUND,
	RPC_ERROR_ENCODING, /* a body is compressed or encoded in a way that is not supported */
};

/* Whether a failed call may have been executed: the call or its answer was lost. */
bool rpc_error_is_unanswered(const GError *error);

/* Gets the class ("InstanceNotFound") and module ("nova.exception") of the exception that the
 * remote side raised (RPC_ERROR_REMOTE and the codes after it). The strings are valid as long as
 * the error. Returns false if the error is not a remote exception. */
bool rpc_failure_from_error(const GError *error, const char **ret_class, const char **ret_module);

/* Returns the task state that the conductor found instead of the expected one
 * (RPC_ERROR_UNEXPECTED_TASK_STATE): "" for None, NULL if the exception does not contain it. Valid
 * as long as the error. */
const char *rpc_failure_actual_task_state(const GError *error);

/* An option in the query of a transport URL, which overrides the option of this name in
 * [oslo_messaging_rabbit] for the connections of this URL. */
struct rpc_url_option {
	char *name;
	char *value;
};

/* Parses a transport URL. Returns its options, struct rpc_url_option, which the caller frees with
 * g_ptr_array_unref; NULL with RPC_ERROR_CONFIG. */
GPtrArray *rpc_url_options(const char *url, GError **error);
/* Whether both URLs name the same brokers in the same order, the same users, vhost and options. An
 * invalid URL is equal to none. */
bool rpc_url_equal(const char *a, const char *b);
/* Describes the brokers and users without passwords: "user nova at host:5672, vhost /". The caller
 * frees it. */
char *rpc_url_describe(const char *url);

/* How notifications are sent: in oslo's envelope (the driver messagingv2), without it (messaging),
 * or as one message each (both drivers). */
enum rpc_notification_format {
	RPC_NOTIFICATION_ENVELOPE,
	RPC_NOTIFICATION_BARE,
	RPC_NOTIFICATION_BOTH,
};

/* Options of nova.conf; a comment gives the option's name if it differs. All strings belong to the
 * caller and must outlive the rpc. */
struct rpc_config {
	const char *transport_url;    /* rabbit://user:password@host:port,.../vhost?option=... */
	const char *control_exchange; /* "nova" */
	const char *host;	      /* [DEFAULT]host: the name of this compute host */
	const char *topic;	      /* "compute" */
	/* Served as well after rpc_server_serve_alt: "compute-alt"; NULL: none. */
	const char *alt_topic;
	bool durable;		 /* amqp_durable_queues or rabbit_quorum_queue */
	bool auto_delete;	 /* amqp_auto_delete */
	bool quorum;		 /* rabbit_quorum_queue */
	bool transient_quorum;	 /* rabbit_transient_quorum_queue: reply and fanout queues */
	bool stream_fanout;	 /* rabbit_stream_fanout: fanout messages are in a stream */
	bool ha_queues;		 /* rabbit_ha_queues */
	bool cancel_on_failover; /* enable_cancel_on_failover */
	/* "<host>:<process>" in the names of reply and fanout queues, with use_queue_manager; NULL:
	 * their names are random. No other process may have the same one. */
	const char *queue_manager_name;
	/* Arguments of quorum queues: rabbit_quorum_delivery_limit, rabbit_quorum_max_memory_length
	 * and rabbit_quorum_max_memory_bytes; 0: none. RabbitMQ 4 takes -1 as no limit. */
	int64_t quorum_delivery_limit;
	int64_t quorum_max_memory_length;
	int64_t quorum_max_memory_bytes;
	unsigned heartbeat_s;	     /* heartbeat_timeout_threshold; 0: no heartbeats */
	unsigned retry_interval_s;   /* rabbit_retry_interval, 1 */
	unsigned retry_backoff_s;    /* rabbit_retry_backoff, 2 */
	unsigned interval_max_s;     /* rabbit_interval_max, 30 */
	unsigned queue_ttl_s;	     /* rabbit_transient_queues_ttl; 0: queues do not expire */
	unsigned prefetch;	     /* rabbit_qos_prefetch_count; 0: no limit */
	unsigned response_timeout_s; /* rpc_response_timeout */
	/* Where a server moves the casts that it does not serve: a queue that it declares,
	 * "novasnap.unhandled.<host>"; NULL: they are dropped. */
	const char *unhandled_queue;
	bool declares_nothing; /* the publishing connection leaves the broker as it is */
	unsigned outbox_max;   /* messages that may wait for the publishing thread */
	bool ssl;
	const char *ssl_ca_file;   /* NULL: the system's certificates */
	const char *ssl_cert_file; /* NULL: no client certificate */
	const char *ssl_key_file;  /* NULL: the key is in ssl_cert_file */
	/* The folder for rejected messages (rejected.h); NULL: they are not kept. */
	const char *rejected_dir;
	unsigned rejected_max_files;
	uint64_t rejected_max_bytes; /* of all files together */
	enum rpc_notification_format notification_format;
	/* The broker for notifications, if it is another one; NULL: the same. Of its members those
	 * count that a publishing connection needs. */
	const struct rpc_config *notifications;
};

/* The context of a request: the _context_* members of its message, without the prefix.
 * Immutable. */
struct rpc_context;
/* Takes ownership of the object with the fields. NULL: the empty context of an admin. */
struct rpc_context *rpc_context_new(cJSON *fields);
/* Accepts NULL. */
void rpc_context_free(struct rpc_context *context);
const cJSON *rpc_context_fields(const struct rpc_context *context);
/* Returns a field that is a string ("auth_token", "request_id", "user_id"...), else NULL. */
const char *rpc_context_string(const struct rpc_context *context, const char *field);
/* Returns the RPC version of the request that the context came with ("5.0"); NULL: it was made by
 * rpc_context_new. */
const char *rpc_context_version(const struct rpc_context *context);
typedef struct rpc_context rpc_context_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(rpc_context_t, rpc_context_free)

struct rpc;

/* Parses transport_url and starts both threads. Returns before they have connected; `config` must
 * stay valid until rpc_close. Returns NULL with RPC_ERROR_CONFIG or RPC_ERROR_FAILED. */
struct rpc *rpc_open(const struct rpc_config *config, GError **error);
/* Publishes the queued messages (for at most `grace_s` seconds), ends both threads and frees
 * everything. No other function may be running. Accepts NULL. */
void rpc_close(struct rpc *rpc, unsigned grace_s);
/* Waits until both connections are established and all wanted queues are consumed. Returns false
 * after `timeout_s` seconds; 0: does not wait. */
bool rpc_wait_ready(struct rpc *rpc, unsigned timeout_s);
/* Returns why the last connection attempt failed, or why the broker accepts nothing; NULL if it
 * accepts messages or was not tried yet. The caller frees it. */
char *rpc_last_connect_error(struct rpc *rpc);

struct rpc_health {
	bool consuming;	 /* the consuming connection is established, and consumes what is wanted */
	bool publishing; /* the publishing connection is established */
	unsigned outbox; /* messages that the broker has not confirmed */
	int answered;	 /* whether the last call was answered; -1: none was made */
	gint64 idle_us;	 /* since the last turn of the thread that has waited longest for it. Each
			  * has one every second, unless it is connecting. */
};
void rpc_get_health(struct rpc *rpc, struct rpc_health *ret_health);

enum rpc_probe_result {
	RPC_PROBE_DIFFERENT, /* not as configured, but it can be used */
	RPC_PROBE_REFUSED,   /* the broker refuses it */
};
typedef void (*rpc_probe_report)(enum rpc_probe_result result, const char *text, void *opaque);
/* The shared exchanges and queues that are as configured, and those that do not exist yet. */
struct rpc_probe_counts {
	unsigned equal;
	unsigned missing;
};
enum rpc_probe_server {
	RPC_PROBE_NO_SERVER,
	RPC_PROBE_EXCLUSIVE, /* what a server, also of alt_topic, and a client declare */
	RPC_PROBE_BESIDE,    /* the same, and what rpc_beside_make has made */
};
/* Tries out, on a connection of its own, what is declared for a server, and the queues of
 * notifications with these names (NULL-terminated). What exists is compared, and stays as it is; of
 * a shared queue that does not exist, one of the same kind with a random name is declared and
 * deleted. Calls `report` for each exchange or queue that differs or is
 * refused. Returns -1 with an error if no broker accepts a login. */
int rpc_probe(const struct rpc_config *config, enum rpc_probe_server server,
	      const char *const *notifications, rpc_probe_report report, void *opaque,
	      struct rpc_probe_counts *ret_counts, GError **error);

/* The number of messages to this server that could not be used, since rpc_open. */
unsigned rpc_rejected_count(const struct rpc *rpc);
/* The number of requests and replies whose compression or content type is not supported, since
 * rpc_open. */
unsigned rpc_unsupported_count(const struct rpc *rpc);
/* The number of messages that wait to be moved to unhandled_queue. */
unsigned rpc_moving_count(struct rpc *rpc);

struct rpc_returned {
	unsigned moved;
	unsigned consumers; /* of the queue `to` */
};
/* Moves the messages that a server has put into its unhandled_queue (`from`) to another queue, byte
 * for byte and in their order, on a connection of its own. Each is acked when the broker has
 * confirmed it, so none is lost; one is in both queues if the connection breaks in between. A queue
 * `from` that does not exist is empty. Returns 0, or -1 with an error: also with one, `ret` says
 * how many were moved. RPC_ERROR_NOT_CONFIRMED: the queue `to` does not exist or is full. */
int rpc_return_unhandled(const struct rpc_config *config, const char *from, const char *to,
			 struct rpc_returned *ret, GError **error);

/* The messages in a rejected_dir. */
struct rpc_rejected_summary {
	unsigned readable;
	char *readable_reason; /* why the newest of these was rejected; NULL: unknown */
	unsigned unreadable;   /* messages whose compression or content type is not supported */
	char *unreadable_reason;
};
/* Summarizes a folder, which may be missing. The caller clears the summary. */
void rpc_rejected_summarize(const char *folder, struct rpc_rejected_summary *ret_summary);
void rpc_rejected_summary_clear(struct rpc_rejected_summary *summary);

/* A request that this server received. Its receiver owns it until rpc_request_free. Used by one
 * thread at a time. */
struct rpc_request;
const char *rpc_request_method(const struct rpc_request *request);
const char *rpc_request_version(const struct rpc_request *request);   /* "1.0" if it has none */
const char *rpc_request_unique_id(const struct rpc_request *request); /* NULL if it has none */
/* The arguments: always an object, owned by the request. */
cJSON *rpc_request_args(const struct rpc_request *request);
/* The context, owned by the request. */
struct rpc_context *rpc_request_context(const struct rpc_request *request);
/* Whether the caller waits for an answer. */
bool rpc_request_is_call(const struct rpc_request *request);
/* Acks the message: the broker deletes it. Without an ack the broker delivers it again after the
 * connection is lost. A second ack of a request does nothing. */
void rpc_request_ack(struct rpc_request *request);
/* For a request that must not be executed here and by nova-compute: acks it, and waits until the
 * broker has processed the ack, for at most a minute. Returns false if that is unknown. The broker
 * then gives the message to nova-compute, or delivers it here again, as a new request; or it has
 * deleted the message, and nobody gets it. */
bool rpc_request_ack_surely(struct rpc_request *request);
/* Returns the message to its queue, instead of an ack. While the server is paused, the broker keeps
 * it. Otherwise it is delivered again, so call this after rpc_server_pause: a quorum queue drops a
 * message after a number of deliveries. */
void rpc_request_requeue(struct rpc_request *request);
/* Answers a call; does nothing for a cast or a second answer. Takes ownership of `result`; NULL: a
 * JSON null. Until a call with a time-out is answered, its caller gets a heartbeat every half of
 * the time-out. */
void rpc_request_reply(struct rpc_request *request, cJSON *result);
/* Answers a call with an exception: its class ("ValueError"), module ("builtins") and message. Does
 * nothing for a cast or a second answer. */
void rpc_request_fail(struct rpc_request *request, const char *class_name, const char *module,
		      const char *message);
/* For a request with unusable arguments: logs the reason, keeps the message in rejected_dir,
 * answers a call with ValueError, acks the message and frees the request. */
void rpc_request_reject(struct rpc_request *request, const char *reason);
/* Accepts NULL. */
void rpc_request_free(struct rpc_request *request);
/* Returns the message as JSON text with all secrets redacted; freed with cJSON_free. */
char *rpc_request_text(const struct rpc_request *request);
/* Creates a request that is not from a broker: its ack and its answer do nothing. Takes ownership
 * of the message. */
struct rpc_request *rpc_request_new_local(cJSON *message);

/* A method that this server provides. */
struct rpc_method {
	const char *name;
	/* Takes ownership of the request. Called in the consuming thread, so it must not wait for
	 * anything. `what` is this entry's, `opaque` the server's. */
	void (*handle)(struct rpc_request *request, const void *what, void *opaque);
	const void *what; /* may be NULL */
};

struct rpc_server_ops {
	const struct rpc_method *methods; /* terminated by an entry without a name */
	/* The supported versions, as {"5.13", "6.5", NULL}: a request is handled if one of them has
	 * the same major version and a minor version that is not older. */
	const char *const *versions;
	/* Called for a cast of a method, namespace or version that is not served. (A call is
	 * answered with NoSuchMethod or UnsupportedVersion.) Afterwards it is moved to
	 * unhandled_queue and acked (`moved`), or only acked: there is no such queue, or the cast
	 * is a fanout, which nova-compute would miss as well. May be NULL. */
	void (*unhandled)(const struct rpc_request *request, bool moved, void *opaque);
	void *opaque;
};

/* Starts this server: declares and consumes the queues `topic`, `topic.host` and one on the fanout
 * exchange, also after each reconnection. Duplicates (the same _unique_id) are dropped; a message
 * that cannot be decoded is kept in rejected_dir and acked. With unhandled_queue, a cast that is
 * not served, or whose compression or content type is not supported, is moved there byte for byte.
 * It is acked when the broker has confirmed it. If that queue takes nothing, up to
 * MOVER_MAX_MESSAGES (rpc/amqp/mover.h) are tried again and the others wait at the broker, unacked,
 * until the connection ends; other messages are served meanwhile. `ops` is copied; the data it
 * points to must stay valid until rpc_close. Fails with RPC_ERROR_FAILED if the server was already
 * started. The server functions must be called from one thread at a time. */
int rpc_server_start(struct rpc *rpc, const struct rpc_server_ops *ops, GError **error);
/* From now on the server also serves alt_topic, with the same methods and versions. A running
 * server stops consuming, as rpc_server_pause does, and consumes again. */
void rpc_server_serve_alt(struct rpc *rpc);
/* Stops consuming; messages stay in their queues. Waits at most 5 s for the broker's confirmation.
 * After it returns, no request is passed to a method; earlier requests may still be acked and
 * answered. Does nothing unless the server is running. */
void rpc_server_pause(struct rpc *rpc);
/* Consumes again after rpc_server_pause, with the same methods. Fails with RPC_ERROR_FAILED if the
 * server is not paused. */
int rpc_server_resume(struct rpc *rpc, GError **error);
/* Stops consuming, like rpc_server_pause. The server may then be started with other methods. */
void rpc_server_stop(struct rpc *rpc);

/* Calls a method of another service and waits for its reply. Takes ownership of `args`. `timeout_s`
 * 0 means response_timeout_s. Returns the result (a JSON null if there is none), which the caller
 * frees, or NULL with an error: a remote exception, RPC_ERROR_TIMEOUT, RPC_ERROR_DISCONNECTED,
 * RPC_ERROR_NOT_CONFIRMED (see rpc_error_is_unanswered), or RPC_ERROR_REFUSED. */
cJSON *rpc_call(struct rpc *rpc, const char *topic, struct rpc_context *context, const char *method,
		const char *version, cJSON *args, unsigned timeout_s, GError **error);

/* Ends all calls: from now on they fail at once with RPC_ERROR_DISCONNECTED, also those that wait
 * for a reply. For a process that stops. From any thread. */
void rpc_end_calls(struct rpc *rpc);

/* Publishes a body unchanged (the caller has put it into an envelope) on the control exchange, with
 * `topic` as routing key, and waits for the broker's confirmation for at most response_timeout_s.
 * Like an oslo client, it declares no queue: if no queue takes the message, the error is
 * RPC_ERROR_NOT_CONFIRMED. Other errors: RPC_ERROR_DISCONNECTED, RPC_ERROR_REFUSED. */
int rpc_publish_body(struct rpc *rpc, const char *topic, const char *body, GError **error);

enum rpc_priority { RPC_PRIORITY_INFO, RPC_PRIORITY_ERROR };

/* Sends a notification with the routing key "<topic>.info" or "<topic>.error" on the control
 * exchange (oslo_messaging.notify.notifier). The queue of that name is declared and bound once per
 * connection. The context is sent without its token. Takes ownership of `payload`. Does not wait
 * for the broker; the loss of a notification is logged. A full outbox still accepts an error, and
 * an end (an event_type that ends with ".end"). */
void rpc_notify(struct rpc *rpc, const char *topic, enum rpc_priority priority,
		const char *publisher_id, const char *event_type, struct rpc_context *context,
		cJSON *payload);

/* As rpc_notify with priority info, for current listeners only: no queue is declared, the broker
 * keeps no copy, and a loss is not logged. */
void rpc_notify_transient(struct rpc *rpc, const char *topic, const char *publisher_id,
			  const char *event_type, struct rpc_context *context, cJSON *payload);

/* Receives copies of messages, in an exclusive queue that is bound to the control exchange with
 * each of the NULL-terminated routing keys ("notifications.info", "compute.<host>"). Other
 * receivers still get their messages. `event_type` is "" for a message that is not a notification.
 * The callback runs in the consuming thread; its arguments are valid only during the call. Fails
 * with RPC_ERROR_FAILED if a listener was already started. */
int rpc_listen(struct rpc *rpc, const char *const *keys,
	       void (*on_message)(const char *event_type, const cJSON *message, void *opaque),
	       void *opaque, GError **error);

/* Decodes a body, which is oslo's envelope 2.0 or a bare message, to the inner message (with
 * json_parse: numbers and strings that cJSON would change are kept verbatim). The caller frees it.
 * Returns NULL with RPC_ERROR_DECODE. */
cJSON *rpc_body_decode(const char *body, size_t length, GError **error);
/* Returns the envelope around a message as JSON text; freed with cJSON_free. */
char *rpc_body_encode(const cJSON *message);
/* What replaces a secret. */
#define RPC_REDACTED "***"
/* Replaces every secret (rpc/secret-name.h) in a message or an envelope with RPC_REDACTED, also in
 * strings that contain JSON or other text. What has no secret stays unchanged. Call it before a
 * message is written to disk or shown. Accepts NULL. */
void rpc_body_redact(cJSON *message);
/* Replaces the secrets in a text that is shown or logged, by the rules of oslo's mask_password.
 * Returns a new text, which the caller frees; NULL if the text has none. */
char *rpc_log_redact(const char *text);
/* Prepares a redacted message for replay: removes the redacted token, so that the agent's own is
 * used, and turns a call into a cast, because its caller no longer waits. */
void rpc_message_prepare_replay(cJSON *message);

#endif
