/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnapd: reads its options and its configuration, and runs the daemon.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/common.h"
#include "agent/config/config.h"
#include "agent/config/files.h"
#include "agent/daemon/daemon.h"
#include "agent/daemon/log.h"
#include "agent/daemon/process.h"

static const char summary[] =
	"Takes the snapshots of this compute host in nova-compute's place: receives nova's casts "
	"from RabbitMQ,\nhas libvirt and QEMU take the snapshots, and uploads them to Glance. "
	"SIGTERM or Ctrl-C stops it:\nrunning jobs may continue for [novasnap]shutdown_grace, or "
	"until a second signal. Then they are rolled\nback, and continue at the next start. SIGHUP "
	"opens the log file again, and reads\n[DEFAULT]debug again.";

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
	/* It may come from logrotate, before daemon_run handles it. */
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
	if (!config || log_open(config, &error) < 0) {
		(void)fprintf(stderr, "novasnapd: %s\n", error->message);
		return EXIT_USAGE;
	}
	return daemon_run(config, files);
}
