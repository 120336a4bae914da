/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commands of novasnap, the operators' program. Each has a file of its own name.
 */
#ifndef NOVASNAP_AGENT_COMMAND_H
#define NOVASNAP_AGENT_COMMAND_H

#include <glib.h>

/* The exit status of a wrong option or argument, and of a wrong configuration. */
#define EXIT_USAGE 2

/* What the options before the command say. */
struct command_context {
	const char *const *files; /* of --config-file, NULL-terminated; NULL: the usual files */
	/* Log messages of this level and of graver ones are printed on standard error. */
	GLogLevelFlags *log_level;
};

/* Each takes its own arguments, of which argv[0] is its name, and returns the exit status. */
int command_cancel(const struct command_context *context, int argc, char **argv);
int command_check(const struct command_context *context, int argc, char **argv);
int command_decode(const struct command_context *context, int argc, char **argv);
int command_jobs(const struct command_context *context, int argc, char **argv);
int command_record(const struct command_context *context, int argc, char **argv);
int command_replay(const struct command_context *context, int argc, char **argv);
int command_send(const struct command_context *context, int argc, char **argv);
int command_show(const struct command_context *context, int argc, char **argv);
int command_snapshot(const struct command_context *context, int argc, char **argv);
int command_watch(const struct command_context *context, int argc, char **argv);

#endif
