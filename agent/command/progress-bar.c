/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shows the progress of snapshots on standard output.
 */
#include "agent/command/progress-bar.h"

#include <glib-unix.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/command/command.h"
#include "rpc/json.h"

#define BAR_WIDTH 28
#define POLL_MS 100
#define MEBI (1024.0 * 1024.0)

struct progress_view {
	char *image;
	char *instance;
	bool terminal;
	GMainLoop *loop;
	int status;

	pthread_mutex_t lock;
	GQueue events; /* cJSON payloads from other threads; guarded by the lock */

	/* Only the thread of progress_view_run uses this. */
	bool bar_open; /* the cursor is after a bar, which may be overwritten */
};

static double payload_number(const cJSON *payload, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(payload, name);

	return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static bool is_shown(const struct progress_view *view, const cJSON *payload)
{
	const char *image = json_string(payload, "image_id");
	const char *instance = json_string(payload, "instance_id");

	if (!image || !instance || !json_string(payload, "phase"))
		return false;
	return (!view->image || g_str_equal(view->image, image)) &&
	       (!view->instance || g_str_equal(view->instance, instance));
}

void progress_view_push(const struct nova_progress *progress, void *opaque)
{
	struct progress_view *view = opaque;
	cJSON *payload = nova_progress_payload(progress);

	pthread_mutex_lock(&view->lock);
	g_queue_push_tail(&view->events, payload);
	pthread_mutex_unlock(&view->lock);
}

/* Called in the consuming thread. */
static void queue_notification(const char *event_type, const cJSON *message, void *opaque)
{
	struct progress_view *view = opaque;
	const cJSON *payload = cJSON_GetObjectItemCaseSensitive(message, "payload");

	if (!g_str_equal(event_type, NOVA_PROGRESS_EVENT) || !is_shown(view, payload))
		return;
	pthread_mutex_lock(&view->lock);
	g_queue_push_tail(&view->events, cJSON_Duplicate(payload, true));
	pthread_mutex_unlock(&view->lock);
}

static void draw_bar(struct progress_view *view, const cJSON *payload)
{
	double done = payload_number(payload, "bytes_done");
	double total = payload_number(payload, "bytes_total");
	double bytes_per_s = payload_number(payload, "bytes_per_second");
	int filled = total > 0 ? (int)(done / total * BAR_WIDTH) : 0;
	char bar[BAR_WIDTH + 1];
	g_autofree char *rate = NULL;

	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', (size_t)CLAMP(filled, 0, BAR_WIDTH));
	bar[BAR_WIDTH] = '\0';
	if (bytes_per_s > 0)
		rate = g_strdup_printf(", %.0f MiB/s, %.0f s left", bytes_per_s / MEBI,
				       payload_number(payload, "seconds_left"));
	printf("%s%.8s [%s] %3.0f%% %.0f of %.0f MiB%s%s", view->terminal ? "\r" : "",
	       json_string(payload, "image_id"), bar, total > 0 ? done / total * 100 : 0,
	       done / MEBI, total / MEBI, rate ? rate : "", view->terminal ? "   " : "\n");
	view->bar_open = view->terminal;
	(void)fflush(stdout);
}

static void print_line(struct progress_view *view, const char *image, const char *what,
		       const char *detail)
{
	printf("%s%.8s %s%s%s\n", view->bar_open ? "\n" : "", image, what, detail ? ": " : "",
	       detail ? detail : "");
	view->bar_open = false;
	(void)fflush(stdout);
}

static void show_event(struct progress_view *view, const cJSON *payload)
{
	const char *image = json_string(payload, "image_id");
	const char *phase = json_string(payload, "phase");
	const char *state = json_string(payload, "task_state");
	bool done = g_str_equal(phase, "done");

	if (g_str_equal(phase, "uploading")) {
		draw_bar(view, payload);
	} else if (g_str_equal(phase, "state")) {
		print_line(view, image, "task state", state ? state : "none");
	} else if (g_str_equal(phase, "taking")) {
		print_line(view, image, "method", json_string(payload, "method"));
	} else if (g_str_equal(phase, "finishing")) {
		print_line(view, image, phase, json_string(payload, "detail"));
	} else if (done || g_str_equal(phase, "failed")) {
		print_line(view, image, phase, json_string(payload, "detail"));
		if (view->image || view->instance) {
			view->status = done ? EXIT_SUCCESS : EXIT_FAILURE;
			g_main_loop_quit(view->loop);
		}
	}
}

static gboolean show_events(gpointer opaque)
{
	struct progress_view *view = opaque;
	cJSON *payload;

	for (;;) {
		pthread_mutex_lock(&view->lock);
		payload = g_queue_pop_head(&view->events);
		pthread_mutex_unlock(&view->lock);
		if (!payload)
			return G_SOURCE_CONTINUE;
		show_event(view, payload);
		cJSON_Delete(payload);
	}
}

static gboolean end_by_signal(gpointer opaque)
{
	struct progress_view *view = opaque;

	view->status = EXIT_SIGNAL;
	g_main_loop_quit(view->loop);
	return G_SOURCE_CONTINUE;
}

static gboolean end_by_timeout(gpointer opaque)
{
	struct progress_view *view = opaque;

	(void)fprintf(stderr, "novasnap: the snapshot did not end within the timeout\n");
	view->status = EXIT_FAILURE;
	g_main_loop_quit(view->loop);
	return G_SOURCE_CONTINUE;
}

struct progress_view *progress_view_new(struct rpc *rpc, const char *image, const char *instance,
					GError **error)
{
	static const char *const keys[] = {NOVA_PROGRESS_TOPIC ".info", NULL};
	struct progress_view *view = g_new0(struct progress_view, 1);

	view->image = g_strdup(image);
	view->instance = g_strdup(instance);
	view->terminal = isatty(STDOUT_FILENO);
	view->loop = g_main_loop_new(NULL, FALSE);
	pthread_mutex_init(&view->lock, NULL);
	g_queue_init(&view->events);
	if (!rpc || rpc_listen(rpc, keys, queue_notification, view, error) == 0)
		return view;
	progress_view_free(view);
	return NULL;
}

int progress_view_run(struct progress_view *view, unsigned timeout_s)
{
	guint sources[] = {
		g_timeout_add(POLL_MS, show_events, view),
		g_unix_signal_add(SIGINT, end_by_signal, view),
		g_unix_signal_add(SIGTERM, end_by_signal, view),
		g_unix_signal_add(SIGHUP, end_by_signal, view),
		timeout_s > 0 ? g_timeout_add_seconds(timeout_s, end_by_timeout, view) : 0,
	};

	g_main_loop_run(view->loop);
	for (size_t i = 0; i < G_N_ELEMENTS(sources); i++) {
		if (sources[i] > 0)
			g_source_remove(sources[i]);
	}
	if (view->bar_open)
		printf("\n");
	return view->status;
}

void progress_view_free(struct progress_view *view)
{
	cJSON *payload;

	if (!view)
		return;
	while ((payload = g_queue_pop_head(&view->events)))
		cJSON_Delete(payload);
	pthread_mutex_destroy(&view->lock);
	g_main_loop_unref(view->loop);
	g_free(view->image);
	g_free(view->instance);
	g_free(view);
}
