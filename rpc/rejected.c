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

/* Removes the oldest files until `wanted` bytes fit. File names begin with a time, so sorting by
 * name sorts by age. */
static void remove_oldest(const struct rpc_config *config, uint64_t wanted)
{
	g_autoptr(GDir) dir = g_dir_open(config->rejected_dir, 0, NULL);
	g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
	uint64_t total = wanted;
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		if (g_str_has_suffix(name, REJECTED_SUFFIX)) {
			char *path = g_build_filename(config->rejected_dir, name, NULL);
			struct stat st;

			total += stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
			g_ptr_array_add(paths, path);
		}
	}
	g_ptr_array_sort(paths, compare_names);
	for (guint i = 0; i < paths->len; i++) {
		const char *path = g_ptr_array_index(paths, i);
		struct stat st;

		if (paths->len - i < config->rejected_max_files &&
		    total <= config->rejected_max_bytes)
			return;
		if (stat(path, &st) == 0 && g_unlink(path) == 0)
			total -= (uint64_t)st.st_size;
	}
}

static int write_new_file(const char *path, const char *content, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ssize_t written;

	if (fd < 0)
		return -1;
	written = write(fd, content, length);
	if (close(fd) == 0 && written == (ssize_t)length)
		return 0;
	if (written >= 0)
		errno = ENOSPC;
	(void)g_unlink(path);
	return -1;
}

void rejected_keep(const struct rpc_config *config, const char *body, size_t length,
		   const char *reason)
{
	g_autofree char *text = NULL;
	g_autofree char *first_line = NULL;
	g_autofree char *content = NULL;
	g_autofree char *name = NULL;
	g_autofree char *path = NULL;
	g_autofree char *id = NULL;
	size_t size;

	if (!config->rejected_dir || config->rejected_max_files == 0)
		return;
	text = redact_body(body, length);
	first_line = g_strdelimit(g_strdup(reason), "\r\n", ' ');
	content = g_strdup_printf("# %s%s\n%s\n", first_line,
				  length > RPC_MAX_KEPT_BYTES ? " (truncated)" : "", text);
	size = strlen(content);
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
	if (write_new_file(path, content, size) < 0)
		g_warning("cannot keep a rejected message: cannot write %s: %s", path,
			  g_strerror(errno));
	else
		g_message("keeping the rejected message as %s", path);
}
