/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See log-journal.h.
 */
#include "agent/daemon/log-journal.h"

/* The place in this file would hide that of the message. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

/* libsystemd's own. A message to a journal that does not exist is lost without an error. */
#define JOURNAL_SOCKET "/run/systemd/journal/socket"

bool log_journal_is_at(int fd)
{
	const char *stream = g_getenv("JOURNAL_STREAM");
	g_autofree char *own = NULL;
	struct stat status;

	if (!stream || fstat(fd, &status) < 0 || access(JOURNAL_SOCKET, W_OK) < 0)
		return false;
	own = g_strdup_printf("%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
	return g_str_equal(stream, own);
}

bool log_journal_check(GError **error)
{
	if (access(JOURNAL_SOCKET, W_OK) == 0)
		return true;
	g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
		    "cannot log to systemd's journal at " JOURNAL_SOCKET
		    ": %s; set [novasnap]log_format = auto",
		    g_strerror(errno));
	return false;
}

/* syslog's priorities. */
static int priority(GLogLevelFlags level)
{
	if (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
		return 3;
	if (level & G_LOG_LEVEL_WARNING)
		return 4;
	return level & G_LOG_LEVEL_MESSAGE ? 6 : 7;
}

static void add_field(GPtrArray *fields, const char *name, const char *value)
{
	if (value && *value)
		g_ptr_array_add(fields, g_strdup_printf("%s=%s", name, value));
}

static void add_task(GPtrArray *fields, const struct task *task)
{
	add_field(fields, "REQUEST_ID", rpc_context_string(task->context, "request_id"));
	add_field(fields, "INSTANCE_UUID", nova_instance_uuid(task->instance));
	add_field(fields, "NOVASNAP_METHOD", task->method->name);
	add_field(fields, "NOVASNAP_IMAGE", task->image_id);
	add_field(fields, "NOVASNAP_STEP", task->step);
}

bool log_journal_write(const struct log_message *message)
{
	g_autoptr(GPtrArray) fields = g_ptr_array_new_with_free_func(g_free);
	g_autofree struct iovec *parts = NULL;

	add_field(fields, "MESSAGE", message->text);
	g_ptr_array_add(fields, g_strdup_printf("PRIORITY=%d", priority(message->level)));
	g_ptr_array_add(fields, g_strdup_printf("LOGGER_NAME=novasnap.%s", message->domain));
	add_field(fields, "LOGGER_LEVEL", log_level_name(message->level));
	add_field(fields, "SYSLOG_IDENTIFIER", "novasnapd");
	if (message->task)
		add_task(fields, message->task);
	parts = g_new(struct iovec, fields->len);
	for (guint i = 0; i < fields->len; i++) {
		char *field = g_ptr_array_index(fields, i);

		parts[i] = (struct iovec){field, strlen(field)};
	}
	return sd_journal_sendv(parts, (int)fields->len) == 0;
}
