/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records of a directory store: JSON documents in the format of Glance's v2 API. `folder` is
 * the path of the store. Reading and writing a record is not locked: if two changes are made at the
 * same time, one may be lost.
 */
#ifndef NOVASNAP_IMAGE_DIRECTORY_RECORD_H
#define NOVASNAP_IMAGE_DIRECTORY_RECORD_H

#include <cjson/cJSON.h>
#include <glib.h>

#define DIRECTORY_RECORD_SUFFIX ".json"

/* Creates a `queued` record, which the caller frees with cJSON_Delete(). */
cJSON *directory_record_new(const char *id);

/* Reads a record, which the caller frees with cJSON_Delete(). Returns NULL with
 * IMAGE_ERROR_NOT_FOUND, or IMAGE_ERROR_FAILED if the file cannot be read or is not JSON. */
cJSON *directory_record_read(const char *folder, const char *id, GError **error);

/* Replaces the record. Returns 0, or -1 with an IMAGE_ERROR. */
int directory_record_write(const char *folder, const char *id, const cJSON *record, GError **error);

/* Sets the member `name` to a string. A NULL value leaves the record unchanged. */
void directory_record_set(cJSON *record, const char *name, const char *value);

/* Sets the member `name` to the current time, in Glance's format. */
void directory_record_set_time(cJSON *record, const char *name);

#endif
