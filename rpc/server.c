/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server: what comes for us is decoded, told from duplicates, and handed to its method as
 * oslo's dispatcher would (oslo_messaging.rpc.dispatcher).
 */
#include <string.h>

#include "rpc/internal.h"
#include "rpc/json.h"

#define SEEN_MAX 4096
#define DISPATCHER "oslo_messaging.rpc.dispatcher"

#define STOP_TIMEOUT_S 5

struct call {
	struct rpc_request *request;
	gint64 beat_at; /* monotonic us */
	gint64 every;	/* us */
};

/* A message that is ours and not acked yet. */
struct open_request {
	char *unique_id;
	struct delivery delivery; /* where it came last */
};

struct server_state {
	char *fanout_queue;
	struct rpc_server_ops ops; /* written before the consumer is told */
	atomic_bool running;

	pthread_mutex_t lock;
	/* Guarded by the lock. The _unique_id of what came last, in a ring; a slot may be empty. */
	GHashTable *seen; /* id -> slot + 1 */
	char *ring[SEEN_MAX];
	unsigned ring_at;
	GHashTable *open;     /* struct rpc_request -> struct open_request */
	GHashTable *open_ids; /* unique_id -> struct open_request */
	GList *calls;	      /* struct call, unanswered */
};

static void open_request_free(gpointer data)
{
	struct open_request *open = data;

	g_free(open->unique_id);
	g_free(open);
}

struct server_state *server_state_new(void)
{
	struct server_state *state = g_new0(struct server_state, 1);

	state->seen = g_hash_table_new(g_str_hash, g_str_equal);
	state->open = g_hash_table_new_full(NULL, NULL, NULL, open_request_free);
	state->open_ids = g_hash_table_new(g_str_hash, g_str_equal);
	pthread_mutex_init(&state->lock, NULL);
	return state;
}

void server_state_free(struct server_state *state)
{
	if (!state)
		return;
	g_hash_table_unref(state->seen);
	for (unsigned i = 0; i < SEEN_MAX; i++)
		g_free(state->ring[i]);
	g_hash_table_unref(state->open_ids);
	g_hash_table_unref(state->open);
	g_list_free_full(state->calls, g_free);
	pthread_mutex_destroy(&state->lock);
	g_free(state->fanout_queue);
	g_free(state);
}

const char *server_fanout_queue(struct server_state *state)
{
	return state->fanout_queue;
}

/* Under the lock. */
static void forget_slot(struct server_state *state, unsigned slot)
{
	if (!state->ring[slot])
		return;
	g_hash_table_remove(state->seen, state->ring[slot]);
	g_clear_pointer(&state->ring[slot], g_free);
}

/* Under the lock. */
static bool note_unique(struct server_state *state, const char *unique_id)
{
	if (g_hash_table_contains(state->seen, unique_id))
		return false;
	forget_slot(state, state->ring_at);
	state->ring[state->ring_at] = g_strdup(unique_id);
	g_hash_table_insert(state->seen, state->ring[state->ring_at],
			    GUINT_TO_POINTER(state->ring_at + 1));
	state->ring_at = (state->ring_at + 1) % SEEN_MAX;
	return true;
}

bool server_note_unique(struct server_state *state, const char *unique_id)
{
	bool is_new;

	pthread_mutex_lock(&state->lock);
	is_new = note_unique(state, unique_id);
	pthread_mutex_unlock(&state->lock);
	return is_new;
}

/* True when the message is to be handled. A duplicate of one that is not acked yet (the connection
 * was lost meanwhile) takes its place for the ack; one of another is acked. */
static bool take_unique(struct rpc *rpc, const char *unique_id, const struct delivery *delivery)
{
	struct server_state *state = rpc->server;
	struct open_request *open = NULL;
	bool is_new;

	if (!unique_id)
		return true;
	pthread_mutex_lock(&state->lock);
	is_new = note_unique(state, unique_id);
	if (!is_new)
		open = g_hash_table_lookup(state->open_ids, unique_id);
	if (open)
		open->delivery = *delivery;
	pthread_mutex_unlock(&state->lock);
	if (is_new)
		return true;
	g_info("a duplicate of message %.64s is dropped", unique_id);
	if (!open)
		consumer_ack(rpc->consumer, delivery);
	return false;
}

static void open_request(struct server_state *state, struct rpc_request *request,
			 const struct delivery *delivery)
{
	struct open_request *open = g_new0(struct open_request, 1);

	open->delivery = *delivery;
	open->unique_id = g_strdup(rpc_request_unique_id(request));
	pthread_mutex_lock(&state->lock);
	g_hash_table_insert(state->open, request, open);
	if (open->unique_id)
		g_hash_table_insert(state->open_ids, open->unique_id, open);
	pthread_mutex_unlock(&state->lock);
}

bool server_close_request(struct rpc *rpc, struct rpc_request *request, bool acked,
			  struct delivery *ret_delivery)
{
	struct server_state *state = rpc->server;
	struct open_request *open;

	pthread_mutex_lock(&state->lock);
	open = g_hash_table_lookup(state->open, request);
	if (open) {
		*ret_delivery = open->delivery;
		if (open->unique_id) {
			guint slot =
				GPOINTER_TO_UINT(g_hash_table_lookup(state->seen, open->unique_id));

			g_hash_table_remove(state->open_ids, open->unique_id);
			if (!acked && slot > 0)
				forget_slot(state, slot - 1);
		}
		g_hash_table_remove(state->open, request);
	}
	pthread_mutex_unlock(&state->lock);
	return open != NULL;
}

struct version {
	guint64 part[3]; /* major, minor, revision */
};

static bool parse_version(const char *text, struct version *ret)
{
	*ret = (struct version){{0}};
	for (int i = 0; i < 3; i++) {
		char *end;

		if (!g_ascii_isdigit(*text))
			return false;
		ret->part[i] = g_ascii_strtoull(text, &end, 10);
		if (*end == '\0')
			return i > 0;
		if (*end != '.')
			return false;
		text = end + 1;
	}
	return false;
}

/* oslo_messaging._utils.version_is_compatible: the same major, and nothing newer than ours. */
static bool version_served(const char *const *versions, const char *asked)
{
	struct version theirs, ours;

	if (!parse_version(asked, &theirs))
		return false;
	for (; *versions; versions++) {
		if (!parse_version(*versions, &ours) || ours.part[0] != theirs.part[0])
			continue;
		if (theirs.part[1] < ours.part[1] ||
		    (theirs.part[1] == ours.part[1] && theirs.part[2] <= ours.part[2]))
			return true;
	}
	return false;
}

static const struct rpc_method *find_method(const struct rpc_server_ops *ops, const char *name)
{
	const struct rpc_method *method;

	for (method = ops->methods; method->name; method++) {
		if (g_str_equal(method->name, name))
			return method;
	}
	return NULL;
}

static void refuse(struct rpc_request *request, const char *class_name, const char *message)
{
	if (!rpc_request_is_call(request))
		g_warning("a cast is dropped: %s", message);
	rpc_request_fail(request, class_name, DISPATCHER, message);
	rpc_request_ack(request);
	rpc_request_free(request);
}

static void dispatch(const struct rpc_server_ops *ops, struct rpc_request *request)
{
	const struct rpc_method *method = find_method(ops, rpc_request_method(request));
	const cJSON *namespace =
		cJSON_GetObjectItemCaseSensitive(request_message(request), "namespace");
	g_autofree char *why = NULL;

	/* We have no namespace but None; the dispatcher calls another one a version not served. */
	if ((namespace && !cJSON_IsNull(namespace)) ||
	    !version_served(ops->versions, rpc_request_version(request))) {
		why = g_strdup_printf("Endpoint does not support RPC version %s. "
				      "Attempted method: %s",
				      rpc_request_version(request), rpc_request_method(request));
		refuse(request, "UnsupportedVersion", why);
	} else if (method) {
		method->handle(request, method->what, ops->opaque);
	} else if (rpc_request_is_call(request) || !ops->unhandled) {
		why = g_strdup_printf("Endpoint does not support RPC method %s",
				      rpc_request_method(request));
		refuse(request, "NoSuchMethod", why);
	} else {
		ops->unhandled(rpc_request_method(request), request, ops->opaque);
		rpc_request_ack(request);
		rpc_request_free(request);
	}
}

static void add_call(struct server_state *state, struct rpc_request *request)
{
	/* As oslo's watchdog: whole seconds, and no oftener than each second. */
	int64_t timeout = request_timeout(request);
	struct call *call;

	if (timeout < 2)
		return;
	call = g_new0(struct call, 1);
	call->request = request;
	call->every = timeout * G_USEC_PER_SEC / 2;
	call->beat_at = g_get_monotonic_time() + call->every;
	pthread_mutex_lock(&state->lock);
	state->calls = g_list_prepend(state->calls, call);
	pthread_mutex_unlock(&state->lock);
}

/* What is remembered of a message, named in its answer or a key on the broker. */
static int check_names(const cJSON *message, GError **error)
{
	static const char *const names[] = {"method", "version", "_unique_id", "_msg_id",
					    "_reply_q"};

	if (!json_string(message, "method")) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "a message without a method");
		return -1;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		const char *text = json_string(message, names[i]);

		if (!text || strlen(text) <= RPC_MAX_NAME_BYTES)
			continue;
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "the message's %s has %zu bytes, over the limit of %zu", names[i],
			    strlen(text), RPC_MAX_NAME_BYTES);
		return -1;
	}
	return 0;
}

static void keep_aside(struct rpc *rpc, const char *body, size_t length, const char *reason,
		       const struct delivery *delivery)
{
	g_warning("a message that came for us is kept aside: %s", reason);
	rejected_keep(rpc->config, body, length, reason);
	consumer_ack(rpc->consumer, delivery);
}

void server_take(struct rpc *rpc, const char *body, size_t length, const struct delivery *delivery)
{
	g_autoptr(GError) error = NULL;
	cJSON *message = rpc_body_decode(body, length, &error);
	struct rpc_request *request;

	if (!message || check_names(message, &error) < 0) {
		keep_aside(rpc, body, length, error->message, delivery);
		cJSON_Delete(message);
		return;
	}
	if (!take_unique(rpc, json_string(message, "_unique_id"), delivery)) {
		cJSON_Delete(message);
		return;
	}
	request = request_new(rpc, message);
	open_request(rpc->server, request, delivery);
	if (rpc_request_is_call(request))
		add_call(rpc->server, request);
	dispatch(&rpc->server->ops, request);
}

void server_take_too_long(struct rpc *rpc, const char *begin, size_t begin_length, uint64_t length,
			  const struct delivery *delivery)
{
	g_autofree char *reason =
		g_strdup_printf("it has %" G_GUINT64_FORMAT " bytes, over the limit of %zu", length,
				RPC_MAX_BODY_BYTES);

	keep_aside(rpc, begin, begin_length, reason, delivery);
}

void server_remove_call(struct rpc *rpc, struct rpc_request *request)
{
	GList *link;

	pthread_mutex_lock(&rpc->server->lock);
	for (link = rpc->server->calls; link; link = link->next) {
		struct call *call = link->data;

		if (call->request == request) {
			rpc->server->calls = g_list_delete_link(rpc->server->calls, link);
			g_free(call);
			break;
		}
	}
	pthread_mutex_unlock(&rpc->server->lock);
}

gint64 server_beat(struct rpc *rpc)
{
	gint64 now = g_get_monotonic_time(), next = G_MAXINT64;

	/* Under the lock, so that an answered call is not told that it lives. */
	pthread_mutex_lock(&rpc->server->lock);
	for (GList *link = rpc->server->calls; link; link = link->next) {
		struct call *call = link->data;

		if (now >= call->beat_at) {
			call->beat_at = now + call->every;
			request_send(call->request, NULL, NULL, false);
		}
		next = MIN(next, call->beat_at);
	}
	pthread_mutex_unlock(&rpc->server->lock);
	return next;
}

int rpc_server_start(struct rpc *rpc, const struct rpc_server_ops *ops, GError **error)
{
	if (atomic_exchange(&rpc->server->running, true)) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_FAILED, "the server runs already");
		return -1;
	}
	rpc->server->ops = *ops;
	if (!rpc->server->fanout_queue) {
		g_autofree char *id = rpc_hex_id();

		rpc->server->fanout_queue = g_strdup_printf("%s_fanout_%s", rpc->config->topic, id);
	}
	consumer_want(rpc->consumer, CHANNEL_SERVER, true);
	return 0;
}

void rpc_server_stop(struct rpc *rpc)
{
	if (!atomic_load(&rpc->server->running))
		return;
	consumer_want(rpc->consumer, CHANNEL_SERVER, false);
	if (!consumer_wait(rpc->consumer, CHANNEL_SERVER, false,
			   g_get_monotonic_time() + STOP_TIMEOUT_S * G_USEC_PER_SEC))
		g_warning("the broker did not answer in %d s when told that we take no more",
			  STOP_TIMEOUT_S);
	atomic_store(&rpc->server->running, false);
}
