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

#include "agent/daemon/log-journal.h"
#include "agent/daemon/log-line.h"
#include "rpc/rpc.h"

#define LINE_MAX_BYTES 8192

/* The writer runs in any thread, so the file descriptor keeps its number: log_reopen makes it refer
 * to another file. */
static struct {
	int fd;
	atomic_bool debug;
	bool journal;
	bool nova;  /* lines are nova's */
	char *path; /* NULL: no file */
} sink;

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

static GLogWriterOutput write_line(const struct log_message *message)
{
	g_autofree char *line = sink.nova ? log_line_nova(message) : log_line_plain(message);

	return write(sink.fd, line, strlen(line)) >= 0 ? G_LOG_WRITER_HANDLED
						       : G_LOG_WRITER_UNHANDLED;
}

static GLogWriterOutput write_message(GLogLevelFlags level, const GLogField *fields, gsize count,
				      gpointer opaque)
{
	/* The last place that a secret passes. */
	g_autofree char *redacted = NULL;
	g_autofree char *text = NULL;
	struct log_message message = {.level = level,
				      .domain = field_text(fields, count, "GLIB_DOMAIN")};

	(void)opaque;
	if ((level & (G_LOG_LEVEL_DEBUG | G_LOG_LEVEL_INFO)) && !atomic_load(&sink.debug))
		return G_LOG_WRITER_HANDLED;
	message.text = field_text(fields, count, "MESSAGE");
	redacted = rpc_log_redact(message.text);
	if (redacted)
		message.text = redacted;
	message.task = log_context_task();
	if (sink.journal && log_journal_write(&message))
		return G_LOG_WRITER_HANDLED;
	/* One line for each event: text from other programs may be long and consist of several
	 * lines. */
	text = truncate_text(message.text);
	message.text = text;
	return write_line(&message);
}

static int open_file(const char *path, GError **error)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);

	if (fd < 0)
		g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
			    "cannot open [DEFAULT]log_file %s: %s", path, g_strerror(errno));
	return fd;
}

int log_open(const struct config *config, GError **error)
{
	bool must_be_journal = g_str_equal(config->log_format, "journal");

	sink.fd = STDERR_FILENO;
	sink.nova = g_str_equal(config->log_format, "nova");
	log_set_debug(config->debug);
	if (must_be_journal) {
		if (!log_journal_check(error))
			return -1;
		sink.journal = true;
	} else if (config->log_file) {
		sink.fd = open_file(config->log_file, error);
		if (sink.fd < 0)
			return -1;
		sink.path = g_strdup(config->log_file);
	} else {
		sink.journal = !sink.nova && log_journal_is_at(STDERR_FILENO);
	}
	g_log_set_writer_func(write_message, NULL, NULL);
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
