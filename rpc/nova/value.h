/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Helpers for nova's messages: members, texts, times, and the frame of a versioned object
 * (oslo_versionedobjects).
 */
#ifndef NOVASNAP_RPC_NOVA_VALUE_H
#define NOVASNAP_RPC_NOVA_VALUE_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdbool.h>

/* Returns a copy of a member; a JSON null if it is missing or the object is NULL. */
cJSON *nova_copy_member(const cJSON *object, const char *name);
/* Adds a text as a member; U+FFFD replaces bytes that are not UTF-8. NULL adds a JSON null. */
void nova_add_text(cJSON *object, const char *name, const char *text);
/* Replaces a member at its place, or appends it. Takes ownership of `value`. */
void nova_put_member(cJSON *object, const char *name, cJSON *value);

/* Whether `object` is a versioned object of that name, with data. */
bool nova_is_object(const cJSON *object, const char *name);
/* Returns the data of a member that is a versioned object, else NULL. */
const cJSON *nova_member_data(const cJSON *object, const char *name);
/* Returns the versioned object {"nova_object.name": ..., "nova_object.namespace": "nova",
 * "nova_object.version": ..., "nova_object.data": data}. Takes ownership of `data`. */
cJSON *nova_object_wrap(const char *name, const char *version, cJSON *data);
/* Whether `list` is a list of at most NOVA_MAX_FIELDS strings. */
bool nova_is_name_list(const cJSON *list);

/* Convert the text of a DateTimeField as Python's str(datetime) does ("2026-11-23 04:24:38+00:00"),
 * and as nova.utils.strtime does ("2026-11-23T04:24:38.000000"). A text that is not a time is
 * returned unchanged. The caller frees the result. */
char *nova_time_str(const char *text);
char *nova_time_strtime(const char *text);

/* Sets RPC_ERROR_DECODE with this text. Returns -1. */
int nova_decode_error(GError **error, const char *text);

#endif
