/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See exporter.h.
 */
#include "agent/metrics/exporter.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "agent/metrics/http.h"

#define STACK_BYTES ((size_t)256 * 1024)
/* Writing the file may hang. */
#define STOP_S 5
/* Without metrics: those of a process that has ended would be taken for the present ones. Without
 * the file node_exporter would not tell how old it is, which is all that an alert can see of a
 * novasnapd that does not run. */
#define STOPPED "# novasnapd was stopped.\n"

struct exporter {
	struct exporter_config config;
	GMainContext *context;
	GMainLoop *loop;
	GSource *timer;		   /* NULL: no file */
	struct metrics_http *http; /* NULL: no HTTP */
	pthread_t thread;
	bool is_failing; /* the file cannot be written */
};

/* node_exporter sees the old file or the new one, because the new one takes the old one's name when
 * it is complete. Until then its name does not end in ".prom". */
static void write_file(struct exporter *exporter, const char *text)
{
	g_autoptr(GError) error = NULL;

	(void)g_file_set_contents_full(exporter->config.file, text, (gssize)strlen(text),
				       G_FILE_SET_CONTENTS_CONSISTENT, 0644, &error);
	if (error && !exporter->is_failing)
		g_warning("cannot write [novasnap]metrics_file: %s", error->message);
	else if (!error && exporter->is_failing)
		g_message("[novasnap]metrics_file %s is written again", exporter->config.file);
	exporter->is_failing = error != NULL;
}

static gboolean write_metrics(gpointer opaque)
{
	struct exporter *exporter = opaque;
	g_autofree char *text = exporter->config.source.text(exporter->config.source.opaque);

	write_file(exporter, text);
	return G_SOURCE_CONTINUE;
}

static void *exporter_main(void *opaque)
{
	struct exporter *exporter = opaque;

	if (exporter->timer)
		(void)write_metrics(exporter);
	g_main_loop_run(exporter->loop);
	return NULL;
}

static void exporter_free(struct exporter *exporter)
{
	metrics_http_stop(exporter->http);
	if (exporter->timer) {
		g_source_destroy(exporter->timer);
		g_source_unref(exporter->timer);
	}
	g_main_loop_unref(exporter->loop);
	g_main_context_unref(exporter->context);
	g_free(exporter);
}

static int start_thread(struct exporter *exporter)
{
	pthread_attr_t attributes;
	int rc;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	rc = pthread_create(&exporter->thread, &attributes, exporter_main, exporter);
	pthread_attr_destroy(&attributes);
	return rc;
}

struct exporter *exporter_start(const struct exporter_config *config, GError **error)
{
	struct exporter *exporter = g_new0(struct exporter, 1);
	int rc;

	exporter->config = *config;
	exporter->context = g_main_context_new();
	exporter->loop = g_main_loop_new(exporter->context, FALSE);
	if (config->listen) {
		g_autoptr(GError) local = NULL;

		exporter->http = metrics_http_start(config->listen, &exporter->config.source,
						    exporter->context, &local);
		if (!exporter->http)
			g_warning("%s; going on without this endpoint", local->message);
	}
	if (config->file) {
		exporter->timer = g_timeout_source_new_seconds(config->interval_s);
		g_source_set_callback(exporter->timer, write_metrics, exporter, NULL);
		(void)g_source_attach(exporter->timer, exporter->context);
	}
	rc = start_thread(exporter);
	if (rc == 0)
		return exporter;
	g_set_error(error, METRICS_ERROR, METRICS_ERROR_FAILED,
		    "cannot start the thread of the metrics: %s", g_strerror(rc));
	exporter_free(exporter);
	return NULL;
}

/* In the thread: a loop that was quit before it ran would not end. */
static gboolean quit(gpointer opaque)
{
	struct exporter *exporter = opaque;

	if (exporter->timer)
		write_file(exporter, STOPPED);
	g_main_loop_quit(exporter->loop);
	return G_SOURCE_REMOVE;
}

bool exporter_stop(struct exporter *exporter)
{
	struct timespec until;
	GSource *last;

	if (!exporter)
		return true;
	last = g_idle_source_new();
	g_source_set_callback(last, quit, exporter, NULL);
	(void)g_source_attach(last, exporter->context);
	g_source_unref(last);
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += STOP_S;
	if (pthread_clockjoin_np(exporter->thread, NULL, CLOCK_MONOTONIC, &until) != 0) {
		g_warning("the thread of the metrics did not end in %d s", STOP_S);
		return false;
	}
	exporter_free(exporter);
	return true;
}
