/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap: the operators' command.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/command/command.h"
#include "agent/daemon/process.h"

#define CONNECT_S 30

static const struct {
	const char *name;
	int (*run)(const struct command_context *context, int argc, char **argv);
	const char *summary;
} commands[] = {
	{"send", command_send, "publish a cast, as nova-api does"},
	{"watch", command_watch, "show how far the snapshots are"},
	{"jobs", command_jobs, "list what novasnapd took"},
	{"show", command_show, "tell all that is known of a job"},
	{"cancel", command_cancel, "end a snapshot that is under way"},
	{"record", command_record, "keep copies of what reaches this host"},
	{"replay", command_replay, "serve a recorded message again"},
	{"snapshot", command_snapshot, "take a snapshot of a guest, without any cloud"},
	{"check", command_check, "look at all that novasnapd needs"},
	{"decode", command_decode, "make a message readable, its secrets hidden"},
};

static void usage(FILE *out)
{
	(void)fprintf(out, "Usage: novasnap [--config-file FILE]... COMMAND [ARGUMENTS]\n\n");
	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
		(void)fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
	(void)fprintf(out, "\nnovasnap COMMAND --help tells more.\n");
}

int command_parse(int *argc, char ***argv, const GOptionEntry *entries, const char *parameters,
		  const char *summary)
{
	g_autoptr(GOptionContext) options = g_option_context_new(parameters);
	g_autoptr(GError) error = NULL;
	g_autofree char *program = g_strdup_printf("novasnap %s", (*argv)[0]);

	g_set_prgname(program);
	g_option_context_set_summary(options, summary);
	g_option_context_add_main_entries(options, entries, NULL);
	if (g_option_context_parse(options, argc, argv, &error))
		return 0;
	(void)fprintf(stderr, "%s: %s; see --help\n", program, error->message);
	return -1;
}

int command_fail(const char *command, const GError *error)
{
	(void)fprintf(stderr, "novasnap %s: %s\n", command, error->message);
	return EXIT_FAILURE;
}

int command_wait_ready(struct rpc *rpc, GError **error)
{
	if (rpc_wait_ready(rpc, CONNECT_S))
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "RabbitMQ did not answer in %d s",
		    CONNECT_S);
	return -1;
}

struct config *command_config(const struct command_context *context, const char *command)
{
	g_autoptr(GError) error = NULL;
	struct config *config = config_load(context->files, &error);

	if (!config)
		(void)command_fail(command, error);
	return config;
}

/* The operator reads standard error: warnings alone, without their times. */
static GLogWriterOutput write_plain(GLogLevelFlags level, const GLogField *fields, gsize count,
				    gpointer opaque)
{
	const GLogLevelFlags *told = opaque;

	for (gsize i = 0; i < count && level <= *told; i++) {
		if (g_str_equal(fields[i].key, "MESSAGE"))
			(void)fprintf(stderr, "novasnap: %s\n", (const char *)fields[i].value);
	}
	return G_LOG_WRITER_HANDLED;
}

int main(int argc, char **argv)
{
	g_autoptr(GPtrArray) files = g_ptr_array_new();
	GLogLevelFlags told = G_LOG_LEVEL_WARNING;
	struct command_context context = {.told = &told};
	int at = 1;

	process_keep_secrets();
	g_log_set_writer_func(write_plain, &told, NULL);
	while (at < argc && argv[at][0] == '-') {
		const char *name = "--config-file";

		if (g_str_has_prefix(argv[at], "--config-file=")) {
			g_ptr_array_add(files, argv[at] + strlen("--config-file="));
			at++;
		} else if ((g_str_equal(argv[at], name) || g_str_equal(argv[at], "-c")) &&
			   at + 1 < argc) {
			g_ptr_array_add(files, argv[at + 1]);
			at += 2;
		} else if (g_str_equal(argv[at], "--version")) {
			printf("novasnap %s\n", NOVASNAP_VERSION);
			return EXIT_SUCCESS;
		} else {
			bool help = g_str_equal(argv[at], "--help") || g_str_equal(argv[at], "-h");

			usage(help ? stdout : stderr);
			return help ? EXIT_SUCCESS : EXIT_USAGE;
		}
	}
	if (files->len > 0) {
		g_ptr_array_add(files, NULL);
		context.files = (const char *const *)files->pdata;
	}
	for (size_t i = 0; at < argc && i < G_N_ELEMENTS(commands); i++) {
		if (g_str_equal(commands[i].name, argv[at]))
			return commands[i].run(&context, argc - at, argv + at);
	}
	if (at < argc)
		(void)fprintf(stderr, "novasnap: there is no command \"%s\"\n\n", argv[at]);
	usage(stderr);
	return EXIT_USAGE;
}
