/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap decode: a message made readable. Takes a body (envelope or bare), or a file with one
 * JSON a line whose member `body` is one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/command/command.h"
#include "rpc/rpc.h"

#define INPUT_MAX ((size_t)256 * 1024 * 1024)

static char *read_input(const char *path, size_t *ret_length, GError **error)
{
	g_autoptr(GString) text = g_string_new(NULL);
	char buffer[65536];
	char *content;
	size_t got;

	if (!g_str_equal(path, "-"))
		return g_file_get_contents(path, &content, ret_length, error) ? content : NULL;
	while ((got = fread(buffer, 1, sizeof(buffer), stdin)) > 0 && text->len < INPUT_MAX)
		g_string_append_len(text, buffer, (gssize)got);
	*ret_length = text->len;
	return g_strndup(text->str, text->len);
}

static int show(const char *body, size_t length, GError **error)
{
	cJSON *message = rpc_body_decode(body, length, error);
	const cJSON *wrapped = cJSON_GetObjectItemCaseSensitive(message, "body");
	char *text;
	int rc = 0;

	if (!message)
		return -1;
	if (cJSON_IsString(wrapped)) {
		rc = show(wrapped->valuestring, strlen(wrapped->valuestring), error);
	} else {
		rpc_body_redact(message);
		text = cJSON_Print(message);
		puts(text);
		cJSON_free(text);
	}
	cJSON_Delete(message);
	return rc;
}

/* The whole as one message; where it is none, each of its lines. */
static int show_all(const char *text, size_t length, GError **error)
{
	g_autoptr(GError) whole = NULL;
	g_auto(GStrv) lines = NULL;
	unsigned shown = 0;

	if (show(text, length, &whole) == 0)
		return 0;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line && lines[1]; line++) {
		g_autoptr(GError) local = NULL;

		if (!*g_strstrip(*line))
			continue;
		if (show(*line, strlen(*line), &local) < 0) {
			if (shown == 0)
				break;
			g_propagate_prefixed_error(error, g_steal_pointer(&local),
						   "line %u: ", (unsigned)(line - lines) + 1);
			return -1;
		}
		shown++;
	}
	if (shown > 0)
		return 0;
	g_propagate_error(error, g_steal_pointer(&whole));
	return -1;
}

int command_decode(const struct command_context *context, int argc, char **argv)
{
	const GOptionEntry entries[] = {G_OPTION_ENTRY_NULL};
	g_autoptr(GError) error = NULL;
	g_autofree char *text = NULL;
	size_t length;

	(void)context;
	if (command_parse(&argc, &argv, entries, "FILE|-",
			  "Makes a message readable, its tokens and passwords hidden.") < 0)
		return EXIT_USAGE;
	if (argc != 2) {
		(void)fprintf(stderr, "novasnap decode: name one file, or - for standard input\n");
		return EXIT_USAGE;
	}
	text = read_input(argv[1], &length, &error);
	if (!text || show_all(text, length, &error) < 0)
		return command_fail("decode", error);
	return EXIT_SUCCESS;
}
