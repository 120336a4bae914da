/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap: the command-line program for operators.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/common.h"
#include "agent/config/files.h"
#include "agent/daemon/process.h"
#include "rpc/rpc.h"

static const struct {
	const char *name;
	int (*run)(const struct command_context *context, int argc, char **argv);
	const char *summary;
} commands[] = {
	{"check", command_check, "check everything that novasnapd needs"},
	{"beside", command_beside, "run novasnapd beside a nova-compute, or end that"},
	{"snapshot", command_snapshot, "take a snapshot of a guest, without a cloud"},
	{"send", command_send, "send a snapshot cast, as nova-api does"},
	{"top", command_top, "show what this host's novasnapd is doing"},
	{"watch", command_watch, "show the progress of snapshots"},
	{"jobs", command_jobs, "list the jobs of this host's novasnapd"},
	{"show", command_show, "show a job and its steps"},
	{"cancel", command_cancel, "cancel running snapshots"},
	{"record", command_record, "record the messages sent to this host"},
	{"replay", command_replay, "send recorded messages again, or execute them"},
	{"decode", command_decode, "print a message in a readable form"},
};

/* For this long, a message is not printed again. */
#define REPEAT_US (60 * G_USEC_PER_SEC)
#define REMEMBERED_MAX 100

/* Settings for printing log messages. */
struct log_filter {
	GLogLevelFlags level;
	pthread_mutex_t lock;
	GHashTable *printed; /* message -> gint64 *, when it was printed; guarded by the lock */
};

/* Never freed, because threads may log until the process ends. */
static struct log_filter *log_filter_new(void)
{
	struct log_filter *filter = g_new0(struct log_filter, 1);

	filter->level = G_LOG_LEVEL_WARNING;
	pthread_mutex_init(&filter->lock, NULL);
	filter->printed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	return filter;
}

/* An unreachable broker is reported at every attempt to connect. */
static bool was_just_printed(struct log_filter *filter, const char *message)
{
	gint64 now = g_get_monotonic_time();
	const gint64 *before;
	bool repeated;

	pthread_mutex_lock(&filter->lock);
	before = g_hash_table_lookup(filter->printed, message);
	repeated = before && now - *before < REPEAT_US;
	if (!repeated) {
		if (g_hash_table_size(filter->printed) >= REMEMBERED_MAX)
			g_hash_table_remove_all(filter->printed);
		g_hash_table_insert(filter->printed, g_strdup(message),
				    g_memdup2(&now, sizeof(now)));
	}
	pthread_mutex_unlock(&filter->lock);
	return repeated;
}

/* A GLogWriterFunc. Messages on standard error are for a person, so they have no time and no
 * level. */
static GLogWriterOutput write_log(GLogLevelFlags level, const GLogField *fields, gsize count,
				  gpointer opaque)
{
	struct log_filter *filter = opaque;

	for (gsize i = 0; i < count && level <= filter->level; i++) {
		const char *message = fields[i].value;
		g_autofree char *redacted = NULL;

		if (!g_str_equal(fields[i].key, "MESSAGE") || was_just_printed(filter, message))
			continue;
		redacted = rpc_log_redact(message);
		(void)fprintf(stderr, "novasnap: %s\n", redacted ? redacted : message);
	}
	return G_LOG_WRITER_HANDLED;
}

static char *list_commands(void)
{
	GString *text = g_string_new("Commands:\n");

	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
		g_string_append_printf(text, "  %-8s  %s\n", commands[i].name, commands[i].summary);
	g_string_append(text, "\n`novasnap COMMAND --help` describes a command.");
	return g_string_free(text, FALSE);
}

static const char description[] =
	"With --json a command prints JSON objects, each on one line; errors stay text, on "
	"standard "
	"error.\n\nExit status:\n" COMMAND_EXIT_ALL "\nExample:\n  novasnap jobs --open";

static int run_command(const struct command_context *context, int argc, char **argv)
{
	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
		if (g_str_equal(commands[i].name, argv[0]))
			return commands[i].run(context, argc, argv);
	}
	(void)fprintf(stderr, "novasnap: there is no command \"%s\"; see novasnap --help\n",
		      argv[0]);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
	gboolean version = FALSE, help = FALSE;
	const GOptionEntry entries[] = {
		{"help", 'h', 0, G_OPTION_ARG_NONE, &help, "Print this help", NULL},
		{"version", 'V', 0, G_OPTION_ARG_NONE, &version, "Print the version", NULL},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(GOptionContext) options = g_option_context_new("COMMAND [ARGUMENTS]");
	g_autofree char *summary = list_commands();
	g_autoptr(GError) error = NULL;
	struct log_filter *filter = log_filter_new();
	struct command_context context = {.log_level = &filter->level};

	process_keep_secrets();
	g_log_set_writer_func(write_log, filter, NULL);
	/* Options after the command belong to the command. */
	g_option_context_set_strict_posix(options, TRUE);
	g_option_context_set_help_enabled(options, FALSE);
	g_option_context_set_summary(options, summary);
	g_option_context_set_description(options, description);
	config_files_add_options(options, paths);
	g_option_context_add_main_entries(options, entries, NULL);
	if (!g_option_context_parse(options, &argc, &argv, &error)) {
		(void)fprintf(stderr, "novasnap: %s; see novasnap --help\n", error->message);
		return EXIT_USAGE;
	}
	if (version) {
		printf("novasnap %s\n", NOVASNAP_VERSION);
		return EXIT_SUCCESS;
	}
	if (help || argc < 2) {
		command_print_help(options, help ? stdout : stderr);
		return help ? EXIT_SUCCESS : EXIT_USAGE;
	}
	g_ptr_array_add(paths, NULL);
	context.files = (const char *const *)paths->pdata;
	return run_command(&context, argc - 1, argv + 1);
}
