/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lets novasnapd wait longer for an operation that undoes something. A client that was killed holds
 * an image's lock for 30 s, and librbd waits for that without progress. A cluster that is down ends
 * the operation before, by librados' own time limits.
 */
#ifndef NOVASNAP_RBD_PATIENCE_H
#define NOVASNAP_RBD_PATIENCE_H

#include "image/rbd/server/server.h"

struct patience;

/* Starts a thread that reports progress, for at most 60 s. */
struct patience *patience_begin(struct server *server);
void patience_end(struct patience *patience);

#endif
