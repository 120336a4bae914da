/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Casts read from files, and casts created for a local domain.
 */
#ifndef NOVASNAP_AGENT_COMMAND_CAST_FILE_H
#define NOVASNAP_AGENT_COMMAND_CAST_FILE_H

#include <cjson/cJSON.h>

#include "agent/config/config.h"

/* Reads the casts in a file: one message, with its envelope or without; or a recording with one
 * JSON object per line, from `novasnap record` or with the member `message`. Other recorded
 * messages, such as conductor calls, are skipped. Returns an array with at least one message, which
 * the caller deletes; NULL with an error that names the file and the line. */
cJSON *cast_read_all(const char *path, GError **error);

/* The first snapshot_instance cast in the file, as cast_read_all reads it, ready to be sent again:
 * without a token that was removed, and without the reply queue of a call. The caller deletes it.
 */
cJSON *cast_read_snapshot(const char *path, GError **error);

/* Creates a snapshot_instance cast for a guest of this host, by its domain name; nova need not know
 * the guest. It contains only the instance data that novasnapd needs. The caller deletes it; NULL
 * with a VIRT_ERROR. */
cJSON *cast_for_domain(const struct config *config, const char *name, GError **error);

/* Changes the instance and the image of a cast, unless they are NULL, and assigns a new unique ID,
 * because agents drop messages with a known ID. Returns 0, or -1 with RPC_ERROR_DECODE if the
 * message has no instance. */
int cast_retarget(cJSON *cast, const char *instance, const char *image, GError **error);

/* Creates the cast's image in the configured store, with the status `queued`, as nova-api does
 * before it sends a cast. Returns its ID, which the caller frees; NULL with an IMAGE_ERROR. */
char *cast_create_image(const struct config *config, const cJSON *cast, const char *name,
			GError **error);

#endif
