/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Open requests, unanswered calls, and the ids of recent requests.
 */
#include "rpc/inflight.h"

#include <pthread.h>

/* A request that is not acked yet. */
struct open_request {
	uint64_t number;
	char *unique_id; /* may be NULL */
	struct delivery_tag tag;
};

/* A call that is not answered yet. */
struct open_call {
	uint64_t number;
	char *reply_queue;
	char *msg_id;
	gint64 interval; /* us */
	gint64 due_at;	 /* monotonic us: time of the next heartbeat */
};

struct inflight {
	pthread_mutex_t lock;
	/* Guarded by the lock. */
	uint64_t last_number;
	GHashTable *seen;	       /* unique_id, owned by `ring` -> its index there + 1 */
	char *ring[INFLIGHT_SEEN_MAX]; /* an element may be NULL */
	unsigned next_slot;
	GHashTable *open;	/* &number -> struct open_request */
	GHashTable *open_by_id; /* unique_id -> the newest struct open_request with that id */
	GList *calls;		/* struct open_call */
};

static void open_request_free(gpointer data)
{
	struct open_request *request = data;

	g_free(request->unique_id);
	g_free(request);
}

static void open_call_free(gpointer data)
{
	struct open_call *call = data;

	g_free(call->reply_queue);
	g_free(call->msg_id);
	g_free(call);
}

struct inflight *inflight_new(void)
{
	struct inflight *inflight = g_new0(struct inflight, 1);

	inflight->seen = g_hash_table_new(g_str_hash, g_str_equal);
	inflight->open =
		g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, open_request_free);
	inflight->open_by_id = g_hash_table_new(g_str_hash, g_str_equal);
	pthread_mutex_init(&inflight->lock, NULL);
	return inflight;
}

void inflight_free(struct inflight *inflight)
{
	if (!inflight)
		return;
	g_hash_table_unref(inflight->seen);
	for (unsigned i = 0; i < INFLIGHT_SEEN_MAX; i++)
		g_free(inflight->ring[i]);
	g_hash_table_unref(inflight->open_by_id);
	g_hash_table_unref(inflight->open);
	g_list_free_full(inflight->calls, open_call_free);
	pthread_mutex_destroy(&inflight->lock);
	g_free(inflight);
}

/* The lock is held. */
static void forget_slot(struct inflight *inflight, unsigned slot)
{
	if (!inflight->ring[slot])
		return;
	g_hash_table_remove(inflight->seen, inflight->ring[slot]);
	g_clear_pointer(&inflight->ring[slot], g_free);
}

/* The lock is held. Returns false if the id was seen recently. */
static bool remember_id(struct inflight *inflight, const char *unique_id)
{
	unsigned slot = inflight->next_slot;

	if (g_hash_table_contains(inflight->seen, unique_id))
		return false;
	forget_slot(inflight, slot);
	inflight->ring[slot] = g_strdup(unique_id);
	g_hash_table_insert(inflight->seen, inflight->ring[slot], GUINT_TO_POINTER(slot + 1));
	inflight->next_slot = (slot + 1) % INFLIGHT_SEEN_MAX;
	return true;
}

/* The lock is held. */
static void forget_id(struct inflight *inflight, const char *unique_id)
{
	guint slot = GPOINTER_TO_UINT(g_hash_table_lookup(inflight->seen, unique_id));

	if (slot > 0)
		forget_slot(inflight, slot - 1);
}

/* The lock is held. */
static uint64_t add_request(struct inflight *inflight, const char *unique_id,
			    const struct delivery_tag *tag)
{
	struct open_request *request = g_new0(struct open_request, 1);

	request->number = ++inflight->last_number;
	request->unique_id = g_strdup(unique_id);
	request->tag = *tag;
	g_hash_table_insert(inflight->open, &request->number, request);
	if (unique_id)
		g_hash_table_replace(inflight->open_by_id, request->unique_id, request);
	return request->number;
}

enum inflight_verdict inflight_open(struct inflight *inflight, const char *unique_id,
				    const struct delivery_tag *tag, uint64_t *ret_number)
{
	enum inflight_verdict verdict = INFLIGHT_NEW;
	struct open_request *open;

	pthread_mutex_lock(&inflight->lock);
	if (!unique_id || remember_id(inflight, unique_id)) {
		*ret_number = add_request(inflight, unique_id, tag);
	} else if ((open = g_hash_table_lookup(inflight->open_by_id, unique_id)) &&
		   open->tag.connection != tag->connection) {
		open->tag = *tag;
		verdict = INFLIGHT_REDELIVERED;
	} else {
		verdict = INFLIGHT_DUPLICATE;
	}
	pthread_mutex_unlock(&inflight->lock);
	return verdict;
}

bool inflight_close(struct inflight *inflight, uint64_t number, bool acked,
		    struct delivery_tag *ret_tag)
{
	struct open_request *request;

	pthread_mutex_lock(&inflight->lock);
	request = g_hash_table_lookup(inflight->open, &number);
	if (request) {
		*ret_tag = request->tag;
		if (request->unique_id) {
			if (g_hash_table_lookup(inflight->open_by_id, request->unique_id) ==
			    request)
				g_hash_table_remove(inflight->open_by_id, request->unique_id);
			if (!acked)
				forget_id(inflight, request->unique_id);
		}
		g_hash_table_remove(inflight->open, &number);
	}
	pthread_mutex_unlock(&inflight->lock);
	return request != NULL;
}

bool inflight_get_tag(struct inflight *inflight, uint64_t number, struct delivery_tag *ret_tag)
{
	const struct open_request *request;

	pthread_mutex_lock(&inflight->lock);
	request = g_hash_table_lookup(inflight->open, &number);
	if (request)
		*ret_tag = request->tag;
	pthread_mutex_unlock(&inflight->lock);
	return request != NULL;
}

void inflight_add_call(struct inflight *inflight, uint64_t number, unsigned timeout_s,
		       const char *reply_queue, const char *msg_id)
{
	struct open_call *call;

	/* As oslo's watchdog: at most one heartbeat per second. */
	if (timeout_s < 2)
		return;
	call = g_new0(struct open_call, 1);
	call->number = number;
	call->reply_queue = g_strdup(reply_queue);
	call->msg_id = g_strdup(msg_id);
	call->interval = (gint64)timeout_s * G_USEC_PER_SEC / 2;
	call->due_at = g_get_monotonic_time() + call->interval;
	pthread_mutex_lock(&inflight->lock);
	inflight->calls = g_list_prepend(inflight->calls, call);
	pthread_mutex_unlock(&inflight->lock);
}

void inflight_remove_call(struct inflight *inflight, uint64_t number)
{
	pthread_mutex_lock(&inflight->lock);
	for (GList *node = inflight->calls; node; node = node->next) {
		struct open_call *call = node->data;

		if (call->number == number) {
			inflight->calls = g_list_delete_link(inflight->calls, node);
			open_call_free(call);
			break;
		}
	}
	pthread_mutex_unlock(&inflight->lock);
}

gint64 inflight_send_heartbeats(struct inflight *inflight,
				void (*send)(const char *reply_queue, const char *msg_id,
					     void *opaque),
				void *opaque)
{
	gint64 now = g_get_monotonic_time(), next = G_MAXINT64;

	/* The lock is held while sending, so that no heartbeat follows an answer. */
	pthread_mutex_lock(&inflight->lock);
	for (GList *node = inflight->calls; node; node = node->next) {
		struct open_call *call = node->data;

		if (now >= call->due_at) {
			call->due_at = now + call->interval;
			send(call->reply_queue, call->msg_id, opaque);
		}
		next = MIN(next, call->due_at);
	}
	pthread_mutex_unlock(&inflight->lock);
	return next;
}
