/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap beside --status: what is at the broker, and what novasnapd and nova-compute do. It
 * changes nothing. AMQP cannot list bindings: they are tried out.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/beside/handover-step.h"
#include "agent/command/beside-common.h"
#include "agent/command/beside-parts.h"
#include "agent/command/common.h"
#include "agent/daemon/status.h"
#include "agent/task/thread.h"
#include "rpc/beside-look.h"

#define PING_S 5
#define ECHO_S 5
/* nova-compute reports each report_interval; this much later it must have been seen. */
#define OBSERVE_MORE_S 5

struct status_view {
	const struct config *config;
	struct rpc_beside_names *names;
	struct beside_state state;
	struct rpc_beside_objects objects;
	struct rpc_beside_ping direct;
	struct rpc_beside_ping requests;
	bool requests_tried;
	bool daemon;	/* novasnapd answers at its status socket */
	char *obstacle; /* why it does not take the requests; NULL: none, or unknown */
	bool answered;	/* the forwarding thread answered */
	struct rpc_beside_answer answer;
	enum rpc_beside_evidence seen;
	GPtrArray *problems; /* texts */
};

static void __attribute__((format(printf, 2, 3)))
add_problem(struct status_view *view, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	g_ptr_array_add(view->problems, g_strdup_vprintf(format, args));
	va_end(args);
}

/* Runs in a thread of its own: the observation takes as long as all other questions together. */
static void *observe(void *opaque)
{
	struct status_view *view = opaque;

	(void)rpc_beside_observe(&view->config->rpc, RPC_BESIDE_UNSEEN,
				 view->config->report_interval_s + OBSERVE_MORE_S, &view->seen,
				 NULL);
	return NULL;
}

/* Without novasnapd a ping by the way of requests would reach nova-compute only after the TTL, when
 * nobody waits for its answer. */
static bool may_try_requests(const struct status_view *view)
{
	return view->state.stage == BESIDE_OFF || view->state.given_back || view->answered;
}

static int ask_broker(struct status_view *view, GError **error)
{
	const struct rpc_config *rpc = &view->config->rpc;

	if (view->objects.queue.consumers > 0)
		view->answered = rpc_beside_control(rpc, RPC_BESIDE_TYPE_ECHO, NULL, ECHO_S,
						    &view->answer, NULL) == 0;
	if (view->objects.nova_queue.exists &&
	    rpc_beside_ping(rpc, RPC_BESIDE_DIRECT, PING_S, &view->direct, error) < 0)
		return -1;
	view->requests_tried = may_try_requests(view);
	return view->requests_tried
		       ? rpc_beside_ping(rpc, RPC_BESIDE_REQUESTS, PING_S, &view->requests, error)
		       : 0;
}

static int gather(struct status_view *view, GError **error)
{
	cJSON *status = status_ask(view->config->state_dir, "status", NULL, NULL);
	pthread_t thread;
	int rc;

	view->daemon = status != NULL;
	view->obstacle = g_strdup(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(status, "beside"), "problem")));
	cJSON_Delete(status);
	if (beside_state_read(view->config->state_dir, &view->state, error) < 0 ||
	    handover_check_exchange(view->config, &view->state, error) < 0 ||
	    rpc_beside_look(&view->config->rpc, &view->objects, error) < 0)
		return -1;
	rc = thread_start(&thread, THREAD_STACK_SIZE, observe, view);
	if (rc != 0) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED, "cannot start a thread: %s",
			    g_strerror(rc));
		return -1;
	}
	rc = ask_broker(view, error);
	pthread_join(thread, NULL);
	return rc;
}

static void judge_off(struct status_view *view)
{
	if (view->objects.queue.exists)
		add_problem(view, "the queue %s exists: run --disable to remove it, or --enable",
			    view->names->queue);
	if (view->seen == RPC_BESIDE_FOLLOWS)
		add_problem(view,
			    "nova-compute has control_exchange = %s without --enable: it cannot "
			    "reach the other services; run --enable, or remove the line",
			    view->names->exchange);
	if (view->objects.exchange && view->seen != RPC_BESIDE_FOLLOWS)
		add_problem(view, "the exchange %s exists: run --disable to remove it, or --enable",
			    view->names->exchange);
}

static void judge_requests(struct status_view *view)
{
	if (!view->requests_tried || view->state.stage == BESIDE_DISABLING)
		return;
	if (view->requests.returned)
		add_problem(view,
			    "no queue gets the requests for this host: novasnap beside --guard "
			    "repairs it");
	else if (view->requests.answers > 1)
		add_problem(view,
			    "nova-compute gets each request twice: it was restarted with its old "
			    "configuration; add the line control_exchange = %s, and restart it",
			    view->names->exchange);
	else if (view->requests.answers == 0 && view->direct.answers > 0)
		add_problem(view, "requests do not reach nova-compute, which answers directly");
}

static void judge_enabled(struct status_view *view)
{
	const struct rpc_beside_objects *objects = &view->objects;

	if (view->state.stage == BESIDE_DISABLING || view->state.stage == BESIDE_REMOVING) {
		add_problem(view, "--disable is under way, or was interrupted: run it again, and "
				  "restart nova-compute without the line");
		return;
	}
	if (!objects->exchange || !objects->queue.exists || !objects->notification_exchange)
		add_problem(view,
			    "the broker has lost the exchange or the queue: novasnap beside "
			    "--guard makes them again; is novasnap-beside-guard.timer enabled?");
	if (objects->queue.consumers > 1)
		add_problem(view, "%u processes consume the queue %s: only novasnapd may",
			    objects->queue.consumers, view->names->queue);
	if (view->state.stage == BESIDE_ENABLING)
		add_problem(view, "--enable is under way, or was interrupted: run it again");
	else if (view->state.given_back)
		add_problem(view,
			    "the requests are given back to nova-compute: novasnapd takes them "
			    "again when it works%s%s",
			    view->obstacle ? "; now: " : "", view->obstacle ? view->obstacle : "");
	else if (!view->daemon)
		add_problem(view, "novasnapd does not run (systemctl start novasnapd), or this "
				  "user may not ask it");
	else if (!view->answered)
		add_problem(view, "novasnapd's forwarding thread does not answer");
	else if (!view->answer.intercepting)
		add_problem(view, "novasnapd forwards everything; if this lasts longer than some "
				  "seconds after its start, run --enable again");
	if (view->seen == RPC_BESIDE_OLD_CONFIG)
		add_problem(view,
			    "nova-compute runs with its old configuration: add the line "
			    "control_exchange = %s, and restart it",
			    view->names->exchange);
}

static void judge(struct status_view *view)
{
	if (view->state.stage == BESIDE_OFF)
		judge_off(view);
	else
		judge_enabled(view);
	judge_requests(view);
	if (view->objects.nova_queue.exists && view->direct.answers == 0)
		add_problem(view, "nova-compute does not answer within %d s", PING_S);
}

static const char *evidence_name(enum rpc_beside_evidence seen)
{
	return seen == RPC_BESIDE_FOLLOWS      ? "own"
	       : seen == RPC_BESIDE_OLD_CONFIG ? "old"
					       : "unknown";
}

static void add_queue(cJSON *object, const char *member, const char *name,
		      const struct rpc_beside_queue *queue)
{
	cJSON *added = cJSON_AddObjectToObject(object, member);

	cJSON_AddStringToObject(added, "name", name);
	cJSON_AddBoolToObject(added, "exists", queue->exists);
	cJSON_AddNumberToObject(added, "messages", queue->messages);
	cJSON_AddNumberToObject(added, "consumers", queue->consumers);
}

static void add_ping(cJSON *object, const char *member, bool tried,
		     const struct rpc_beside_ping *ping)
{
	cJSON *added;

	if (!tried) {
		cJSON_AddNullToObject(object, member);
		return;
	}
	added = cJSON_AddObjectToObject(object, member);
	cJSON_AddBoolToObject(added, "returned", ping->returned);
	cJSON_AddNumberToObject(added, "answers", ping->answers);
	if (ping->answers > 0)
		cJSON_AddNumberToObject(added, "ms", ping->first_ms);
	else
		cJSON_AddNullToObject(added, "ms");
}

static void print_json(const struct status_view *view)
{
	cJSON *object = cJSON_CreateObject();
	cJSON *exchange, *daemon, *problems;

	cJSON_AddStringToObject(object, "stage", beside_stage_name(view->state.stage));
	cJSON_AddBoolToObject(object, "given_back", view->state.given_back);
	exchange = cJSON_AddObjectToObject(object, "exchange");
	cJSON_AddStringToObject(exchange, "name", view->names->exchange);
	cJSON_AddBoolToObject(exchange, "exists", view->objects.exchange);
	cJSON_AddBoolToObject(exchange, "exists_for_notifications",
			      view->objects.notification_exchange);
	add_queue(object, "queue", view->names->queue, &view->objects.queue);
	add_queue(object, "nova_queue", view->names->nova_queue, &view->objects.nova_queue);
	add_ping(object, "ping_direct", view->objects.nova_queue.exists, &view->direct);
	add_ping(object, "ping_requests", view->requests_tried, &view->requests);
	daemon = cJSON_AddObjectToObject(object, "novasnapd");
	cJSON_AddBoolToObject(daemon, "running", view->daemon);
	cJSON_AddBoolToObject(daemon, "answers", view->answered);
	cJSON_AddBoolToObject(daemon, "intercepting", view->answered && view->answer.intercepting);
	if (view->answered && view->answer.delay_ms >= 0)
		cJSON_AddNumberToObject(daemon, "delay_ms", view->answer.delay_ms);
	else
		cJSON_AddNullToObject(daemon, "delay_ms");
	cJSON_AddStringToObject(object, "nova_exchange", evidence_name(view->seen));
	cJSON_AddBoolToObject(object, "line_in_configuration", view->config->nova_has_exchange);
	problems = cJSON_AddArrayToObject(object, "problems");
	for (guint i = 0; i < view->problems->len; i++)
		cJSON_AddItemToArray(problems, cJSON_CreateString(view->problems->pdata[i]));
	command_print_json(object);
}

static void print_queue(const char *label, const char *name, const struct rpc_beside_queue *queue)
{
	if (queue->exists)
		printf("%-14s %s: %u messages wait, %u consumers\n", label, name, queue->messages,
		       queue->consumers);
	else
		printf("%-14s %s: does not exist\n", label, name);
}

static void print_ping(const char *label, const char *what, bool tried,
		       const struct rpc_beside_ping *ping)
{
	if (!tried)
		printf("%-14s not tried\n", label);
	else if (ping->returned)
		printf("%-14s no queue is bound\n", label);
	else if (ping->answers == 0)
		printf("%-14s no answer within %d s\n", label, PING_S);
	else
		printf("%-14s %s after %.1f ms%s\n", label, what, ping->first_ms,
		       ping->answers > 1 ? ", twice" : "");
}

static void print_daemon(const struct status_view *view)
{
	if (!view->answered) {
		printf("%-14s %s\n", "novasnapd",
		       !view->daemon ? "does not run, or this user may not ask it"
		       : view->state.stage == BESIDE_OFF
			       ? "runs, and waits for --enable"
			       : "runs, and does not answer in its queue");
		return;
	}
	printf("%-14s pid %" G_GINT64_FORMAT ", %s", "novasnapd", view->answer.pid,
	       view->answer.intercepting ? "takes its methods out" : "forwards everything");
	if (view->answer.delay_ms >= 0)
		printf(", delay %.1f ms", view->answer.delay_ms);
	printf("\n");
}

static void print_text(const struct status_view *view)
{
	const struct rpc_beside_objects *objects = &view->objects;

	printf("%-14s %s%s\n", "stage", beside_stage_name(view->state.stage),
	       view->state.stage == BESIDE_OFF ? ""
	       : view->state.given_back	       ? ", the requests are given back to nova-compute"
					       : ", novasnapd gets the requests");
	printf("%-14s %s: %s%s\n", "exchange", view->names->exchange,
	       objects->exchange ? "exists" : "does not exist",
	       objects->notification_exchange || !objects->exchange
		       ? ""
		       : ", but not at the broker of notifications");
	print_queue("queue", view->names->queue, &objects->queue);
	print_queue("nova-compute", view->names->nova_queue, &objects->nova_queue);
	print_ping("  directly", "answers", objects->nova_queue.exists, &view->direct);
	print_ping("  requests", "reach it, answered", view->requests_tried, &view->requests);
	printf("%-14s %s\n", "  publishes on",
	       view->seen == RPC_BESIDE_FOLLOWS	     ? view->names->exchange
	       : view->seen == RPC_BESIDE_OLD_CONFIG ? view->config->rpc.control_exchange
						     : "unknown: it was not seen");
	print_daemon(view);
	for (guint i = 0; i < view->problems->len; i++)
		printf("%-14s %s\n", "problem", (const char *)view->problems->pdata[i]);
}

int beside_status(const struct config *config, bool json)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(&config->rpc, &error);
	g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
	struct status_view view = {.config = config, .names = names, .problems = problems};

	if (!names || gather(&view, &error) < 0) {
		g_free(view.obstacle);
		return beside_fail(error);
	}
	judge(&view);
	if (json)
		print_json(&view);
	else
		print_text(&view);
	g_free(view.obstacle);
	if (problems->len > 0)
		return EXIT_FAILURE;
	return view.state.stage == BESIDE_OFF ? EXIT_PENDING : EXIT_SUCCESS;
}
