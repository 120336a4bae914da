/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The text that `novasnap top` shows.
 */
#ifndef NOVASNAP_AGENT_COMMAND_TOP_VIEW_H
#define NOVASNAP_AGENT_COMMAND_TOP_VIEW_H

#include <cjson/cJSON.h>

#include "agent/command/terminal.h"

/* Returns the lines for what top_data_json has returned, each of at most terminal->columns, and at
 * most terminal->rows of them. `late`: for how many seconds novasnapd has not answered the next
 * question. The caller frees it. */
char *top_view_text(const struct terminal *terminal, const cJSON *json, double late);

#endif
