/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: whether novasnapd would find what it needs, and what to do where not. Nothing is
 * changed, and a novasnapd that runs is not disturbed.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/check/check.h"
#include "agent/command/command.h"

void check_say(struct check *check, enum check_result result, const char *what, const char *format,
	       ...)
{
	static const char *const words[] = {"ok", "warn", "FAIL"};
	g_autofree char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	text = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	/* What peers say may have more lines than one. */
	g_strdelimit(text, "\r\n", ' ');
	printf("%-4s  %s: %s\n", words[result], what, text);
	(void)fflush(stdout);
	check->failed += result == CHECK_FAIL;
	check->warned += result == CHECK_WARN;
}

static void check_configuration(struct check *check, const struct command_context *context)
{
	g_autofree char *user = virt_user_name(geteuid());
	g_autofree char *files = context->files ? g_strjoinv(", ", (char **)context->files)
						: g_strdup("the usual files");

	check_say(check, CHECK_OK, "configuration", "%s; host %s, looked at as the user %s", files,
		  check->config->rpc.host, user);
}

int command_check(const struct command_context *context, int argc, char **argv)
{
	const GOptionEntry entries[] = {G_OPTION_ENTRY_NULL};
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	struct check check = {0};

	if (command_parse(
		    &argc, &argv, entries, NULL,
		    "Looks at all that novasnapd needs: run it as novasnapd's user. Ends with "
		    "0 where nothing failed, else with 1.") < 0)
		return EXIT_USAGE;
	if (argc != 1) {
		(void)fprintf(stderr, "novasnap check: it takes no arguments; see --help\n");
		return EXIT_USAGE;
	}
	config = config_load(context->files, &error);
	if (!config) {
		check_say(&check, CHECK_FAIL, "configuration", "%s", error->message);
		return EXIT_FAILURE;
	}
	/* The reasons are told as results: warnings on the way would tell them twice. */
	*context->told = G_LOG_LEVEL_CRITICAL;
	check.config = config;
	check_configuration(&check, context);
	check_programs(&check);
	check_libvirt(&check);
	check_folders(&check);
	check_rabbitmq(&check);
	check_keystone(&check);
	check_images(&check);
	virt_host_close(check.host);
	printf("%u failed, %u warnings\n", check.failed, check.warned);
	return check.failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
