/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commands of novasnap, the operators' program. Each takes its own arguments (argv[0] is its
 * name) and returns the process's exit status.
 */
#ifndef NOVASNAP_AGENT_COMMAND_H
#define NOVASNAP_AGENT_COMMAND_H

#include <glib.h>

#include "agent/config/config.h"
#include "rpc/nova.h"
#include "rpc/rpc.h"

#define EXIT_USAGE 2

/* What `novasnap` was told before the command. */
struct command_context {
	const char *const *files; /* --config-file; NULL: the usual ones */
	GLogLevelFlags *told;	  /* what is so grave is written to standard error: warnings */
};

int command_send(const struct command_context *context, int argc, char **argv);
int command_watch(const struct command_context *context, int argc, char **argv);
int command_cancel(const struct command_context *context, int argc, char **argv);
int command_jobs(const struct command_context *context, int argc, char **argv);
int command_show(const struct command_context *context, int argc, char **argv);
int command_decode(const struct command_context *context, int argc, char **argv);
int command_record(const struct command_context *context, int argc, char **argv);
int command_replay(const struct command_context *context, int argc, char **argv);
int command_check(const struct command_context *context, int argc, char **argv);
int command_snapshot(const struct command_context *context, int argc, char **argv);

/* Parses a command's options. -1 after it said what is wrong. */
int command_parse(int *argc, char ***argv, const GOptionEntry *entries, const char *parameters,
		  const char *summary);
/* Says an error in one line. Returns EXIT_FAILURE. */
int command_fail(const char *command, const GError *error);
/* The configuration, or NULL after it said why not. */
struct config *command_config(const struct command_context *context, const char *command);

/* Waits for the broker as long as an operator would. -1 with RPC_ERROR_DISCONNECTED. */
int command_wait_ready(struct rpc *rpc, GError **error);

/* --- progress.c: the bars that watch and send --watch show -------------------------------------
 */

struct progress_view;
/* Listens on `rpc` at once, unless it is NULL; shows what concerns `image` or `instance` alone,
 * where given. */
struct progress_view *progress_view_new(struct rpc *rpc, const char *image, const char *instance,
					GError **error);
/* Until the image is done (0) or failed (1), or `timeout_s` is over (1), or a signal came (130).
 * Without an image it goes on until the signal. */
int progress_view_run(struct progress_view *view, unsigned timeout_s);
void progress_view_free(struct progress_view *view);
/* Takes a progress that comes by no broker; `opaque` is the view. Any thread. */
void progress_view_take(const struct nova_progress *progress, void *opaque);

/* --- cast.c: casts in files, and casts of our own ----------------------------------------------
 */

/* The message in a file, in its envelope or bare; of a recording with one JSON a line the first
 * that asks for a method that novasnapd serves. NULL with an error. */
cJSON *cast_read(const char *path, GError **error);
/* All of a recording's. An array that the caller deletes. */
cJSON *cast_read_all(const char *path, GError **error);
/* The least of a snapshot_instance that is needed, for a guest of this host that no nova knows. */
cJSON *cast_for_domain(const struct config *config, const char *name, GError **error);
/* Puts another guest and image in, where given, and an id of its own, for agents drop what they
 * have seen before. -1 with RPC_ERROR_DECODE when it is about no instance. */
int cast_point(cJSON *cast, const char *instance, const char *image, GError **error);
/* The image's record, made as nova-api makes it; the caller frees its id. */
char *cast_create_image(const struct config *config, const cJSON *cast, const char *name,
			GError **error);

/* --- local.c: a cast served here, by no broker and no conductor --------------------------------
 */

/* Serves it, with a bar, until it is done (0), or failed, or was interrupted. The message is taken.
 * -1 with an error where it could not begin. */
int local_serve(const struct config *config, cJSON *cast, GError **error);

#endif
