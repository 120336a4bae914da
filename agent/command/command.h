/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commands of novasnap, the program for operators. Each command is in the file of its name.
 */
#ifndef NOVASNAP_AGENT_COMMAND_H
#define NOVASNAP_AGENT_COMMAND_H

#include <glib.h>

/* The exit status for a wrong option or argument, and for an invalid configuration. */
#define EXIT_USAGE 2
/* A signal, such as that of Ctrl-C, has ended the command. */
#define EXIT_SIGNAL 130

/* The global options, given before the command. */
struct command_context {
	const char *const *files; /* of --config-file and --config-dir, for config_load */
	/* Log messages of this level and more severe ones are printed on standard error. */
	GLogLevelFlags *log_level;
};

/* Each parses its own arguments (argv[0] is its name), and returns the exit status. */
int command_beside(const struct command_context *context, int argc, char **argv);
int command_cancel(const struct command_context *context, int argc, char **argv);
int command_check(const struct command_context *context, int argc, char **argv);
int command_decode(const struct command_context *context, int argc, char **argv);
int command_jobs(const struct command_context *context, int argc, char **argv);
int command_record(const struct command_context *context, int argc, char **argv);
int command_replay(const struct command_context *context, int argc, char **argv);
int command_send(const struct command_context *context, int argc, char **argv);
int command_show(const struct command_context *context, int argc, char **argv);
int command_snapshot(const struct command_context *context, int argc, char **argv);
int command_top(const struct command_context *context, int argc, char **argv);
int command_watch(const struct command_context *context, int argc, char **argv);

#endif
