/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commands of novasnap, the operators' program. Each takes its own arguments (argv[0] is its
 * name) and returns the process's exit status.
 */
#ifndef NOVASNAP_AGENT_COMMAND_H
#define NOVASNAP_AGENT_COMMAND_H

#include <glib.h>

#include "agent/config.h"
#include "rpc/rpc.h"

#define EXIT_USAGE 2

/* What `novasnap` was told before the command. */
struct command_context {
	const char *const *files; /* --config-file; NULL: the usual ones */
};

int command_send(const struct command_context *context, int argc, char **argv);
int command_watch(const struct command_context *context, int argc, char **argv);
int command_decode(const struct command_context *context, int argc, char **argv);

/* Parses a command's options. -1 after it said what is wrong. */
int command_parse(int *argc, char ***argv, const GOptionEntry *entries, const char *parameters,
		  const char *summary);
/* Says an error in one line. Returns EXIT_FAILURE. */
int command_fail(const char *command, const GError *error);
/* The configuration, or NULL after it said why not. */
struct config *command_config(const struct command_context *context, const char *command);

/* --- progress.c: the bars that watch and send --watch show -------------------------------------
 */

struct progress_view;
/* Listens on `rpc` at once; shows what concerns `image` or `instance` alone, where given. */
struct progress_view *progress_view_new(struct rpc *rpc, const char *image, const char *instance,
					GError **error);
/* Until the image is done (0) or failed (1), or `timeout_s` is over (1), or a signal came (130).
 * Without an image it goes on until the signal. */
int progress_view_run(struct progress_view *view, unsigned timeout_s);
void progress_view_free(struct progress_view *view);

#endif
