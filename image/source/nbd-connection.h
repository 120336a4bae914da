/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection to an NBD server, over which several requests are in flight. Only one thread may use
 * it. After any error it is closed, which ends all requests: libnbd then writes to no buffer any
 * more.
 */
#ifndef NOVASNAP_IMAGE_NBD_CONNECTION_H
#define NOVASNAP_IMAGE_NBD_CONNECTION_H

#include <libnbd.h>

#include "image/source.h"

struct nbd_connection;

/* Connects, and starts the server if nbd->argv is set. Returns NULL with IMAGE_SOURCE_ERROR. */
struct nbd_connection *nbd_connection_open(const struct image_nbd *nbd, GError **error);
/* Closes the connection, then stops the server if this module started it. Accepts NULL. */
void nbd_connection_free(struct nbd_connection *connection);
/* See image_source_kill_server. From any thread. */
void nbd_connection_kill_server(struct nbd_connection *connection);

/* Returns libnbd's handle, owned by the connection, or NULL with
 * IMAGE_SOURCE_ERROR_DISCONNECTED if the connection was closed after an error. */
struct nbd_handle *nbd_connection_handle(const struct nbd_connection *connection, GError **error);

/* Reports that a call of libnbd failed and why, and closes the connection. `read` and `action` are
 * for the message. Returns -1. */
int nbd_connection_fail(struct nbd_connection *connection, const struct image_read *read,
			const char *action, GError **error);

/*
 * Counts a request at byte `offset` as pending in `read`, and returns the callback for it. Pass the
 * callback to one asynchronous call of libnbd. `read` must exist until the request is answered or
 * the connection is closed.
 */
nbd_completion_callback nbd_connection_expect(struct nbd_connection *connection,
					      struct image_read *read, uint64_t offset);

/* Waits until no request of `read` is pending. Answers of other requests are received, too. Returns
 * 0, or -1 with IMAGE_SOURCE_ERROR and the connection closed; `action` is for the message. */
int nbd_connection_wait(struct nbd_connection *connection, struct image_read *read,
			const char *action, GError **error);

#endif
