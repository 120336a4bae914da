/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors of librados and librbd, with what to do about them.
 */
#ifndef NOVASNAP_RBD_FAILURE_H
#define NOVASNAP_RBD_FAILURE_H

#include "image/rbd/server/server.h"

/*
 * Sets IMAGE_RBD_ERROR for a negative errno value. `object` names what was used, for example
 * "the image vms/a"; `pool` is whose capabilities and quota matter, may be NULL. Returns -1.
 */
int failure_set(struct server *server, GError **error, int rc, const char *pool,
		const char *object);

/* The same for a request that novasnapd should not have sent. Returns -1. */
int failure_set_request(GError **error);

/* The result of a removal: a success if what was to be removed does not exist. Takes ownership of
 * `local`, the error of `rc`; NULL: none. Returns 0, or -1 with an error. */
int failure_unless_missing(int rc, GError *local, GError **error);

/* Returns whether the pool takes no data; false if that cannot be told. */
bool failure_pool_is_full(struct server *server, const char *pool);

/* Retries what is busy. Set it to {0}. */
struct failure_retry {
	gint64 until_us;
};
/* Returns whether to call again: after a pause, if rc is -EBUSY and the limit is not over. */
bool failure_is_retried(struct server *server, struct failure_retry *retry, int rc,
			unsigned limit_s);

#endif
