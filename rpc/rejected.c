/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keeps rejected messages in a bounded folder, with their secrets redacted.
 */
#include "rpc/rejected.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rpc/base.h"
#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/redact.h"

#define REJECTED_SUFFIX ".rejected"
/* Precedes the reason of an unreadable message. No other reason begins with it: a method of that
 * name is not served. */
#define UNREADABLE "unreadable: "

static char *redact_body(const char *body, size_t length)
{
	cJSON *message = length > RPC_MAX_KEPT_BYTES ? NULL : json_parse(body, length, NULL);
	char *printed, *text;

	if (!message)
		return rpc_text_redact(body, MIN(length, RPC_MAX_KEPT_BYTES));
	rpc_body_redact(message);
	printed = json_print(message);
	text = g_strdup(printed);
	cJSON_free(printed);
	cJSON_Delete(message);
	return text;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The paths of the kept files, the oldest first: their names begin with a time. */
static GPtrArray *list_kept(const char *folder)
{
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		if (g_str_has_suffix(name, REJECTED_SUFFIX))
			g_ptr_array_add(paths, g_build_filename(folder, name, NULL));
	}
	g_ptr_array_sort(paths, compare_names);
	return paths;
}

/* Removes the oldest files until `wanted` bytes fit. */
static void remove_oldest(const struct rpc_config *config, uint64_t wanted)
{
	g_autoptr(GPtrArray) paths = list_kept(config->rejected_dir);
	uint64_t total = wanted;
	struct stat st;

	for (guint i = 0; i < paths->len; i++)
		total += stat(g_ptr_array_index(paths, i), &st) == 0 ? (uint64_t)st.st_size : 0;
	for (guint i = 0; i < paths->len; i++) {
		const char *path = g_ptr_array_index(paths, i);

		if (paths->len - i < config->rejected_max_files &&
		    total <= config->rejected_max_bytes)
			return;
		if (stat(path, &st) == 0 && g_unlink(path) == 0)
			total -= (uint64_t)st.st_size;
	}
}

/* Writes a file that readers see only when it is whole. A partial file that a killed process left
 * has a hidden name, and is removed as one of the oldest. */
static int write_new_file(const char *folder, const char *name, const char *content, size_t length)
{
	g_autofree char *partial_name = g_strdup_printf(".%s", name);
	g_autofree char *partial = g_build_filename(folder, partial_name, NULL);
	g_autofree char *path = g_build_filename(folder, name, NULL);
	int fd = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int saved_errno;
	ssize_t written;

	if (fd < 0)
		return -1;
	written = write(fd, content, length);
	if (written >= 0 && written < (ssize_t)length)
		errno = ENOSPC;
	if (close(fd) == 0 && written == (ssize_t)length && rename(partial, path) == 0)
		return 0;
	saved_errno = errno;
	(void)g_unlink(partial);
	errno = saved_errno;
	return -1;
}

static void keep_text(const struct rpc_config *config, const char *text, bool truncated,
		      const char *reason)
{
	g_autofree char *redacted = rpc_log_redact(reason);
	g_autofree char *first_line =
		g_strdelimit(g_strdup(redacted ? redacted : reason), "\r\n", ' ');
	g_autofree char *content =
		g_strdup_printf("# %s%s\n%s\n", first_line, truncated ? " (truncated)" : "", text);
	g_autofree char *name = NULL;
	g_autofree char *path = NULL;
	g_autofree char *id = NULL;
	size_t size = strlen(content);

	if (size > config->rejected_max_bytes) {
		g_warning("cannot keep a rejected message: it has %zu bytes, and the folder may "
			  "contain at most %" G_GUINT64_FORMAT,
			  size, config->rejected_max_bytes);
		return;
	}
	if (g_mkdir_with_parents(config->rejected_dir, 0700) < 0) {
		g_warning("cannot keep a rejected message: cannot create the folder %s: %s",
			  config->rejected_dir, g_strerror(errno));
		return;
	}
	remove_oldest(config, size);
	id = rpc_hex_id();
	name = g_strdup_printf("%016" G_GINT64_FORMAT "-%.8s" REJECTED_SUFFIX, g_get_real_time(),
			       id);
	path = g_build_filename(config->rejected_dir, name, NULL);
	if (write_new_file(config->rejected_dir, name, content, size) < 0)
		g_warning("cannot keep a rejected message: cannot write %s: %s", path,
			  g_strerror(errno));
	else
		g_message("keeping the rejected message as %s", path);
}

void rejected_keep(const struct rpc_config *config, const char *text, size_t length,
		   const char *reason)
{
	g_autofree char *redacted = NULL;

	if (!config->rejected_dir || config->rejected_max_files == 0)
		return;
	redacted = redact_body(text, length);
	keep_text(config, redacted, length > RPC_MAX_KEPT_BYTES, reason);
}

static void add_property(cJSON *properties, const char *name, const char *value)
{
	if (value)
		cJSON_AddStringToObject(properties, name, value);
}

void rejected_keep_unreadable(const struct rpc_config *config, const struct delivery *delivery,
			      const char *reason)
{
	g_autofree char *full_reason = g_strconcat(UNREADABLE, reason, NULL);
	cJSON *properties;
	char *text;

	if (!config->rejected_dir || config->rejected_max_files == 0)
		return;
	properties = cJSON_CreateObject();
	add_property(properties, "content_type", delivery->content_type);
	add_property(properties, "content_encoding", delivery->content_encoding);
	add_property(properties, "compression", delivery->compression);
	cJSON_AddNumberToObject(properties, "bytes", (double)delivery->size);
	text = json_print(properties);
	keep_text(config, text, false, full_reason);
	cJSON_free(text);
	cJSON_Delete(properties);
}

/* Returns the reason in the first line of a kept file, and whether the message was unreadable. NULL
 * if there is none. The caller frees it. */
static char *read_reason(const char *path, bool *ret_unreadable)
{
	g_autofree char *content = NULL;
	const char *reason;

	*ret_unreadable = false;
	if (!g_file_get_contents(path, &content, NULL, NULL) || !g_str_has_prefix(content, "# "))
		return NULL;
	reason = content + strlen("# ");
	*ret_unreadable = g_str_has_prefix(reason, UNREADABLE);
	if (*ret_unreadable)
		reason += strlen(UNREADABLE);
	return g_strndup(reason, strcspn(reason, "\n"));
}

void rpc_rejected_summarize(const char *folder, struct rpc_rejected_summary *ret_summary)
{
	g_autoptr(GPtrArray) paths = list_kept(folder);

	*ret_summary = (struct rpc_rejected_summary){0};
	for (guint i = 0; i < paths->len; i++) {
		bool unreadable;
		char *reason = read_reason(g_ptr_array_index(paths, i), &unreadable);
		char **newest = unreadable ? &ret_summary->unreadable_reason
					   : &ret_summary->readable_reason;

		if (unreadable)
			ret_summary->unreadable++;
		else
			ret_summary->readable++;
		g_free(*newest);
		*newest = reason;
	}
}

void rpc_rejected_summary_clear(struct rpc_rejected_summary *summary)
{
	g_free(summary->readable_reason);
	g_free(summary->unreadable_reason);
	*summary = (struct rpc_rejected_summary){0};
}
