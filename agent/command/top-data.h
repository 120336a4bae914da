/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What `novasnap top` shows: answers from the status socket, and the rates that follow from them.
 */
#ifndef NOVASNAP_AGENT_COMMAND_TOP_DATA_H
#define NOVASNAP_AGENT_COMMAND_TOP_DATA_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdbool.h>

struct top_data;

/* `host` and `state_dir` are copied. */
struct top_data *top_data_new(const char *host, const char *state_dir);
/* Asks novasnapd in a thread, unless the last question is still open. `answered` is then called in
 * the thread that runs the default main context, after the answer or its lack was taken in. Returns
 * how many seconds the open question is old. */
double top_data_ask(struct top_data *data, void (*answered)(void *opaque), void *opaque);
/* Takes in an answer (ownership), or NULL with why there is none, as if it had come at that
 * monotonic time in us. */
void top_data_take(struct top_data *data, cJSON *answer, const char *problem, gint64 now);
/* The last answer, and what was added to it, as in conf/docs/commands.md. */
const cJSON *top_data_json(const struct top_data *data);
/* Whether an upload is under way whose rate is not known yet. */
bool top_data_lacks_rate(const struct top_data *data);
/* A thread that still waits for an answer frees it. Accepts NULL. */
void top_data_free(struct top_data *data);

#endif
