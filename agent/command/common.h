/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Common code of novasnap's commands: options and help, the configuration, errors, and the broker.
 */
#ifndef NOVASNAP_AGENT_COMMAND_COMMON_H
#define NOVASNAP_AGENT_COMMAND_COMMON_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>

#include "agent/command/command.h"
#include "agent/config/config.h"
#include "rpc/rpc.h"

/* Lines of command_help.exit_status. */
#define COMMAND_EXIT_USAGE "  2    wrong option or argument, or invalid configuration\n"
#define COMMAND_EXIT_SIGNAL "  130  Ctrl-C"
/* The same numbers in all commands; each command says what its own mean. */
#define COMMAND_EXIT_ALL                                                                           \
	"  0    the command did what it was asked to do\n"                                         \
	"  1    it failed, or what it waited for has failed\n" COMMAND_EXIT_USAGE                  \
	"  3    beside: novasnap is not enabled, or something that was not waited for is "         \
	"missing\n"                                                                                \
	"  130  a signal, such as that of Ctrl-C, ended it before that\n"

/* The texts of --json: of a command with one result, and of one that goes on. */
#define COMMAND_JSON "Print the result as a JSON object, on one line"
#define COMMAND_JSON_LINES "Print JSON objects, one on each line"

/* The text of --help, in addition to the options. */
struct command_help {
	const char *arguments;	 /* of the usage line; NULL: none */
	const char *summary;	 /* what the command does, and the meaning of its arguments */
	const char *exit_status; /* one line for each */
	const char *example;
};

/* Parses the options and removes them from argv. Returns true if the command should continue.
 * Otherwise it has printed the help or an error, and *ret_status is the exit status. */
bool command_parse(int *argc, char ***argv, const GOptionEntry *entries,
		   const struct command_help *help, int *ret_status);
/* The same for a command that takes no arguments: refuses them. */
bool command_parse_options(int *argc, char ***argv, const GOptionEntry *entries,
			   const struct command_help *help, int *ret_status);

/* Prints the help of a program or command. */
void command_print_help(GOptionContext *options, FILE *out);

/* Prints a problem with the arguments in one line. Returns EXIT_USAGE. */
int command_fail_usage(const char *command, const char *problem);

/* Prints an error in one line. Returns EXIT_FAILURE. */
int command_fail(const char *command, const GError *error);

/* Prints a JSON object on one line, and deletes it. */
void command_print_json(cJSON *object);

/* Loads the configuration; the caller frees it with config_free. NULL after printing the error. */
struct config *command_config(const struct command_context *context, const char *command);

/* Waits up to 30 seconds for the broker to accept the login. Returns 0, or -1 with
 * RPC_ERROR_DISCONNECTED. */
int command_wait_ready(struct rpc *rpc, GError **error);

/* Reads a file of at most 256 MiB; the path - means standard input. Returns its NUL-terminated
 * content, which the caller frees; NULL with a G_FILE_ERROR that names the file. */
char *command_read_file(const char *path, size_t *ret_length, GError **error);

#endif
