/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Common code of novasnap's commands.
 */
#include "agent/command/common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "rpc/rpc.h"

#define CONNECT_S 30
#define INPUT_MAX ((size_t)256 * 1024 * 1024)

void command_print_help(GOptionContext *options, FILE *out)
{
	g_autofree char *help = g_option_context_get_help(options, TRUE, NULL);
	g_autoptr(GString) text = g_string_new(help);

	/* GLib's ellipsis is not ASCII, and a single group of options needs no name. */
	g_string_replace(text, "[OPTION\u2026]", "[OPTION]...", 0);
	g_string_replace(text, "Application Options:", "Options:", 0);
	(void)fputs(text->str, out);
}

bool command_parse(int *argc, char ***argv, const GOptionEntry *entries,
		   const struct command_help *help, int *ret_status)
{
	gboolean wanted = FALSE;
	const GOptionEntry help_entries[] = {
		{"help", 'h', 0, G_OPTION_ARG_NONE, &wanted, "Print this help", NULL},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(GOptionContext) options = g_option_context_new(help->arguments);
	g_autofree char *program = g_strdup_printf("novasnap %s", (*argv)[0]);
	g_autofree char *description =
		g_strdup_printf("Exit status:\n%s\nExample:\n  %s\n\nGlobal options of novasnap, "
				"such as --config-file FILE, must precede the command.",
				help->exit_status, help->example);
	g_autoptr(GError) error = NULL;

	g_set_prgname(program);
	g_option_context_set_help_enabled(options, FALSE);
	g_option_context_set_summary(options, help->summary);
	g_option_context_set_description(options, description);
	g_option_context_add_main_entries(options, entries, NULL);
	g_option_context_add_main_entries(options, help_entries, NULL);
	if (!g_option_context_parse(options, argc, argv, &error)) {
		*ret_status = command_fail_usage((*argv)[0], error->message);
		return false;
	}
	if (wanted) {
		command_print_help(options, stdout);
		*ret_status = EXIT_SUCCESS;
	}
	return !wanted;
}

bool command_parse_options(int *argc, char ***argv, const GOptionEntry *entries,
			   const struct command_help *help, int *ret_status)
{
	if (!command_parse(argc, argv, entries, help, ret_status))
		return false;
	if (*argc == 1)
		return true;
	*ret_status = command_fail_usage((*argv)[0], "it takes no arguments, only options");
	return false;
}

int command_fail_usage(const char *command, const char *problem)
{
	(void)fprintf(stderr, "novasnap %s: %s; see novasnap %s --help\n", command, problem,
		      command);
	return EXIT_USAGE;
}

int command_fail(const char *command, const GError *error)
{
	g_autofree char *redacted = rpc_log_redact(error->message);

	(void)fprintf(stderr, "novasnap %s: %s\n", command, redacted ? redacted : error->message);
	return EXIT_FAILURE;
}

void command_print_json(cJSON *object)
{
	char *text = cJSON_PrintUnformatted(object);

	puts(text ? text : "{}");
	(void)fflush(stdout);
	cJSON_free(text);
	cJSON_Delete(object);
}

struct config *command_config(const struct command_context *context, const char *command)
{
	g_autoptr(GError) error = NULL;
	struct config *config = config_load(context->files, &error);

	if (!config) {
		(void)command_fail(command, error);
		return NULL;
	}
	/* A command sends no notifications. */
	config->rpc.notifications = NULL;
	return config;
}

int command_wait_ready(struct rpc *rpc, GError **error)
{
	g_autofree char *problem = NULL;

	if (rpc_wait_ready(rpc, CONNECT_S))
		return 0;
	problem = rpc_last_connect_error(rpc);
	g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
		    "could not log in to RabbitMQ within %d s: %s (see [DEFAULT]transport_url)",
		    CONNECT_S, problem ? problem : "no reply");
	return -1;
}

/* NULL with an error. */
static FILE *open_input(const char *path, GError **error)
{
	FILE *file = g_str_equal(path, "-") ? stdin : fopen(path, "re");

	if (!file)
		g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(errno),
			    "cannot open %s: %s", path, g_strerror(errno));
	return file;
}

char *command_read_file(const char *path, size_t *ret_length, GError **error)
{
	g_autoptr(GString) text = g_string_new(NULL);
	FILE *file = open_input(path, error);
	char buffer[65536];
	size_t got;
	int problem;

	if (!file)
		return NULL;
	while ((got = fread(buffer, 1, sizeof(buffer), file)) > 0 && text->len <= INPUT_MAX)
		g_string_append_len(text, buffer, (gssize)got);
	problem = ferror(file) ? errno : 0;
	if (file != stdin)
		(void)fclose(file);
	if (problem != 0 || text->len > INPUT_MAX) {
		g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(problem),
			    "cannot read %s: %s", path,
			    problem != 0 ? g_strerror(problem) : "it has more than 256 MiB");
		return NULL;
	}
	*ret_length = text->len;
	return g_string_free(g_steal_pointer(&text), FALSE);
}
