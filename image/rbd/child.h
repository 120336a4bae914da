/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process of novasnap-rbd: its start and its end.
 */
#ifndef NOVASNAP_RBD_CHILD_H
#define NOVASNAP_RBD_CHILD_H

#include <glib.h>

struct rbd_child;

/*
 * Starts a program whose standard input is a socket. It is killed when the calling thread ends. The
 * caller closes *ret_socket, which does not block. Returns NULL with IMAGE_RBD_ERROR.
 */
struct rbd_child *rbd_child_start(const char *program, int *ret_socket, GError **error);

/* Returns the end of what the program has written to standard error, in one line; it may be empty.
 * The caller frees it. */
char *rbd_child_error_text(struct rbd_child *child);

/*
 * Waits until the program has ended by itself, at most that long, and kills it then. Closes
 * nothing of the caller's: shut the socket down first. Frees the child. Accepts NULL.
 */
void rbd_child_end(struct rbd_child *child, unsigned wait_ms);

#endif
