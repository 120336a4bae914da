/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The embedded store: a folder with <id>, the image, and <id>.json, its record in Glance's form.
 * Each appears whole, by a rename of its part (.part), or not at all. A part that a killed writer
 * left is taken by the next one, or goes with the image.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/internal.h"
#include "image/source/cluster-map.h"

#define CHUNK ((size_t)1024 * 1024)
#define HOLE ((size_t)64 * 1024)
#define RECORD_SUFFIX ".json"
#define PART_SUFFIX ".part"

struct directory {
	const char *path;
};

static int fail(GError **error, const char *what, const char *path)
{
	int saved = errno;

	g_set_error(error, IMAGE_ERROR,
		    saved == ENOSPC   ? IMAGE_ERROR_TOO_LARGE
		    : saved == ENOENT ? IMAGE_ERROR_NOT_FOUND
				      : IMAGE_ERROR_FAILED,
		    "%s %s: %s", what, path, g_strerror(saved));
	return -1;
}

static void *directory_open(const struct image_config *config, GError **error)
{
	struct directory *directory;

	if (g_mkdir_with_parents(config->images_dir, 0755) < 0 ||
	    access(config->images_dir, W_OK | X_OK) < 0) {
		(void)fail(error, "the image store's folder", config->images_dir);
		if (error && *error)
			(*error)->code = IMAGE_ERROR_CONFIG;
		return NULL;
	}
	directory = g_new0(struct directory, 1);
	directory->path = config->images_dir;
	return directory;
}

static void directory_close(void *self)
{
	g_free(self);
}

static char *image_path(const struct directory *directory, const char *id, const char *suffix)
{
	g_autofree char *name = g_strconcat(id, suffix, NULL);

	return g_build_filename(directory->path, name, NULL);
}

static int sync_folder(const struct directory *directory, GError **error)
{
	int fd = open(directory->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 ? -1 : fsync(fd);

	if (rc < 0)
		(void)fail(error, "syncing", directory->path);
	if (fd >= 0)
		(void)close(fd);
	return rc;
}

/* The part becomes the file; in either case the descriptor is closed, and no part is left. It is
 * closed last, for its lock. */
static int commit(const struct directory *directory, int fd, const char *part, const char *path,
		  int rc, GError **error)
{
	if (rc == 0 && fsync(fd) < 0)
		rc = fail(error, "syncing", part);
	if (rc == 0 && rename(part, path) < 0)
		rc = fail(error, "renaming", part);
	if (rc < 0)
		(void)g_unlink(part);
	(void)close(fd);
	return rc < 0 ? -1 : sync_folder(directory, error);
}

static int write_all(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t written = write(fd, data, length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -1;
		data += written;
		length -= (size_t)written;
	}
	return 0;
}

static bool is_named(int fd, const char *path)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 && lstat(path, &there) == 0 && here.st_dev == there.st_dev &&
	       here.st_ino == there.st_ino;
}

/* Locked: two may write the same image, each in a job or a process of its own. The lock ends with
 * its process. */
static int open_part(const char *part, int flags, GError **error)
{
	for (;;) {
		int fd = open(part, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0644);

		if (fd < 0)
			return fail(error, "opening", part);
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			if (errno == EWOULDBLOCK)
				g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT,
					    "opening %s: somebody else is writing it", part);
			else
				(void)fail(error, "locking", part);
			(void)close(fd);
			return -1;
		}
		/* Before it was locked it may have become the file, or been deleted. */
		if (is_named(fd, part))
			return fd;
		(void)close(fd);
	}
}

static int make_part(const char *path, char **ret_part, GError **error)
{
	int fd;

	*ret_part = g_strconcat(path, PART_SUFFIX, NULL);
	fd = open_part(*ret_part, O_CREAT, error);
	/* Not by O_TRUNC, which does not ask for the lock. */
	if (fd >= 0 && ftruncate(fd, 0) < 0) {
		(void)fail(error, "emptying", *ret_part);
		(void)close(fd);
		return -1;
	}
	return fd;
}

/* 0 also where there is none. Not while somebody writes it. */
static int remove_part(const char *path, GError **error)
{
	g_autofree char *part = g_strconcat(path, PART_SUFFIX, NULL);
	g_autoptr(GError) local = NULL;
	int fd = open_part(part, 0, &local);
	int rc = 0;

	if (fd < 0 && g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
		return 0;
	if (fd < 0) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (g_unlink(part) < 0)
		rc = fail(error, "deleting", part);
	(void)close(fd);
	return rc;
}

static int write_record(const struct directory *directory, const char *id, const cJSON *document,
			GError **error)
{
	g_autofree char *path = image_path(directory, id, RECORD_SUFFIX);
	g_autofree char *part = NULL;
	char *text = cJSON_Print(document);
	int fd = make_part(path, &part, error);
	int rc = 0;

	if (fd >= 0) {
		if (write_all(fd, text, strlen(text)) < 0)
			rc = fail(error, "writing", part);
		rc = commit(directory, fd, part, path, rc, error);
	}
	cJSON_free(text);
	return fd < 0 ? -1 : rc;
}

static cJSON *read_record(const struct directory *directory, const char *id, GError **error)
{
	g_autofree char *path = image_path(directory, id, RECORD_SUFFIX);
	g_autofree char *text = NULL;
	g_autoptr(GError) local = NULL;
	cJSON *document;

	if (!g_file_get_contents(path, &text, NULL, &local)) {
		g_set_error(error, IMAGE_ERROR,
			    g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT)
				    ? IMAGE_ERROR_NOT_FOUND
				    : IMAGE_ERROR_FAILED,
			    "image %s: %s", id, local->message);
		return NULL;
	}
	document = cJSON_Parse(text);
	if (!document)
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED, "%s is no JSON", path);
	return document;
}

static void set_text(cJSON *document, const char *name, const char *text)
{
	if (!text)
		return;
	cJSON_DeleteItemFromObjectCaseSensitive(document, name);
	cJSON_AddStringToObject(document, name, text);
}

static void set_now(cJSON *document, const char *name)
{
	g_autoptr(GDateTime) now = g_date_time_new_now_utc();
	g_autofree char *text = g_date_time_format(now, "%Y-%m-%dT%H:%M:%SZ");

	set_text(document, name, text);
}

static cJSON *new_record(const char *id)
{
	cJSON *document = cJSON_CreateObject();

	cJSON_AddStringToObject(document, "id", id);
	cJSON_AddStringToObject(document, "status", "queued");
	set_now(document, "created_at");
	return document;
}

static int directory_get(void *self, const struct image_identity *who, const char *id,
			 struct image_record **ret_record, GError **error)
{
	cJSON *document = read_record(self, id, error);

	(void)who;
	if (!document)
		return -1;
	*ret_record = image_record_parse(document, error);
	return *ret_record ? 0 : -1;
}

static int directory_update(void *self, const struct image_identity *who, const char *id,
			    const struct image_meta *meta, GError **error)
{
	g_autoptr(GError) local = NULL;
	cJSON *document = read_record(self, id, &local);
	const cJSON *property;
	int rc;

	(void)who;
	if (!document && !g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND)) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (!document)
		document = new_record(id);
	set_text(document, "name", meta->name);
	set_text(document, "disk_format", meta->disk_format);
	set_text(document, "container_format", meta->container_format);
	set_text(document, "visibility", meta->visibility);
	cJSON_ArrayForEach (property, meta->properties) {
		if (cJSON_IsString(property))
			set_text(document, property->string, property->valuestring);
	}
	set_now(document, "updated_at");
	rc = write_record(self, id, document, error);
	cJSON_Delete(document);
	return rc;
}

/* Blocks of zeros are left as holes; the size is set at the end. */
static int write_sparse(int fd, const char *data, size_t length)
{
	while (length > 0) {
		size_t part = MIN(length, HOLE);

		if (is_all_zeros(data, part)) {
			if (lseek(fd, (off_t)part, SEEK_CUR) < 0)
				return -1;
		} else if (write_all(fd, data, part) < 0) {
			return -1;
		}
		data += part;
		length -= part;
	}
	return 0;
}

static int copy_source(int fd, const char *part, struct image_upload *upload, GError **error)
{
	g_autofree char *buffer = g_malloc(CHUNK);
	struct pipeline *pipeline = pipeline_start(upload, error);
	uint64_t done = 0;
	ssize_t got = 0;
	int rc = pipeline ? 0 : -1;

	while (rc == 0 && (got = pipeline_read(pipeline, buffer, CHUNK)) > 0) {
		if (write_sparse(fd, buffer, (size_t)got) < 0)
			rc = fail(error, "writing", part);
		done += (uint64_t)got;
		if (upload->progress)
			upload->progress(upload->opaque, done, upload->source->size);
	}
	if (rc == 0 && got < 0) {
		g_propagate_error(error, pipeline_error(pipeline));
		rc = -1;
	}
	if (rc == 0 && ftruncate(fd, (off_t)upload->source->size) < 0)
		rc = fail(error, "sizing", part);
	if (rc == 0) {
		g_strlcpy(upload->hash, pipeline_hash(pipeline), sizeof(upload->hash));
		upload->sent = done;
	}
	pipeline_free(pipeline);
	return rc;
}

static int directory_upload(void *self, const struct image_identity *who, const char *id,
			    struct image_upload *upload, GError **error)
{
	struct directory *directory = self;
	cJSON *document = read_record(directory, id, error);
	g_autofree char *path = image_path(directory, id, "");
	g_autofree char *part = NULL;
	const cJSON *status = cJSON_GetObjectItemCaseSensitive(document, "status");
	int fd, rc = -1;

	(void)who;
	if (!document)
		return -1;
	if (cJSON_IsString(status) && g_str_equal(status->valuestring, "active")) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT,
			    "image %s is active already: it takes no data", id);
		cJSON_Delete(document);
		return -1;
	}
	upload->attempts = 1;
	fd = make_part(path, &part, error);
	if (fd >= 0) {
		rc = copy_source(fd, part, upload, error);
		rc = commit(directory, fd, part, path, rc, error);
	}
	if (rc == 0) {
		set_text(document, "status", "active");
		set_text(document, "os_hash_algo", upload->hash_name);
		set_text(document, "os_hash_value", upload->hash);
		cJSON_DeleteItemFromObjectCaseSensitive(document, "size");
		cJSON_AddNumberToObject(document, "size", (double)upload->sent);
		set_now(document, "updated_at");
		rc = write_record(directory, id, document, error);
	}
	cJSON_Delete(document);
	return rc;
}

static bool has_properties(const cJSON *document, const struct image_property *wanted)
{
	for (; wanted->name; wanted++) {
		const char *value = cJSON_GetStringValue(
			cJSON_GetObjectItemCaseSensitive(document, wanted->name));

		if (g_strcmp0(value, wanted->value) != 0)
			return false;
	}
	return true;
}

static int directory_list(void *self, const struct image_identity *who,
			  const struct image_property *wanted, GPtrArray *records, GError **error)
{
	struct directory *directory = self;
	g_autoptr(GDir) dir = g_dir_open(directory->path, 0, error);
	const char *name;

	(void)who;
	if (!dir)
		return -1;
	while ((name = g_dir_read_name(dir))) {
		g_autofree char *id = NULL;
		cJSON *document;
		struct image_record *record;

		if (!g_str_has_suffix(name, RECORD_SUFFIX))
			continue;
		id = g_strndup(name, strlen(name) - strlen(RECORD_SUFFIX));
		/* A record that vanished meanwhile is no error. */
		document = g_uuid_string_is_valid(id) ? read_record(directory, id, NULL) : NULL;
		if (!document || !has_properties(document, wanted)) {
			cJSON_Delete(document);
			continue;
		}
		record = image_record_parse(document, NULL);
		if (record)
			g_ptr_array_add(records, record);
	}
	return 0;
}

static int directory_remove(void *self, const struct image_identity *who, const char *id,
			    GError **error)
{
	g_autofree char *record = image_path(self, id, RECORD_SUFFIX);
	g_autofree char *path = image_path(self, id, "");
	int data;

	(void)who;
	if (remove_part(path, error) < 0 || remove_part(record, error) < 0)
		return -1;
	data = g_unlink(path);
	if (g_unlink(record) < 0)
		return fail(error, "deleting", record);
	if (data < 0 && access(path, F_OK) == 0)
		return fail(error, "deleting", path);
	return 0;
}

static char *directory_create(void *self, const struct image_identity *who, const char *name,
			      GError **error)
{
	g_autofree char *id = g_uuid_string_random();
	cJSON *document = new_record(id);
	int rc;

	(void)who;
	set_text(document, "name", name);
	rc = write_record(self, id, document, error);
	cJSON_Delete(document);
	return rc == 0 ? g_steal_pointer(&id) : NULL;
}

static char *directory_location(void *self)
{
	return g_strdup(((struct directory *)self)->path);
}

const struct image_store_ops directory_store_ops = {
	.name = "directory",
	.open = directory_open,
	.close = directory_close,
	.get = directory_get,
	.update = directory_update,
	.list = directory_list,
	.upload = directory_upload,
	.remove = directory_remove,
	.create = directory_create,
	.location = directory_location,
};
