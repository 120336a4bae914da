/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See forward.h.
 */
#include "rpc/forward.h"

#include <unistd.h>

#include "rpc/amqp/forwarder.h"
#include "rpc/amqp/session.h"
#include "rpc/content.h"
#include "rpc/forwarding.h"
#include "rpc/handle.h"
#include "rpc/json.h"
#include "rpc/server.h"

struct rpc_forward_control {
	struct delivery_tag tag;
	char *type;
	char *id;
};

/* The lock is held. */
static bool is_taken(const struct forwarding *forwarding, const char *method)
{
	if (!method || !forwarding->serving)
		return false;
	if (g_strcmp0(forwarding->ops.always, method) == 0)
		return true;
	return forwarding->mode == RPC_FORWARD_INTERCEPT &&
	       g_strv_contains(forwarding->ops.methods, method);
}

static bool take_message(const struct delivery *delivery, void *opaque)
{
	struct rpc *rpc = opaque;
	struct forwarding *forwarding = rpc->forwarding;
	struct content content;
	cJSON *message = content_decode(delivery, &content, NULL);
	bool taken = false;

	pthread_mutex_lock(&forwarding->lock);
	if (message && is_taken(forwarding, json_string(message, "method")) &&
	    rpc_server_can_serve(rpc, message)) {
		rpc_server_take(rpc, delivery, &delivery->tag, message);
		message = NULL;
		taken = true;
	}
	pthread_mutex_unlock(&forwarding->lock);
	cJSON_Delete(message);
	content_clear(&content);
	return taken;
}

static void receive_control(const struct delivery *delivery, const char *type,
			    const char *message_id, void *opaque)
{
	struct rpc *rpc = opaque;
	struct forwarding *forwarding = rpc->forwarding;
	struct rpc_forward_control *control = g_new0(struct rpc_forward_control, 1);

	control->tag = delivery->tag;
	control->type = g_strdup(type);
	control->id = g_strdup(message_id);
	pthread_mutex_lock(&forwarding->lock);
	forwarding->controls++;
	if (g_str_equal(type, RPC_BESIDE_TYPE_PASS) && forwarding->mode == RPC_FORWARD_INTERCEPT)
		forwarding->mode = RPC_FORWARD_PASS;
	if (forwarding->ops.control)
		forwarding->ops.control(g_steal_pointer(&control), forwarding->ops.opaque);
	pthread_mutex_unlock(&forwarding->lock);
	if (control)
		rpc_forward_answer(rpc, control, RPC_FORWARD_PASS);
}

void rpc_forward_detach(struct rpc *rpc)
{
	pthread_mutex_lock(&rpc->forwarding->lock);
	rpc->forwarding->ops.control = NULL;
	pthread_mutex_unlock(&rpc->forwarding->lock);
}

const char *rpc_forward_control_type(const struct rpc_forward_control *control)
{
	return control->type;
}

const char *rpc_forward_control_id(const struct rpc_forward_control *control)
{
	return control->id;
}

static void free_control(struct rpc_forward_control *control)
{
	g_free(control->type);
	g_free(control->id);
	g_free(control);
}

int rpc_forward_start(struct rpc *rpc, const struct rpc_forward_ops *ops, GError **error)
{
	struct forwarding *forwarding = g_new0(struct forwarding, 1);
	const struct forwarder_ops forwarder_ops = {take_message, receive_control, rpc};

	forwarding->ops = *ops;
	pthread_mutex_init(&forwarding->lock, NULL);
	forwarding->names = rpc_beside_names_new(rpc->config, error);
	rpc->forwarding = forwarding;
	if (forwarding->names)
		forwarding->forwarder = forwarder_start(rpc->config, rpc->url, forwarding->names,
							&forwarder_ops, error);
	if (forwarding->forwarder)
		return 0;
	rpc->forwarding = NULL;
	forwarding_free(forwarding);
	return -1;
}

bool rpc_forward_set_mode(struct rpc *rpc, enum rpc_forward_mode mode)
{
	struct forwarding *forwarding = rpc->forwarding;
	bool refused;

	pthread_mutex_lock(&forwarding->lock);
	refused = mode == RPC_FORWARD_INTERCEPT && forwarding->controls > 0;
	if (!refused)
		forwarding->mode = mode;
	forwarding_apply_mode(forwarding);
	pthread_mutex_unlock(&forwarding->lock);
	return !refused;
}

enum rpc_forward_mode rpc_forward_get_mode(struct rpc *rpc)
{
	struct forwarding *forwarding = rpc->forwarding;
	enum rpc_forward_mode mode;

	pthread_mutex_lock(&forwarding->lock);
	mode = forwarding->mode;
	pthread_mutex_unlock(&forwarding->lock);
	return mode;
}

static void add_delay(cJSON *object, const char *name, gint64 delay_us)
{
	if (delay_us < 0)
		cJSON_AddNullToObject(object, name);
	else
		cJSON_AddNumberToObject(object, name, (double)delay_us / 1000.0);
}

/* The answer of rpc/beside.h; the caller frees it with g_free. */
static char *answer_text(struct rpc *rpc, const char *id, bool intercepting)
{
	cJSON *answer = cJSON_CreateObject();
	struct rpc_forward_status status;
	char *text, *copy;

	rpc_forward_get_status(rpc, &status);
	cJSON_AddStringToObject(answer, "id", id);
	cJSON_AddBoolToObject(answer, "intercepting", intercepting);
	cJSON_AddNumberToObject(answer, "pid", getpid());
	add_delay(answer, "delay_ms", status.delay_last);
	rpc_forward_status_clear(&status);
	text = cJSON_PrintUnformatted(answer);
	copy = g_strdup(text);
	cJSON_free(text);
	cJSON_Delete(answer);
	return copy;
}

void rpc_forward_answer(struct rpc *rpc, struct rpc_forward_control *control,
			enum rpc_forward_mode mode)
{
	struct forwarding *forwarding = rpc->forwarding;
	bool intercepting;

	pthread_mutex_lock(&forwarding->lock);
	forwarding->controls--;
	/* A message of type RPC_BESIDE_TYPE_PASS may already have arrived. */
	forwarding->mode = forwarding->controls > 0 ? MIN(mode, RPC_FORWARD_PASS) : mode;
	forwarding_apply_mode(forwarding);
	intercepting = mode == RPC_FORWARD_INTERCEPT && forwarding->serving;
	pthread_mutex_unlock(&forwarding->lock);
	forwarder_answer(forwarding->forwarder, &control->tag,
			 answer_text(rpc, control->id, intercepting));
	free_control(control);
}

void rpc_forward_get_status(struct rpc *rpc, struct rpc_forward_status *ret_status)
{
	struct forwarding *forwarding = rpc->forwarding;
	struct forwarder_status status;
	gint64 now = g_get_monotonic_time();

	forwarder_get_status(forwarding->forwarder, &status);
	*ret_status = (struct rpc_forward_status){
		.connected = status.connected,
		.connection = status.connection,
		.consuming = status.consuming,
		.refused = status.refused,
		.held = status.held,
		.forwarded = status.forwarded,
		.rejected = status.rejected,
		.taken = status.taken,
		.idle_us = now - status.turn_at,
		.unchanged_us = now - status.progress_at,
		.stalled_us = status.stalled_since > 0 ? now - status.stalled_since : 0,
		.hop_last = delays_last(&status.hops),
		.hop_median = delays_median(&status.hops, now),
		.hop_max = status.hops.count > 0 ? status.hops.max : -1,
		.delay_last = delays_last(&status.canary),
		.delay_median = delays_median(&status.canary, now),
		.delay_max = status.canary.count > 0 ? status.canary.max : -1,
		.overdue_us = status.canary_sent_at > 0 ? now - status.canary_sent_at : 0,
		.problem = status.problem,
	};
	pthread_mutex_lock(&forwarding->lock);
	ret_status->intercepting = forwarding->mode == RPC_FORWARD_INTERCEPT && forwarding->serving;
	pthread_mutex_unlock(&forwarding->lock);
}

void rpc_forward_status_clear(struct rpc_forward_status *status)
{
	g_clear_pointer(&status->problem, g_free);
}

void rpc_forward_check_stuck_write(struct rpc *rpc)
{
	forwarder_check_stuck_write(rpc->forwarding->forwarder);
}

int rpc_forward_count_waiting(const struct rpc_config *config, unsigned *ret_messages,
			      GError **error)
{
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(config, error);
	struct broker_session *session =
		names ? session_open(config, "novasnap forwarding watchdog", error) : NULL;
	struct session_object queue = {0};
	int rc = session ? session_look_queue(session, names->queue, &queue, error) : -1;

	session_close(session);
	*ret_messages = queue.messages;
	return rc;
}
