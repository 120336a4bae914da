/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tasks of the cluster's manager (its module rbd_support).
 */
#ifndef NOVASNAP_RBD_MANAGER_H
#define NOVASNAP_RBD_MANAGER_H

#include "image/rbd/server/server.h"

/*
 * Has the manager flatten an image, and waits for the end of its task. `title` names the image in
 * messages. Returns 0 or -1; the caller checks whether the image is flat then.
 */
int manager_flatten(struct server *server, const char *pool, const char *image, const char *title,
		    GError **error);

/* Cancels all tasks of an image. Who may not ask the manager, has none there. */
void manager_cancel_tasks(struct server *server, const char *pool, const char *image);

#endif
