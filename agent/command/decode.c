/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap decode: prints messages in a readable form.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/command/common.h"
#include "rpc/rpc.h"

static const struct command_help help = {
	.arguments = "FILE|-",
	.summary = "Prints the RPC messages in FILE (- means standard input) as indented JSON, "
		   "with tokens and\npasswords replaced. FILE is one message, with its envelope or "
		   "without, a recording from\nnovasnap record, or a rejected message with its "
		   "reason.",
	.exit_status =
		"  0    all messages were printed\n"
		"  1    the file cannot be read, or contains something that is not a message\n"
		"  2    wrong option or argument\n",
	.example = "novasnap decode /var/lib/novasnap/rejected/FILE",
};

/* Deletes the message. */
static void print_message_json(cJSON *message, const char *reason)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddItemToObject(object, "message", message);
	if (reason)
		cJSON_AddStringToObject(object, "reason", reason);
	else
		cJSON_AddNullToObject(object, "reason");
	command_print_json(object);
}

/* A recorded line contains the message as text in its member `body`. */
static int print_message(const char *body, size_t length, const char *reason, bool json,
			 GError **error)
{
	cJSON *message = rpc_body_decode(body, length, error);
	const cJSON *recorded = cJSON_GetObjectItemCaseSensitive(message, "body");
	char *text;
	int rc = 0;

	if (!message)
		return -1;
	if (cJSON_IsString(recorded)) {
		rc = print_message(recorded->valuestring, strlen(recorded->valuestring), reason,
				   json, error);
	} else if (json) {
		rpc_body_redact(message);
		print_message_json(message, reason);
		return 0;
	} else {
		rpc_body_redact(message);
		text = cJSON_Print(message);
		puts(text);
		cJSON_free(text);
	}
	cJSON_Delete(message);
	return rc;
}

/* A rejected message is kept with its reason in the first line. Returns that line without its mark,
 * which the caller frees, and its length in the file; NULL: there is none. */
static char *read_reason(const char *text, size_t length, size_t *ret_skipped)
{
	const char *end = length > 0 && *text == '#' ? memchr(text, '\n', length) : NULL;

	*ret_skipped = end ? (size_t)(end - text) + 1 : 0;
	return end ? g_strstrip(g_strndup(text + 1, *ret_skipped - 1)) : NULL;
}

/* Prints the text as one message, or else each of its lines as a message. */
static int print_messages(const char *text, size_t length, const char *reason, bool json,
			  GError **error)
{
	g_autoptr(GError) whole = NULL;
	g_auto(GStrv) lines = NULL;
	unsigned printed = 0;

	if (length == 0) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE, "it is empty");
		return -1;
	}
	if (print_message(text, length, reason, json, &whole) == 0)
		return 0;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line && lines[1]; line++) {
		g_autoptr(GError) local = NULL;

		if (!*g_strstrip(*line))
			continue;
		if (print_message(*line, strlen(*line), reason, json, &local) < 0) {
			if (printed == 0)
				break;
			g_propagate_prefixed_error(error, g_steal_pointer(&local),
						   "line %u: ", (unsigned)(line - lines) + 1);
			return -1;
		}
		printed++;
	}
	if (printed > 0)
		return 0;
	g_propagate_error(error, g_steal_pointer(&whole));
	return -1;
}

int command_decode(const struct command_context *context, int argc, char **argv)
{
	gboolean json = FALSE;
	const GOptionEntry entries[] = {
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, COMMAND_JSON_LINES, NULL},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(GError) error = NULL;
	g_autofree char *text = NULL;
	g_autofree char *reason = NULL;
	size_t length, skipped = 0;
	int status;

	(void)context;
	if (!command_parse(&argc, &argv, entries, &help, &status))
		return status;
	if (argc != 2)
		return command_fail_usage("decode", "name one file, or - for standard input");
	text = command_read_file(argv[1], &length, &error);
	if (text)
		reason = read_reason(text, length, &skipped);
	if (reason && !json)
		printf("# %s\n", reason);
	if (text && print_messages(text + skipped, length - skipped, reason, json, &error) == 0)
		return EXIT_SUCCESS;
	/* Errors about the file already contain its name. */
	if (text)
		g_prefix_error(&error, "%s: ", argv[1]);
	return command_fail("decode", error);
}
