/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A message of the log as a line of text.
 */
#ifndef NOVASNAP_AGENT_LOG_LINE_H
#define NOVASNAP_AGENT_LOG_LINE_H

#include <glib.h>

#include "agent/task/log-context.h"

struct log_message {
	GLogLevelFlags level;
	const char *domain;	 /* the room: "agent" */
	const char *text;	 /* without secrets */
	const struct task *task; /* that it belongs to; NULL: none */
};

/* The level in lines, as Python's logging names it: "INFO". */
const char *log_level_name(GLogLevelFlags level);

/* "2026-11-27 16:17:42.086 INFO agent: TEXT", with its line end. The caller frees it. */
char *log_line_plain(const struct log_message *message);
/* The same as oslo.log writes it by its defaults of logging_context_format_string and
 * logging_default_format_string: "... 4711 INFO novasnap.agent [None req-... USER PROJECT - -
 * default default] [instance: UUID] TEXT". */
char *log_line_nova(const struct log_message *message);

#endif
