/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which configuration files are read.
 */
#include "agent/config/files.h"

#include <stdbool.h>
#include <string.h>

#include "agent/config/error.h"

#define OWN_FILE "/etc/novasnap/novasnap.conf"
#define OWN_FOLDER "/etc/novasnap/novasnap.conf.d/"

/* Reading the files of a configuration. */
struct files_reader {
	struct ini *ini;
	GPtrArray *files; /* the names of those that were read */
};

/* As os.path.expanduser, but without the home folders of other users. */
static char *expand_home(const char *path)
{
	if (path[0] == '~' && (path[1] == '/' || path[1] == '\0'))
		return g_strconcat(g_get_home_dir(), path + 1, NULL);
	return g_strdup(path);
}

static gboolean add_file(const char *option, const char *value, gpointer data, GError **error)
{
	GPtrArray *paths = data;

	(void)option;
	if (g_str_has_suffix(value, "/")) {
		g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
			    "%s is a folder: name it with --config-dir", value);
		return FALSE;
	}
	g_ptr_array_add(paths, expand_home(value));
	return TRUE;
}

static gboolean add_folder(const char *option, const char *value, gpointer data, GError **error)
{
	GPtrArray *paths = data;
	g_autofree char *path = expand_home(value);

	(void)option;
	(void)error;
	g_ptr_array_add(paths, g_strconcat(path, g_str_has_suffix(path, "/") ? "" : "/", NULL));
	return TRUE;
}

void config_files_add_options(GOptionContext *options, GPtrArray *paths)
{
	/* GLib wants pointers to functions as pointers to objects. */
	union {
		GOptionArgFunc function;
		gpointer pointer;
	} file = {add_file}, folder = {add_folder};
	const GOptionEntry entries[] = {
		{"config-file", 'c', G_OPTION_FLAG_FILENAME, G_OPTION_ARG_CALLBACK, file.pointer,
		 "Read this configuration; given again, the later file overrides the earlier "
		 "(default: nova.conf and nova-compute.conf, as nova-compute finds them, and "
		 "/etc/novasnap/novasnap.conf)",
		 "FILE"},
		{"config-dir", 0, G_OPTION_FLAG_FILENAME, G_OPTION_ARG_CALLBACK, folder.pointer,
		 "Read all files *.conf of this folder, in the order of their names (default: "
		 "nova.conf.d and nova-compute.conf.d beside them, and "
		 "/etc/novasnap/novasnap.conf.d)",
		 "FOLDER"},
		G_OPTION_ENTRY_NULL,
	};
	GOptionGroup *group = g_option_group_new(NULL, NULL, NULL, paths, NULL);

	g_option_group_add_entries(group, entries);
	g_option_context_set_main_group(options, group);
}

static int read_file(struct files_reader *reader, const char *path, GError **error)
{
	g_ptr_array_add(reader->files, g_strdup(path));
	return ini_read(reader->ini, path, error);
}

static int compare_names(gconstpointer a, gconstpointer b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int read_folder(struct files_reader *reader, const char *path, GError **error)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GError) problem = NULL;
	GDir *folder = g_dir_open(path, 0, &problem);
	const char *name;

	if (!folder) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE, "--config-dir: %s",
			    problem->message);
		return -1;
	}
	while ((name = g_dir_read_name(folder))) {
		if (name[0] != '.' && g_str_has_suffix(name, ".conf"))
			g_ptr_array_add(names, g_build_filename(path, name, NULL));
	}
	g_dir_close(folder);
	g_ptr_array_sort(names, compare_names);
	for (guint i = 0; i < names->len; i++) {
		if (read_file(reader, names->pdata[i], error) < 0)
			return -1;
	}
	return 0;
}

/* The folders that oslo.config searches for the project nova. */
static GPtrArray *nova_folders(void)
{
	static const char *const snaps[] = {"SNAP_COMMON", "SNAP"};
	GPtrArray *folders = g_ptr_array_new_with_free_func(g_free);

	g_ptr_array_add(folders, g_build_filename(g_get_home_dir(), ".nova", NULL));
	g_ptr_array_add(folders, g_strdup(g_get_home_dir()));
	g_ptr_array_add(folders, g_strdup("/etc/nova"));
	g_ptr_array_add(folders, g_strdup("/etc"));
	for (size_t i = 0; i < G_N_ELEMENTS(snaps); i++) {
		const char *snap = g_getenv(snaps[i]);

		if (snap && *snap)
			g_ptr_array_add(folders, g_build_filename(snap, "etc/nova", NULL));
	}
	return folders;
}

/* The path of the name in the first of nova's folders that has it; NULL: in none. */
static char *find_in_nova_folders(const char *name)
{
	g_autoptr(GPtrArray) folders = nova_folders();

	for (guint i = 0; i < folders->len; i++) {
		g_autofree char *path = g_build_filename(folders->pdata[i], name, NULL);

		if (g_file_test(path, G_FILE_TEST_EXISTS))
			return g_steal_pointer(&path);
	}
	return NULL;
}

static int read_nova_defaults(struct files_reader *reader, bool folders, GError **error)
{
	static const char *const names[][2] = {{"nova.conf", "nova.conf.d"},
					       {"nova-compute.conf", "nova-compute.conf.d"}};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *path = find_in_nova_folders(names[i][folders]);

		if (path && (folders ? read_folder : read_file)(reader, path, error) < 0)
			return -1;
	}
	return 0;
}

static bool has_folder(const char *const *paths, bool folder)
{
	for (; paths && *paths; paths++) {
		if (g_str_has_suffix(*paths, "/") == folder)
			return true;
	}
	return false;
}

static int read_defaults(struct files_reader *reader, const char *const *paths, GError **error)
{
	bool files = !has_folder(paths, false);
	bool folders = !has_folder(paths, true);

	if (files && read_nova_defaults(reader, false, error) < 0)
		return -1;
	if (folders && read_nova_defaults(reader, true, error) < 0)
		return -1;
	if (files && g_file_test(OWN_FILE, G_FILE_TEST_EXISTS) &&
	    read_file(reader, OWN_FILE, error) < 0)
		return -1;
	if (folders && g_file_test(OWN_FOLDER, G_FILE_TEST_EXISTS))
		return read_folder(reader, OWN_FOLDER, error);
	return 0;
}

int config_files_read(struct ini *ini, const char *const *paths, GPtrArray *ret_files,
		      GError **error)
{
	struct files_reader reader = {ini, ret_files};

	if (read_defaults(&reader, paths, error) < 0)
		return -1;
	for (; paths && *paths; paths++) {
		int rc = g_str_has_suffix(*paths, "/") ? read_folder(&reader, *paths, error)
						       : read_file(&reader, *paths, error);

		if (rc < 0)
			return -1;
	}
	if (ret_files->len > 0)
		return 0;
	g_set_error_literal(error, CONFIG_ERROR, CONFIG_ERROR_FILE,
			    "no configuration: there is neither a nova.conf nor " OWN_FILE
			    "; name a file with --config-file");
	return -1;
}
