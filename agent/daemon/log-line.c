/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See log-line.h.
 */
#include "agent/daemon/log-line.h"

#include <unistd.h>

const char *log_level_name(GLogLevelFlags level)
{
	if (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
		return "ERROR";
	if (level & G_LOG_LEVEL_WARNING)
		return "WARNING";
	if (level & G_LOG_LEVEL_MESSAGE)
		return "INFO";
	return "DEBUG";
}

static void append_time(GString *line)
{
	g_autoptr(GDateTime) now = g_date_time_new_now_local();
	g_autofree char *time = g_date_time_format(now, "%Y-%m-%d %H:%M:%S");

	g_string_append_printf(line, "%s.%03d", time, g_date_time_get_microsecond(now) / 1000);
}

/* Makes one line of it. */
static char *end_line(GString *line)
{
	char *text = g_string_free(line, FALSE);
	char *ended = g_strconcat(g_strdelimit(text, "\r\n", ' '), "\n", NULL);

	g_free(text);
	return ended;
}

char *log_line_plain(const struct log_message *message)
{
	GString *line = g_string_new(NULL);

	append_time(line);
	g_string_append_printf(line, " %s %s: %s", log_level_name(message->level), message->domain,
			       message->text);
	return end_line(line);
}

/* A field of the request's context. It is from outside, and may be long. */
static void append_field(GString *line, const struct task *task, const char *name,
			 const char *missing)
{
	const char *value = rpc_context_string(task->context, name);

	g_string_append_printf(line, "%.64s", value ? value : missing);
}

/* What oslo.log makes of nova's context; "None" is Python's. */
static void append_context(GString *line, const struct task *task)
{
	static const char *const identity[] = {"user_id",      "project_id",  "domain",
					       "system_scope", "user_domain", "project_domain"};

	append_field(line, task, "global_request_id", "None");
	g_string_append_c(line, ' ');
	append_field(line, task, "request_id", "None");
	for (size_t i = 0; i < G_N_ELEMENTS(identity); i++) {
		g_string_append_c(line, ' ');
		append_field(line, task, identity[i], "-");
	}
}

char *log_line_nova(const struct log_message *message)
{
	const struct task *task = message->task;
	GString *line = g_string_new(NULL);

	append_time(line);
	g_string_append_printf(line, " %d %s novasnap.%s [", getpid(),
			       log_level_name(message->level), message->domain);
	if (task)
		append_context(line, task);
	else
		g_string_append_c(line, '-');
	g_string_append(line, "] ");
	if (task)
		g_string_append_printf(line, "[instance: %s] ", nova_instance_uuid(task->instance));
	g_string_append(line, message->text);
	return end_line(line);
}
