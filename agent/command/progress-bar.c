/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shows the progress of snapshots on standard output.
 */
#include "agent/command/progress-bar.h"

#include <glib-unix.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/command/common.h"
#include "agent/command/terminal.h"
#include "rpc/json.h"

#define BAR_WIDTH 30
#define BAR_WIDTH_MIN 8
#define POLL_MS 100
#define MEBI (1024.0 * 1024.0)

struct progress_view {
	char *image;
	char *instance;
	bool json;
	GMainLoop *loop;
	int status;

	pthread_mutex_t lock;
	GQueue events; /* cJSON payloads from other threads; guarded by the lock */

	/* Only the thread of progress_view_run uses these. */
	struct terminal terminal;
	GPtrArray *uploads; /* cJSON payloads: the last one of each upload */
	unsigned drawn;	    /* how many bars are above the cursor */
};

static void payload_free(void *payload)
{
	cJSON_Delete(payload);
}

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

/* One bar is as wide as the terminal allows. */
static void print_bar(const struct progress_view *view, const cJSON *payload)
{
	double done = payload_number(payload, "bytes_done");
	double total = payload_number(payload, "bytes_total");
	double share = total > 0 ? done / total : 0;
	double rate = payload_number(payload, "bytes_per_second");
	g_autofree char *rate_text = rate > 0 ? terminal_rate(rate) : NULL;
	g_autofree char *left_text =
		rate > 0 ? terminal_duration(payload_number(payload, "seconds_left")) : NULL;
	g_autofree char *text =
		g_strdup_printf("%3.0f%% %.0f of %.0f MiB%s%s%s%s", share * 100, done / MEBI,
				total / MEBI, rate_text ? ", " : "", rate_text ? rate_text : "",
				left_text ? ", " : "", left_text ? left_text : "");
	unsigned left = view->terminal.columns;
	/* The image, two gaps, and the text. */
	unsigned others = 8 + 2 + terminal_width(text) + (left_text ? 5 : 0);
	unsigned width = left > others ? MIN(left - others, BAR_WIDTH) : 0;
	g_autofree char *bar = terminal_bar(share, MAX(width, BAR_WIDTH_MIN));
	g_autoptr(GString) line = g_string_new(NULL);

	terminal_add(&view->terminal, line, &left, STYLE_PLAIN, "%.8s ",
		     json_string(payload, "image_id"));
	terminal_add(&view->terminal, line, &left, STYLE_GOOD, "%s", bar);
	terminal_add(&view->terminal, line, &left, STYLE_PLAIN, " %s%s", text,
		     left_text ? " left" : "");
	printf("%s\n", line->str);
}

static void erase_bars(struct progress_view *view)
{
	if (view->drawn > 0)
		printf("\033[%uA\033[J", view->drawn);
	view->drawn = 0;
}

/* Below everything else, as many as the terminal has room for. */
static void draw_bars(struct progress_view *view)
{
	unsigned room = view->terminal.rows > 1 ? view->terminal.rows - 1 : 1;

	for (guint i = 0; i < view->uploads->len && view->drawn < room; i++, view->drawn++)
		print_bar(view, view->uploads->pdata[i]);
}

static bool can_move_cursor(const struct progress_view *view)
{
	return view->terminal.is_terminal && !view->terminal.is_dumb;
}

static void forget_upload(struct progress_view *view, const char *image)
{
	for (guint i = 0; i < view->uploads->len; i++) {
		if (g_str_equal(json_string(view->uploads->pdata[i], "image_id"), image)) {
			(void)g_ptr_array_remove_index(view->uploads, i);
			return;
		}
	}
}

/* The order of the bars does not change. */
static void note_upload(struct progress_view *view, const cJSON *payload)
{
	const char *image = json_string(payload, "image_id");
	cJSON *copy = cJSON_Duplicate(payload, true);

	for (guint i = 0; i < view->uploads->len; i++) {
		if (g_str_equal(json_string(view->uploads->pdata[i], "image_id"), image)) {
			cJSON_Delete(view->uploads->pdata[i]);
			view->uploads->pdata[i] = copy;
			return;
		}
	}
	g_ptr_array_add(view->uploads, copy);
}

static void print_line(struct progress_view *view, const char *image, enum terminal_style style,
		       const char *what, const char *detail)
{
	unsigned left = UINT_MAX;
	g_autoptr(GString) line = g_string_new(NULL);

	terminal_add(&view->terminal, line, &left, STYLE_PLAIN, "%.8s ", image);
	terminal_add_text(&view->terminal, line, &left, style, what);
	if (detail)
		terminal_add(&view->terminal, line, &left, STYLE_PLAIN, ": %s", detail);
	printf("%s\n", line->str);
}

/* Shows a payload on a line of its own, or by a bar. */
static void show_payload(struct progress_view *view, const cJSON *payload)
{
	const char *image = json_string(payload, "image_id");
	const char *phase = json_string(payload, "phase");
	const char *state = json_string(payload, "task_state");
	const char *detail = json_string(payload, "detail");
	bool has_bar = g_str_equal(phase, "uploading") || g_str_equal(phase, "copying");

	if (has_bar && can_move_cursor(view))
		note_upload(view, payload);
	else if (has_bar)
		print_bar(view, payload);
	else if (g_str_equal(phase, "state"))
		print_line(view, image, STYLE_PLAIN, "task state", state ? state : "none");
	else if (g_str_equal(phase, "taking"))
		print_line(view, image, STYLE_PLAIN, "method", json_string(payload, "method"));
	else if (g_str_equal(phase, "finishing"))
		print_line(view, image, STYLE_PLAIN, phase, detail);
	else if (g_str_equal(phase, "done"))
		print_line(view, image, STYLE_GOOD, phase, detail);
	else if (g_str_equal(phase, "failed"))
		print_line(view, image, STYLE_BAD, phase, detail);
	else if (g_str_equal(phase, "left_to_nova"))
		print_line(view, image, STYLE_WARNING, "nova-compute serves it", detail);
}

static void show_event(struct progress_view *view, const cJSON *payload)
{
	const char *phase = json_string(payload, "phase");
	bool done = g_str_equal(phase, "done");
	bool is_end = done || g_str_equal(phase, "failed") || g_str_equal(phase, "left_to_nova");

	if (view->json) {
		command_print_json(cJSON_Duplicate(payload, true));
	} else {
		terminal_look(&view->terminal);
		erase_bars(view);
		if (is_end)
			forget_upload(view, json_string(payload, "image_id"));
		show_payload(view, payload);
		draw_bars(view);
		(void)fflush(stdout);
	}
	if (is_end && (view->image || view->instance)) {
		view->status = done ? EXIT_SUCCESS : EXIT_FAILURE;
		g_main_loop_quit(view->loop);
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
					bool json, GError **error)
{
	static const char *const keys[] = {NOVA_PROGRESS_TOPIC ".info", NULL};
	struct progress_view *view = g_new0(struct progress_view, 1);

	view->image = g_strdup(image);
	view->instance = g_strdup(instance);
	view->json = json;
	view->uploads = g_ptr_array_new_with_free_func(payload_free);
	terminal_look(&view->terminal);
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
	return view->status;
}

void progress_view_free(struct progress_view *view)
{
	cJSON *payload;

	if (!view)
		return;
	while ((payload = g_queue_pop_head(&view->events)))
		cJSON_Delete(payload);
	g_ptr_array_unref(view->uploads);
	pthread_mutex_destroy(&view->lock);
	g_main_loop_unref(view->loop);
	g_free(view->image);
	g_free(view->instance);
	g_free(view);
}
