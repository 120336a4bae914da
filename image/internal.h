/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of this room share: the ops of a store, the pipeline, HTTP and Keystone.
 */
#ifndef NOVASNAP_IMAGE_INTERNAL_H
#define NOVASNAP_IMAGE_INTERNAL_H

#include <pthread.h>

#include "image/image.h"
#include "image/limits.h"

/* --- store.c: the seam ------------------------------------------------------------------------ */

/* A kind of store: each callback is what the function of the same name in image.h documents. `self`
 * is what `open` gave. */
struct image_store_ops {
	const char *name;
	void *(*open)(const struct image_config *config, GError **error);
	void (*close)(void *self);
	int (*get)(void *self, const struct image_identity *who, const char *id,
		   struct image_record **ret_record, GError **error);
	int (*update)(void *self, const struct image_identity *who, const char *id,
		      const struct image_meta *meta, GError **error);
	int (*upload)(void *self, const struct image_identity *who, const char *id,
		      struct image_upload *upload, GError **error);
	int (*list)(void *self, const struct image_identity *who,
		    const struct image_property *wanted, GPtrArray *records, GError **error);
	int (*remove)(void *self, const struct image_identity *who, const char *id, GError **error);
	/* Makes a record that waits for data; its id is the caller's to free. */
	char *(*create)(void *self, const struct image_identity *who, const char *name,
			GError **error);
	char *(*location)(void *self);
};

extern const struct image_store_ops glance_store_ops;
extern const struct image_store_ops directory_store_ops;

/* Takes the document. NULL with IMAGE_ERROR_FAILED when it is no record. */
struct image_record *image_record_parse(cJSON *document, GError **error);

/* --- nbd-server.c ----------------------------------------------------------------------------- */

/* A program that serves one client, us, and is killed when the thread that started it ends. */
struct nbd_server;
/* `argv`: a program that takes its socket by systemd's activation, looked for in PATH. `socket`: a
 * path that nobody else can reach; it is gone when this returns. `ret_client`: a connection to it,
 * the caller's to close. NULL with IMAGE_SOURCE_ERROR_FAILED. */
struct nbd_server *nbd_server_start(const char *const *argv, const char *socket, int *ret_client,
				    GError **error);
/* What it said of why it ended, in one line, perhaps "". The caller frees it. */
char *nbd_server_words(struct nbd_server *server);
/* After its connection was closed. One that does not end in time is killed, and one that even that
 * does not end is left to itself. Takes NULL. */
void nbd_server_end(struct nbd_server *server);

/* --- pipeline.c ------------------------------------------------------------------------------- */

/* Reads an upload's source from its first byte in a thread of its own, ahead by a bounded number of
 * blocks, and hashes it, no faster than its pace. One consumer. The upload must outlive it. */
struct pipeline;
struct pipeline *pipeline_start(const struct image_upload *upload, GError **error);
/* Up to `size` bytes, 0 at the end, -1 when reading failed or was cancelled (pipeline_error).
 * Blocks. */
ssize_t pipeline_read(struct pipeline *pipeline, void *buffer, size_t size);
/* Reads what is left and throws it away, for its hash. */
int pipeline_drain(struct pipeline *pipeline);
/* The hash in hex, once all was read; else NULL. */
const char *pipeline_hash(struct pipeline *pipeline);
/* The algorithm that an upload is hashed with. */
const char *pipeline_hash_name(const struct image_upload *upload);
/* A copy of what went wrong, NULL where nothing did. */
GError *pipeline_error(struct pipeline *pipeline);
void pipeline_free(struct pipeline *pipeline);

/* --- wait.c ----------------------------------------------------------------------------------- */

/* Until something changed, or it is time to look at the cancel flag. */
void image_wait_a_little(pthread_cond_t *changed, pthread_mutex_t *lock);

/* --- pace.c: a limit that uploads share ------------------------------------------------------- */

struct pace;
/* NULL where there is no limit. */
struct pace *pace_new(unsigned bytes_per_second);
void pace_free(struct pace *pace);
/* Books bytes, and returns when they may go: a monotonic time in us. Takes NULL. */
gint64 pace_book(struct pace *pace, size_t bytes);

/* --- http.c ----------------------------------------------------------------------------------- */

/* How to reach a server: one of [glance], [keystone_authtoken], [service_user]. */
struct http_config {
	const char *cafile;
	const char *certfile;
	const char *keyfile;
	bool insecure;
	unsigned connect_timeout_s;
	unsigned request_timeout_s;
	unsigned stall_timeout_s;
};

struct http_request {
	const char *method; /* GET, POST, PATCH, PUT, DELETE */
	const char *url;
	GPtrArray *headers;	 /* char *, "Name: value" */
	const char *body;	 /* NULL: none, or `upload` */
	const char *secret;	 /* in it, besides the tokens in the headers; may be NULL */
	struct pipeline *upload; /* of `upload_size` bytes; NULL: none */
	uint64_t upload_size;
	void (*sent)(void *opaque, uint64_t bytes); /* may be NULL */
	void *opaque;
	const atomic_int *cancel; /* may be NULL */
};

struct http_reply {
	long status;	     /* 0: there was none */
	GString *body;	     /* at most REPLY_MAX bytes */
	char *subject_token; /* X-Subject-Token, NULL where absent */
	char *location;	     /* Location, likewise; never followed */
};

/* 0 when the server answered, whatever it said; -1 with IMAGE_ERROR_UNAVAILABLE, or _CANCELLED, or
 * what the pipeline failed with. */
int http_perform(const struct http_config *config, const struct http_request *request,
		 struct http_reply *reply, GError **error);
void http_reply_clear(struct http_reply *reply);
/* The body as JSON; NULL where it is none, or of more values than REPLY_VALUES_MAX. */
cJSON *http_reply_document(const struct http_reply *reply);
/* A refusal as an error: status and the server's own words. */
void http_reply_error(const struct http_reply *reply, const char *what, GError **error);
/* Sleeps, looking at the flag. False when it was set. */
bool http_pause(unsigned seconds, const atomic_int *cancel);

/* --- keystone.c ------------------------------------------------------------------------------- */

/* A user of ours in Keystone, and its token, shared by all threads. */
struct keystone;
struct keystone *keystone_new(const struct keystone_config *user,
			      const struct image_config *config);
void keystone_free(struct keystone *keystone);
/* The caller frees it. `renew`: the one given last was refused. NULL with IMAGE_ERROR_AUTH. */
char *keystone_token(struct keystone *keystone, bool renew, GError **error);
struct keystone_endpoint {
	const char *type;      /* of the service: "image" */
	const char *interface; /* "internal", "public" */
	const char *region;    /* NULL: any */
};
/* An endpoint in the catalogue. The caller frees it. NULL with IMAGE_ERROR_CONFIG. */
char *keystone_endpoint(struct keystone *keystone, const struct keystone_endpoint *wanted,
			GError **error);

/* --- session.c -------------------------------------------------------------------------------- */

/* How an OpenStack service is spoken to. */
struct session {
	struct http_config http;
	struct keystone *own;	  /* NULL: [keystone_authtoken] is not configured */
	struct keystone *service; /* NULL: no service token is sent */
};

/* Of one request: which tokens were refused. */
struct session_use {
	bool own;     /* the user's was: ours is used */
	bool renewed; /* and so was ours once */
};

void session_open(struct session *session, const struct image_config *config);
void session_close(struct session *session);
void session_add_header(GPtrArray *headers, const char *name, const char *value);
int session_add_tokens(const struct session *session, const struct image_identity *who,
		       const struct session_use *use, GPtrArray *headers, GError **error);
/* Whether another token may help after a 401. */
bool session_change_token(const struct session *session, const struct image_identity *who,
			  struct session_use *use);

#endif
