/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What novasnap-rbd sends: answers, progress and data, from any thread.
 */
#ifndef NOVASNAP_RBD_REPLY_H
#define NOVASNAP_RBD_REPLY_H

#include "image/rbd/server/server.h"

/* Sends a frame. Takes ownership of the JSON object. Ends the process if novasnapd is gone. */
void reply_send(struct server *server, cJSON *json, const void *data, uint32_t data_length);

/* Says that the operation goes on, at most a few times a second. `total` 0: unknown. */
void reply_progress(struct server *server, uint64_t done, uint64_t total);

#endif
