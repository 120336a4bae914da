/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See daemon.h.
 */
#include "agent/daemon/daemon.h"

#include <glib-unix.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/daemon/log.h"
#include "agent/daemon/manager.h"
#include "agent/daemon/notifier.h"
#include "agent/daemon/observer.h"
#include "agent/daemon/overview.h"
#include "agent/daemon/status.h"
#include "rpc/rpc.h"

/* How long messages are still published that wait for the broker: for the rest of the grace time,
 * between these limits. */
#define PUBLISH_GRACE_S 10
#define PUBLISH_GRACE_MIN_S 2
#define READY_CHECK_MS 10
#define READY_CHECK_MAX_MS 500
/* novasnapd exits if it has not stopped this long after the jobs' time: the journal has what the
 * next process needs. */
#define STOP_MARGIN_S 20

enum phase {
	PHASE_STARTING,
	PHASE_SERVING,
	PHASE_STOPPING, /* the jobs end */
	PHASE_CLOSING,	/* no job is running; the manager is being freed */
	PHASE_CLOSED,
};

/* The main loop has its own context, because libvirt uses the default context, in the thread of its
 * events. Starting and stopping may wait for other services, so they are done in separate threads,
 * and this one can always handle a signal. */
struct daemon {
	const struct config *config;
	const char *const *files; /* of the configuration */
	GMainContext *context;
	GMainLoop *loop;
	struct rpc *rpc;
	struct manager *manager;
	struct status *status;
	struct observer *observer;
	bool observer_hangs; /* its thread uses the manager */
	struct notifier *notifier;
	gint64 began;
	unsigned signals;
	bool is_foreground; /* it was started in a terminal */

	pthread_mutex_t lock;
	enum phase phase; /* guarded by the lock */
	/* Set by the thread that starts or stops, before `phase` changes. */
	GError *error; /* why it could not start */
	unsigned jobs_left;
	gint64 grace_until; /* monotonic us */
	int exit_status;
};

static enum phase daemon_phase(struct daemon *daemon)
{
	enum phase phase;

	pthread_mutex_lock(&daemon->lock);
	phase = daemon->phase;
	pthread_mutex_unlock(&daemon->lock);
	return phase;
}

static void set_phase(struct daemon *daemon, enum phase phase)
{
	pthread_mutex_lock(&daemon->lock);
	daemon->phase = phase;
	pthread_mutex_unlock(&daemon->lock);
	g_main_context_wakeup(daemon->context);
}

static void exit_now(const char *why)
{
	g_warning("exiting at once: %s; the next start continues from the journal", why);
	/* Other threads use the data that would be freed, including the configuration. */
	_exit(EXIT_FAILURE);
}

/* The first signal stops novasnapd; the second one ends the grace time of its jobs; the third one
 * ends the process. A process that is still starting, or has nothing left to end, exits at the
 * second one. */
static gboolean handle_signal(gpointer opaque)
{
	struct daemon *daemon = opaque;

	daemon->signals++;
	if (daemon->signals == 1) {
		g_main_loop_quit(daemon->loop);
		return G_SOURCE_CONTINUE;
	}
	if (daemon->signals > 2)
		exit_now("a third signal was received");
	pthread_mutex_lock(&daemon->lock);
	if (daemon->phase == PHASE_STOPPING && daemon->manager)
		manager_skip_grace(daemon->manager);
	else if (daemon->phase == PHASE_STARTING || daemon->phase == PHASE_CLOSING)
		exit_now("a second signal was received");
	pthread_mutex_unlock(&daemon->lock);
	return G_SOURCE_CONTINUE;
}

/* As nova-compute does (oslo_service's restart_method "mutate"): only keys that are mutable change,
 * and a configuration that cannot be read changes nothing. */
static void reload_config(const struct daemon *daemon)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) changed = config_load(daemon->files, &error);
	g_autofree char *ignored = NULL;

	if (!changed) {
		g_warning("SIGHUP: keeping the configuration: %s", error->message);
		return;
	}
	log_set_debug(changed->debug);
	g_message("SIGHUP: the configuration was read again; debug is %s",
		  changed->debug ? "true" : "false");
	ignored = config_list_ignored_changes(daemon->config, changed);
	if (ignored)
		g_warning("SIGHUP: ignoring the change of %s: restart novasnapd for it", ignored);
}

/* In a terminal the signal means that the terminal was closed (oslo_service's
 * _is_sighup_and_daemon). */
static gboolean handle_sighup(gpointer opaque)
{
	const struct daemon *daemon = opaque;
	g_autoptr(GError) error = NULL;

	if (daemon->is_foreground)
		return handle_signal(opaque);
	notifier_begin_reload(daemon->notifier);
	if (log_reopen(&error) < 0)
		g_warning("SIGHUP: %s", error->message);
	reload_config(daemon);
	notifier_end_reload(daemon->notifier);
	return G_SOURCE_CONTINUE;
}

static void attach_to_main_loop(struct daemon *daemon, GSource *source, GSourceFunc callback)
{
	g_source_set_callback(source, callback, daemon, NULL);
	(void)g_source_attach(source, daemon->context);
	g_source_unref(source);
}

/* Often at first, since a broker that is there answers within milliseconds. Then ever less: it may
 * be away for long. */
static gboolean check_ready(gpointer opaque)
{
	struct daemon *daemon = opaque;
	gint64 waited_ms = (g_get_monotonic_time() - daemon->began) / 1000;

	if (daemon_phase(daemon) != PHASE_SERVING)
		return G_SOURCE_REMOVE;
	if (!rpc_wait_ready(daemon->rpc, 0)) {
		attach_to_main_loop(daemon,
				    g_timeout_source_new((guint)CLAMP(
					    waited_ms / 10, READY_CHECK_MS, READY_CHECK_MAX_MS)),
				    check_ready);
		return G_SOURCE_REMOVE;
	}
	g_message("ready after %.0f ms", (double)(g_get_monotonic_time() - daemon->began) / 1000.0);
	notifier_update(daemon->notifier);
	return G_SOURCE_REMOVE;
}

/* While it starts or stops, the manager may not be used, and other limits apply. */
static bool is_serving(struct daemon *daemon)
{
	return daemon_phase(daemon) == PHASE_SERVING && daemon->manager;
}

static char *describe(void *opaque)
{
	struct daemon *daemon = opaque;

	return is_serving(daemon) ? overview_text(daemon->manager, daemon->rpc) : NULL;
}

static bool is_alive(void *opaque, char **ret_reason)
{
	struct daemon *daemon = opaque;

	return !is_serving(daemon) || overview_is_alive(daemon->manager, daemon->rpc, ret_reason);
}

static gboolean handle_late_stop(gpointer opaque)
{
	(void)opaque;
	exit_now("it did not stop in time");
	return G_SOURCE_REMOVE;
}

static gboolean handle_late_close(gpointer opaque)
{
	const struct daemon *daemon = opaque;

	g_message("stopped; the broker did not accept the last messages in time");
	_exit(daemon->exit_status);
	return G_SOURCE_REMOVE;
}

static unsigned publish_grace_s(const struct daemon *daemon)
{
	gint64 left_s = (daemon->grace_until - g_get_monotonic_time()) / G_USEC_PER_SEC;

	return (unsigned)CLAMP(left_s, PUBLISH_GRACE_MIN_S, PUBLISH_GRACE_S);
}

/* Runs in the thread that stops. */
static gpointer stop_main(gpointer opaque)
{
	struct daemon *daemon = opaque;

	if (daemon->manager)
		daemon->jobs_left = manager_stop(daemon->manager) + daemon->observer_hangs;
	if (daemon->jobs_left == 0) {
		unsigned grace_s = publish_grace_s(daemon);

		set_phase(daemon, PHASE_CLOSING);
		/* A broker that hangs may take longer. */
		attach_to_main_loop(daemon, g_timeout_source_new_seconds(grace_s + 1),
				    handle_late_close);
		manager_free(daemon->manager);
		observer_free(daemon->observer);
		rpc_close(daemon->rpc, grace_s);
	}
	set_phase(daemon, PHASE_CLOSED);
	return NULL;
}

/* Returns how many jobs did not end: then nothing was freed. */
static unsigned stop_serving(struct daemon *daemon)
{
	unsigned limit_s = daemon->config->shutdown_grace_s + MANAGER_STOP_MAX_S + STOP_MARGIN_S;
	GThread *thread;

	daemon->grace_until =
		g_get_monotonic_time() + (gint64)daemon->config->shutdown_grace_s * G_USEC_PER_SEC;
	daemon->observer_hangs = !observer_stop(daemon->observer);
	status_stop(daemon->status);
	notifier_stopping(daemon->notifier);
	g_message("stopping: accepting no more casts");
	attach_to_main_loop(daemon, g_timeout_source_new_seconds(limit_s), handle_late_stop);
	set_phase(daemon, PHASE_STOPPING);
	/* Both signals came at once. */
	if (daemon->signals > 1 && daemon->manager)
		manager_skip_grace(daemon->manager);
	thread = g_thread_new("stop", stop_main, daemon);
	/* Not g_main_loop_run, which does not return if the loop was quit before it ran. */
	while (daemon_phase(daemon) != PHASE_CLOSED)
		(void)g_main_context_iteration(daemon->context, TRUE);
	g_thread_join(thread);
	return daemon->jobs_left;
}

/* Runs in the thread that starts. */
static gpointer start_main(gpointer opaque)
{
	struct daemon *daemon = opaque;

	daemon->rpc = rpc_open(&daemon->config->rpc, &daemon->error);
	if (daemon->rpc)
		daemon->manager = manager_open(daemon->config, daemon->rpc, &daemon->error);
	if (daemon->manager) {
		daemon->observer = observer_new(daemon->config, daemon->manager);
		(void)manager_start(daemon->manager, &daemon->error);
	}
	set_phase(daemon, PHASE_SERVING);
	return NULL;
}

/* Metrics that cannot be given out do not keep snapshots from being taken. */
static void start_observing(struct daemon *daemon)
{
	g_autoptr(GError) error = NULL;

	if (!daemon->error && observer_start(daemon->observer, &error) < 0)
		g_warning("%s; going on without metrics", error->message);
}

/* Returns 0, or -1 with daemon->error. */
static int start_serving(struct daemon *daemon)
{
	GThread *thread = g_thread_new("start", start_main, daemon);

	while (daemon_phase(daemon) == PHASE_STARTING)
		(void)g_main_context_iteration(daemon->context, TRUE);
	g_thread_join(thread);
	if (!daemon->error)
		daemon->status = status_start(daemon->config->state_dir, daemon->manager,
					      daemon->context, &daemon->error);
	start_observing(daemon);
	return daemon->error ? -1 : 0;
}

static void run_daemon(struct daemon *daemon)
{
	const struct config *config = daemon->config;

	if (config->beside && !config->control)
		g_warning("[novasnap]mode is beside and control is "
			  "none: " CONFIG_BESIDE_NEEDS_CONDUCTOR);
	g_message("novasnapd %s %s %s.%s: control %s, images %s, methods %s and %s",
		  NOVASNAP_VERSION, config->beside ? "beside the nova-compute of" : "serving",
		  config->rpc.topic, config->rpc.host, config->control ? "conductor" : "none",
		  config->image.directory ? config->image.images_dir : "glance",
		  config->virt.live_method, config->virt.cold_method);
	/* Already before the broker is reached: `systemctl start` and a package upgrade wait for
	 * this. */
	notifier_ready(daemon->notifier);
	attach_to_main_loop(daemon, g_timeout_source_new(READY_CHECK_MS), check_ready);
	if (daemon->signals == 0)
		g_main_loop_run(daemon->loop);
}

int daemon_run(const struct config *config, const char *const *files)
{
	struct daemon daemon = {.config = config,
				.files = files,
				.began = g_get_monotonic_time(),
				.exit_status = EXIT_FAILURE};
	const struct notifier_ops notifier_ops = {describe, is_alive, &daemon};

	pthread_mutex_init(&daemon.lock, NULL);
	daemon.is_foreground = tcgetpgrp(STDOUT_FILENO) == getpgrp();
	daemon.context = g_main_context_new();
	daemon.loop = g_main_loop_new(daemon.context, FALSE);
	daemon.notifier = notifier_start(daemon.context, &notifier_ops);
	attach_to_main_loop(&daemon, g_unix_signal_source_new(SIGTERM), handle_signal);
	attach_to_main_loop(&daemon, g_unix_signal_source_new(SIGINT), handle_signal);
	attach_to_main_loop(&daemon, g_unix_signal_source_new(SIGHUP), handle_sighup);
	if (start_serving(&daemon) == 0) {
		run_daemon(&daemon);
		daemon.exit_status = EXIT_SUCCESS;
	} else {
		g_warning("cannot start: %s", daemon.error->message);
		g_error_free(daemon.error);
	}
	if (stop_serving(&daemon) > 0) {
		g_warning("%u jobs or threads did not end in time: exiting without them",
			  daemon.jobs_left);
		/* The jobs' threads use the data that would be freed, including the
		 * configuration. */
		_exit(daemon.exit_status);
	}
	if (daemon.exit_status == EXIT_SUCCESS)
		g_message("stopped");
	notifier_stop(daemon.notifier);
	g_main_loop_unref(daemon.loop);
	g_main_context_unref(daemon.context);
	pthread_mutex_destroy(&daemon.lock);
	return daemon.exit_status;
}
