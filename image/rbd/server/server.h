/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap-rbd: what its files share. Only this folder uses librados and librbd.
 */
#ifndef NOVASNAP_RBD_SERVER_H
#define NOVASNAP_RBD_SERVER_H

#include <cjson/cJSON.h>
#include <pthread.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <stdatomic.h>

#include "image/rbd.h"
#include "image/rbd/frame.h"

struct server_source;

struct server {
	int fd;		    /* the socket to novasnapd */
	rados_t cluster;    /* NULL: not connected */
	char *user;	    /* without "client." */
	unsigned timeout_s; /* limit of one operation without progress */
	atomic_int closing; /* novasnapd has no further requests, and wants no answer */
	pthread_mutex_t lock;
	gint64 progress_us;	      /* when progress was sent; guarded by lock */
	struct server_source *source; /* NULL: this process has no source open */
};

/* An operation: fills in the answer. Returns 0, or -1 with IMAGE_RBD_ERROR. */
typedef int (*server_operation_fn)(struct server *server, const cJSON *request, cJSON *answer,
				   GError **error);

#endif
