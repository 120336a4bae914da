/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnapd: reads its configuration, accepts requests until a signal stops it, and waits for the
 * running jobs.
 */
#include <glib-unix.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/command/common.h"
#include "agent/config/config.h"
#include "agent/config/files.h"
#include "agent/daemon/log.h"
#include "agent/daemon/manager.h"
#include "agent/daemon/process.h"
#include "agent/daemon/status.h"
#include "rpc/rpc.h"

#define PUBLISH_GRACE_S 10
#define READY_CHECK_MS 10

/* The main loop has its own context, because libvirt uses the default context, in the thread of its
 * events. */
struct daemon {
	const struct config *config;
	const char *const *files; /* of the configuration */
	GMainContext *context;
	GMainLoop *loop;
	struct rpc *rpc;
	struct manager *manager;
	struct status *status;
	gint64 began;
	unsigned signals;
	bool ready;
	bool is_foreground; /* it was started in a terminal */
};

/* The first signal stops novasnapd; the second one ends the grace time of its jobs. */
static gboolean handle_signal(gpointer opaque)
{
	struct daemon *daemon = opaque;

	daemon->signals++;
	if (daemon->signals == 1)
		g_main_loop_quit(daemon->loop);
	else if (daemon->manager)
		manager_skip_grace(daemon->manager);
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
	if (log_reopen(&error) < 0)
		g_warning("SIGHUP: %s", error->message);
	reload_config(daemon);
	return G_SOURCE_CONTINUE;
}

static gboolean check_ready(gpointer opaque)
{
	struct daemon *daemon = opaque;

	if (!rpc_wait_ready(daemon->rpc, 0))
		return G_SOURCE_CONTINUE;
	daemon->ready = true;
	g_message("ready after %.0f ms", (double)(g_get_monotonic_time() - daemon->began) / 1000.0);
	(void)sd_notify(0, "READY=1");
	return G_SOURCE_REMOVE;
}

struct stopping {
	struct daemon *daemon;
	unsigned jobs_left;
	atomic_bool done;
};

static gpointer stop_main(gpointer opaque)
{
	struct stopping *stopping = opaque;

	stopping->jobs_left = manager_stop(stopping->daemon->manager);
	atomic_store(&stopping->done, true);
	g_main_context_wakeup(stopping->daemon->context);
	return NULL;
}

/* The manager stops in a separate thread, so that this one can handle a second signal. Returns how
 * many jobs did not end. */
static unsigned stop_serving(struct daemon *daemon)
{
	struct stopping stopping = {.daemon = daemon};
	GThread *thread;

	(void)sd_notify(0, "STOPPING=1");
	g_message("stopping: accepting no more casts");
	thread = g_thread_new("stop", stop_main, &stopping);
	/* Not g_main_loop_run, which does not return if the loop was quit before it ran. */
	while (!atomic_load(&stopping.done))
		(void)g_main_context_iteration(daemon->context, TRUE);
	g_thread_join(thread);
	return stopping.jobs_left;
}

static void attach_to_main_loop(struct daemon *daemon, GSource *source, GSourceFunc callback)
{
	g_source_set_callback(source, callback, daemon, NULL);
	(void)g_source_attach(source, daemon->context);
	g_source_unref(source);
}

static int start_daemon(struct daemon *daemon, const struct config *config, GError **error)
{
	daemon->rpc = rpc_open(&config->rpc, error);
	if (daemon->rpc)
		daemon->manager = manager_open(config, daemon->rpc, error);
	if (!daemon->manager || manager_start(daemon->manager, error) < 0)
		return -1;
	daemon->status = status_start(config->state_dir, daemon->manager, daemon->context, error);
	return daemon->status ? 0 : -1;
}

static void run_daemon(struct daemon *daemon, const struct config *config)
{
	g_message("novasnapd %s serving %s.%s: control %s, images %s, methods %s and %s",
		  NOVASNAP_VERSION, config->rpc.topic, config->rpc.host,
		  config->control ? "conductor" : "none",
		  config->image.directory ? config->image.images_dir : "glance",
		  config->virt.live_method, config->virt.cold_method);
	attach_to_main_loop(daemon, g_timeout_source_new(READY_CHECK_MS), check_ready);
	if (daemon->signals == 0)
		g_main_loop_run(daemon->loop);
	status_stop(daemon->status);
}

/* Returns the process's exit status. */
static int run_until_stopped(const struct config *config, const char *const *files)
{
	struct daemon daemon = {.config = config, .files = files, .began = g_get_monotonic_time()};
	g_autoptr(GError) error = NULL;
	int status = EXIT_FAILURE;
	unsigned jobs_left;

	daemon.is_foreground = tcgetpgrp(STDOUT_FILENO) == getpgrp();
	daemon.context = g_main_context_new();
	daemon.loop = g_main_loop_new(daemon.context, FALSE);
	attach_to_main_loop(&daemon, g_unix_signal_source_new(SIGTERM), handle_signal);
	attach_to_main_loop(&daemon, g_unix_signal_source_new(SIGINT), handle_signal);
	attach_to_main_loop(&daemon, g_unix_signal_source_new(SIGHUP), handle_sighup);
	if (start_daemon(&daemon, config, &error) == 0) {
		run_daemon(&daemon, config);
		status = EXIT_SUCCESS;
	} else {
		g_warning("cannot start: %s", error->message);
	}
	jobs_left = daemon.manager ? stop_serving(&daemon) : 0;
	if (jobs_left > 0) {
		g_warning("%u jobs did not end in time: exiting without them", jobs_left);
		/* The jobs' threads use the data that would be freed, including the
		 * configuration. */
		_exit(status);
	}
	manager_free(daemon.manager);
	if (status == EXIT_SUCCESS)
		g_message("stopped");
	rpc_close(daemon.rpc, PUBLISH_GRACE_S);
	g_main_loop_unref(daemon.loop);
	g_main_context_unref(daemon.context);
	return status;
}

static const char summary[] =
	"Takes the snapshots of this compute host in nova-compute's place: receives nova's casts "
	"from RabbitMQ,\nhas libvirt and QEMU take the snapshots, and uploads them to Glance. "
	"SIGTERM or Ctrl-C stops it:\nrunning jobs may continue for [novasnap]shutdown_grace; a "
	"second signal cancels them. SIGHUP opens the\nlog file again, and reads "
	"[DEFAULT]debug again.";

static const char description[] =
	"Exit status:\n"
	"  0  it was stopped\n"
	"  1  it could not start; see the log\n"
	"  2  wrong option, or invalid configuration\n\n"
	"Example:\n"
	"  novasnapd --config-file /etc/nova/nova.conf --config-file /etc/novasnap/novasnap.conf";

int main(int argc, char **argv)
{
	g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
	const char *const *files;
	gboolean version = FALSE, help = FALSE;
	const GOptionEntry entries[] = {
		{"help", 'h', 0, G_OPTION_ARG_NONE, &help, "Print this help", NULL},
		{"version", 'V', 0, G_OPTION_ARG_NONE, &version, "Print the version", NULL},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(GOptionContext) options = g_option_context_new(NULL);
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;

	process_keep_secrets();
	/* Writing to a closed pipe or socket fails instead. */
	(void)signal(SIGPIPE, SIG_IGN);
	/* It may come from logrotate, before run_until_stopped handles it. */
	(void)signal(SIGHUP, SIG_IGN);
	/* Few arenas: threads are short-lived, and memory freed by one thread must be usable by
	 * others. */
	(void)mallopt(M_ARENA_MAX, 2);
	(void)mallopt(M_TRIM_THRESHOLD, 256 * 1024);
	g_option_context_set_help_enabled(options, FALSE);
	g_option_context_set_summary(options, summary);
	g_option_context_set_description(options, description);
	config_files_add_options(options, paths);
	g_option_context_add_main_entries(options, entries, NULL);
	if (!g_option_context_parse(options, &argc, &argv, &error) || argc > 1) {
		(void)fprintf(stderr, "novasnapd: %s; see novasnapd --help\n",
			      error ? error->message : "it takes no arguments, only options");
		return EXIT_USAGE;
	}
	if (help) {
		command_print_help(options, stdout);
		return EXIT_SUCCESS;
	}
	if (version) {
		printf("novasnapd %s\n", NOVASNAP_VERSION);
		return EXIT_SUCCESS;
	}
	g_ptr_array_add(paths, NULL);
	files = (const char *const *)paths->pdata;
	config = config_load(files, &error);
	if (!config || log_open(config->log_file, config->debug, &error) < 0) {
		(void)fprintf(stderr, "novasnapd: %s\n", error->message);
		return EXIT_USAGE;
	}
	return run_until_stopped(config, (const char *const *)files);
}
