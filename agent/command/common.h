/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all commands of novasnap need: options and help, the configuration, errors, and the broker.
 */
#ifndef NOVASNAP_AGENT_COMMAND_COMMON_H
#define NOVASNAP_AGENT_COMMAND_COMMON_H

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>

#include "agent/command/command.h"
#include "agent/config/config.h"
#include "rpc/rpc.h"

/* The description of --config-file. */
#define COMMAND_CONFIG_FILE_HELP                                                                   \
	"Read this configuration; given again, the later file overrides the earlier (default: "    \
	"/etc/nova/nova.conf and /etc/novasnap/novasnap.conf)"

/* Lines of command_help.exit_status. */
#define COMMAND_EXIT_USAGE "  2    wrong option or argument, or wrong configuration\n"
#define COMMAND_EXIT_SIGNAL "  130  Ctrl-C"

/* What --help says of a command, beside its options. */
struct command_help {
	const char *arguments;	 /* of the usage line; NULL: none */
	const char *summary;	 /* what the command does, and what each argument is */
	const char *exit_status; /* a line for each */
	const char *example;
};

/* Parses the options of argv, which are removed. Returns true where the command is to go on. Else
 * it has printed the help or what is wrong, and *ret_status is the exit status. */
bool command_parse(int *argc, char ***argv, const GOptionEntry *entries,
		   const struct command_help *help, int *ret_status);

/* Prints the help of a program or command. */
void command_print_help(GOptionContext *options, FILE *out);

/* Prints what is wrong with the arguments, in one line. Returns EXIT_USAGE. */
int command_fail_usage(const char *command, const char *problem);

/* Prints an error in one line. Returns EXIT_FAILURE. */
int command_fail(const char *command, const GError *error);

/* Loads the configuration; the caller frees it by config_free. NULL after it has printed the
 * error. */
struct config *command_config(const struct command_context *context, const char *command);

/* Waits up to 30 seconds until the broker has accepted the login. Returns 0, or -1 with
 * RPC_ERROR_DISCONNECTED. */
int command_wait_ready(struct rpc *rpc, GError **error);

/* Reads a file of at most 256 MiB; the path - is standard input. Returns its content, with a NUL
 * behind it, which the caller frees; NULL with a G_FILE_ERROR that names the file. */
char *command_read_file(const char *path, size_t *ret_length, GError **error);

#endif
