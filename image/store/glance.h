/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the two files of the Glance store share.
 */
#ifndef NOVASNAP_IMAGE_GLANCE_H
#define NOVASNAP_IMAGE_GLANCE_H

#include "image/internal.h"

struct glance {
	const struct image_config *config;
	struct session session;
};

/* One request to Glance, as it goes on from server to server and from token to token. */
struct glance_call {
	const struct image_identity *who;
	const char *method;
	const char *id;		  /* NULL: the collection */
	const char *tail;	  /* "", "/file" */
	const char *content_type; /* NULL: no body */
	const char *body;
	struct pipeline *upload;
	uint64_t upload_size;
	void (*sent)(void *opaque, uint64_t bytes);
	void *opaque;
	const atomic_int *cancel;

	struct session_use use;
	unsigned server; /* which of several */
};

/* One try, at one server. 0 when it answered with 2xx; the reply is the caller's to clear in any
 * case. A 401 is answered by another token where one is to be had, unless a body was being sent:
 * then, *ret_again is set, and the caller begins anew. */
int glance_try(struct glance *glance, struct glance_call *call, struct http_reply *reply,
	       bool *ret_again, GError **error);

int glance_upload(void *self, const struct image_identity *who, const char *id,
		  struct image_upload *upload, GError **error);
int glance_get(void *self, const struct image_identity *who, const char *id,
	       struct image_record **ret_record, GError **error);

#endif
