/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The writer for GLib's structured log.
 */
#include "agent/daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "rpc/rpc.h"

#define LINE_MAX_BYTES 8192

/* The writer runs in any thread, so the file descriptor keeps its number: log_reopen makes it refer
 * to another file. */
static struct {
	int fd;
	atomic_bool debug;
	bool journal;
	char *path; /* NULL: no file */
} sink;

static const char *level_name(GLogLevelFlags level)
{
	if (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
		return "ERROR";
	if (level & G_LOG_LEVEL_WARNING)
		return "WARNING";
	if (level & G_LOG_LEVEL_MESSAGE)
		return "INFO";
	return "DEBUG";
}

static const char *field_text(const GLogField *fields, gsize count, const char *name)
{
	for (gsize i = 0; i < count; i++) {
		if (g_str_equal(fields[i].key, name) && fields[i].length < 0)
			return fields[i].value;
	}
	return "";
}

/* At most LINE_MAX_BYTES, without splitting a character. The caller frees it. */
static char *truncate_text(const char *text)
{
	const char *end = text + strnlen(text, LINE_MAX_BYTES);

	while (*end && (*end & 0xc0) == 0x80)
		end--;
	return g_strndup(text, (gsize)(end - text));
}

/* The last place that a secret passes. Returns the message without its secrets; NULL if it has
 * none. The caller frees it. */
static char *redact_message(const GLogField *fields, gsize count)
{
	return rpc_log_redact(field_text(fields, count, "MESSAGE"));
}

static GLogWriterOutput write_to_journald(GLogLevelFlags level, const GLogField *fields,
					  gsize count, const char *redacted)
{
	g_autofree GLogField *copy = NULL;

	if (!redacted)
		return g_log_writer_journald(level, fields, count, NULL);
	copy = g_memdup2(fields, count * sizeof(*fields));
	for (gsize i = 0; i < count; i++) {
		if (g_str_equal(copy[i].key, "MESSAGE"))
			copy[i] = (GLogField){"MESSAGE", redacted, -1};
	}
	return g_log_writer_journald(level, copy, count, NULL);
}

static GLogWriterOutput write_line(GLogLevelFlags level, const GLogField *fields, gsize count,
				   gpointer opaque)
{
	g_autoptr(GDateTime) now = NULL;
	g_autofree char *time = NULL;
	g_autofree char *line = NULL;
	g_autofree char *redacted = NULL;
	g_autofree char *text = NULL;

	(void)opaque;
	if ((level & (G_LOG_LEVEL_DEBUG | G_LOG_LEVEL_INFO)) && !atomic_load(&sink.debug))
		return G_LOG_WRITER_HANDLED;
	redacted = redact_message(fields, count);
	if (sink.journal)
		return write_to_journald(level, fields, count, redacted);
	now = g_date_time_new_now_local();
	time = g_date_time_format(now, "%Y-%m-%d %H:%M:%S");
	/* One line for each event: text from other programs may be long and consist of several
	 * lines. */
	text = truncate_text(redacted ? redacted : field_text(fields, count, "MESSAGE"));
	g_strdelimit(text, "\r\n", ' ');
	line = g_strdup_printf("%s.%03d %s %s: %s\n", time, g_date_time_get_microsecond(now) / 1000,
			       level_name(level), field_text(fields, count, "GLIB_DOMAIN"), text);
	return write(sink.fd, line, strlen(line)) >= 0 ? G_LOG_WRITER_HANDLED
						       : G_LOG_WRITER_UNHANDLED;
}

static int open_file(const char *path, GError **error)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);

	if (fd < 0)
		g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
			    "cannot open [DEFAULT]log_file %s: %s", path, g_strerror(errno));
	return fd;
}

int log_open(const char *path, bool debug, GError **error)
{
	sink.fd = STDERR_FILENO;
	log_set_debug(debug);
	if (path) {
		sink.fd = open_file(path, error);
		if (sink.fd < 0)
			return -1;
		sink.path = g_strdup(path);
	} else {
		sink.journal = g_log_writer_is_journald(STDERR_FILENO);
	}
	g_log_set_writer_func(write_line, NULL, NULL);
	return 0;
}

int log_reopen(GError **error)
{
	int fd, rc;

	if (!sink.path)
		return 0;
	fd = open_file(sink.path, error);
	if (fd < 0)
		return -1;
	rc = dup3(fd, sink.fd, O_CLOEXEC);
	if (rc < 0)
		g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
			    "cannot use the reopened [DEFAULT]log_file %s: %s", sink.path,
			    g_strerror(errno));
	(void)close(fd);
	return rc < 0 ? -1 : 0;
}

void log_set_debug(bool debug)
{
	atomic_store(&sink.debug, debug);
}
