/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection to a child novasnap-rbd: requests, answers, time limits and cancellation. After
 * any error of these functions but a refused request the child is dead.
 */
#ifndef NOVASNAP_RBD_LINK_H
#define NOVASNAP_RBD_LINK_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "image/rbd.h"

struct rbd_link;

/* Starts the child, and has it connect to the cluster. Returns NULL with IMAGE_RBD_ERROR. */
struct rbd_link *rbd_link_open(const struct image_rbd_cluster *cluster, const atomic_int *cancel,
			       GError **error);
/* Accepts NULL. */
void rbd_link_close(struct rbd_link *link);
/* The id of the cluster. Belongs to the link. */
const char *rbd_link_fsid(const struct rbd_link *link);

/* How long a cancelled child may take to undo what it has begun; then it is killed. */
void rbd_link_set_grace(struct rbd_link *link, unsigned grace_ms);

/* Sends a request. `action` names it in messages, for example "flattening vms/a". Takes ownership
 * of the request. Returns 0 or -1. */
int rbd_link_send(struct rbd_link *link, cJSON *request, const char *action, GError **error);

/*
 * Receives the data of a frame. Returns a buffer for `length` bytes, which must exist until the
 * frame has arrived; NULL: this data was not asked for.
 */
typedef void *(*rbd_link_data_fn)(void *opaque, const cJSON *json, uint32_t length);
/*
 * Waits for the next frame. `data_for`, may be NULL, is called if it has data. Each arriving byte
 * starts the time limit again. Returns the JSON object, which the caller frees, or NULL.
 */
cJSON *rbd_link_receive(struct rbd_link *link, rbd_link_data_fn data_for, void *opaque,
			const char *action, GError **error);

/*
 * Waits for the answer to a request that was sent, and passes what comes before it to `each`, may
 * be NULL. Returns the answer, or NULL, also if it is a refusal.
 */
typedef void (*rbd_link_each_fn)(void *opaque, const cJSON *json);
cJSON *rbd_link_answer(struct rbd_link *link, rbd_link_each_fn each, void *opaque,
		       const char *action, GError **error);

/* Returns -1 with the error that the object reports, else 0. */
int rbd_link_check(struct rbd_link *link, const cJSON *answer, const char *action, GError **error);

/* The child broke the protocol: kills it. Returns -1. */
int rbd_link_fail(struct rbd_link *link, const char *action, const char *what, GError **error);

#endif
