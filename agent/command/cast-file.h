/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Casts that are read from files, and casts that novasnap makes itself.
 */
#ifndef NOVASNAP_AGENT_COMMAND_CAST_FILE_H
#define NOVASNAP_AGENT_COMMAND_CAST_FILE_H

#include <cjson/cJSON.h>

#include "agent/config/config.h"

/* Reads the casts of a file: one message, with its envelope or without; or a recording, which has a
 * JSON object in each line, of `novasnap record` or with the member `message`. Other messages of a
 * recording, such as calls of the conductor, are left out. Returns an array that has at least one
 * message and that the caller deletes; NULL with an error that names file and line. */
cJSON *cast_read_all(const char *path, GError **error);

/* The first of them, which the caller deletes. */
cJSON *cast_read(const char *path, GError **error);

/* Makes a cast of snapshot_instance for a guest of this host that nova does not know, by the name
 * of its domain. It has no more of the instance than novasnapd needs. The caller deletes it; NULL
 * with a VIRT_ERROR. */
cJSON *cast_for_domain(const struct config *config, const char *name, GError **error);

/* Sets the instance and the image of a cast to other IDs, where they are not NULL, and gives it a
 * new unique ID, because agents drop a message whose ID they have seen. Returns 0, or -1 with
 * RPC_ERROR_DECODE where the message has no instance. */
int cast_retarget(cJSON *cast, const char *instance, const char *image, GError **error);

/* Creates the image of a cast in the configuration's store, with the status `queued`, as nova-api
 * does before it sends a cast. Returns its ID, which the caller frees; NULL with an IMAGE_ERROR. */
char *cast_create_image(const struct config *config, const cJSON *cast, const char *name,
			GError **error);

#endif
