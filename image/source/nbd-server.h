/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starts a program that serves a disk over NBD (qemu-nbd) to this process only, with systemd's
 * socket activation.
 *
 * libnbd supports that, too (nbd_connect_systemd_socket_activation). But its server survives if
 * novasnap is killed before the client is connected, and its socket stays in the system's temporary
 * folder. This server is killed when the thread that started it ends.
 */
#ifndef NOVASNAP_IMAGE_NBD_SERVER_H
#define NOVASNAP_IMAGE_NBD_SERVER_H

#include <glib.h>

struct nbd_server;

/*
 * Starts the program argv[0], which is looked up in PATH. `socket_path` must not exist, and must be
 * in a folder that only novasnap can access; it no longer exists when this function returns.
 * `*ret_client` is a connection to the server, which the caller closes. Returns NULL with
 * IMAGE_SOURCE_ERROR_FAILED.
 */
struct nbd_server *nbd_server_start(const char *const *argv, const char *socket_path,
				    int *ret_client, GError **error);

/* Waits up to 0.5 s for the server to exit, and returns the text on its standard error as one line;
 * it may be "". The caller frees the text with g_free(). */
char *nbd_server_error_text(struct nbd_server *server);

/* Sends SIGKILL to the server, and does not wait. nbd_server_stop must follow. */
void nbd_server_kill(const struct nbd_server *server);

/* Stops the server after its connection was closed: waits 5 s after SIGTERM and 2 s after SIGKILL,
 * then gives up with a warning. Accepts NULL. */
void nbd_server_stop(struct nbd_server *server);

#endif
