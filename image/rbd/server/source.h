/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot that is read: the one of image_source_new_rbd().
 */
#ifndef NOVASNAP_RBD_SERVER_SOURCE_H
#define NOVASNAP_RBD_SERVER_SOURCE_H

#include "image/rbd/server/server.h"

/* The operation "source", which opens it, and "extents". */
int server_source_open(struct server *server, const cJSON *request, cJSON *answer, GError **error);
int server_source_extents(struct server *server, const cJSON *request, cJSON *answer,
			  GError **error);
/* Starts to read; the answer is sent by server_source_send(). Returns 0 or -1. */
int server_source_read(struct server *server, const cJSON *request, GError **error);

/* A descriptor that can be read when there is an answer to send; -1: nothing is read. */
int server_source_fd(const struct server *server);
void server_source_send(struct server *server);

void server_source_close(struct server *server);

#endif
