/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The image room: takes the bytes of an image source into an image store (Glance, or a directory),
 * hashing them on the way. A store is used by many threads at once; each call blocks until it is
 * done, has failed, or its cancel flag is seen.
 */
#ifndef NOVASNAP_IMAGE_IMAGE_H
#define NOVASNAP_IMAGE_IMAGE_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "image/source.h"

#define IMAGE_ERROR image_error_quark()
GQuark image_error_quark(void);

enum image_error {
	IMAGE_ERROR_FAILED,	 /* anything else; the message says it */
	IMAGE_ERROR_NOT_FOUND,	 /* the image is not there (404) */
	IMAGE_ERROR_GONE,	 /* the image was deleted during the upload (404, 410 on the PUT) */
	IMAGE_ERROR_AUTH,	 /* 401 and no token of our own helps, or Keystone refuses */
	IMAGE_ERROR_FORBIDDEN,	 /* 403 */
	IMAGE_ERROR_CONFLICT,	 /* 409: the image is in a state that takes no data */
	IMAGE_ERROR_TOO_LARGE,	 /* 413: quota or image_size_cap */
	IMAGE_ERROR_UNAVAILABLE, /* no server could be reached, or all said 5xx, retries used up */
	IMAGE_ERROR_MISMATCH,	 /* size or hash in the store differ from what was sent */
	IMAGE_ERROR_CANCELLED,	 /* the cancel flag was set */
	IMAGE_ERROR_CONFIG,	 /* the configuration cannot work */
};

/* How to get a token of our own; oslo's keystoneauth names. A NULL auth_url: not configured. */
struct keystone_config {
	const char *auth_url;
	const char *username;
	const char *password;
	const char *user_domain_name; /* or user_domain_id */
	const char *user_domain_id;
	const char *project_name; /* or project_id */
	const char *project_id;
	const char *project_domain_name; /* or project_domain_id */
	const char *project_domain_id;
	const char *cafile; /* NULL: the system's */
	const char *certfile;
	const char *keyfile;
	bool insecure; /* certificates are not checked */
};

/* All strings belong to the caller and live as long as the store. */
struct image_config {
	bool directory;		/* [novasnap]images = directory */
	const char *images_dir; /* with directory: absolute path */
	const char *const
		*api_servers; /* [glance]api_servers, NULL-terminated; NULL or empty: none */
	const char *endpoint_override;	     /* [glance]endpoint_override */
	const char *region_name;	     /* [glance]region_name; NULL: any */
	const char *const *valid_interfaces; /* [glance]valid_interfaces; NULL: internal, public */
	unsigned num_retries;		     /* [glance]num_retries: tries after the first */
	const char *cafile;		     /* [glance]cafile; NULL: the system's */
	const char *certfile;
	const char *keyfile;
	bool insecure;			/* [glance]insecure */
	unsigned connect_timeout_s;	/* for a TCP or TLS connection */
	unsigned request_timeout_s;	/* for a reply to a request without a body */
	unsigned stall_timeout_s;	/* an upload that moves nothing for so long has failed */
	unsigned saving_timeout_s;	/* how long an image found `saving` is waited for */
	struct keystone_config auth;	/* [keystone_authtoken]: our own token and the catalogue */
	struct keystone_config service; /* [service_user] */
	bool send_service_user_token;	/* [service_user]send_service_user_token */
	unsigned upload_bytes_per_second; /* of all uploads together; 0: no limit */
};

/* Who asks: taken from the cast's context. */
struct image_identity {
	const char *token;	/* the user's; NULL: the store's own is used */
	const char *request_id; /* req-<uuid>, sent as X-OpenStack-Request-ID; may be NULL */
	const char *user_id;	/* for a Glance without Keystone, sent as nova does; may be NULL */
	const char *project_id;
	const char *const *roles; /* NULL-terminated, may be NULL */
};

/* What nova writes into the image's record before the data. */
struct image_meta {
	const char *name;	      /* NULL: left as it is */
	const char *disk_format;      /* raw, qcow2, vmdk, vdi, ami */
	const char *container_format; /* bare, ami, ... */
	const char *visibility;	      /* NULL: left as it is */
	const cJSON *properties;      /* object of strings, belongs to the caller; may be NULL */
};

/* A record as the store has it; freed with image_record_free. */
struct image_record {
	char *id;
	char *name;
	char *status; /* queued, saving, active, killed, deleted, ... */
	char *disk_format;
	char *container_format;
	char *os_hash_algo; /* NULL until it is active */
	char *os_hash_value;
	char *created_at; /* ISO 8601; NULL: not told */
	int64_t size;	  /* bytes; -1: not known */
	cJSON *document;  /* the whole record, as answered */
};
void image_record_free(struct image_record *record);
typedef struct image_record image_record_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(image_record_t, image_record_free)

/* What an image is, once all of it has been sent. */
struct image_checksum {
	const char *hash_name; /* the algorithm, by Glance's name */
	const char *hash;      /* hex */
	uint64_t size;	       /* bytes */
};

struct image_upload {
	struct image_source *source; /* stays the caller's */
	const atomic_int *cancel;    /* looked at at least once a second; may be NULL */
	/* Called from the upload's own threads as bytes are taken by the store, with 0 when an
	 * attempt starts anew; it must return quickly. May be NULL. */
	void (*progress)(void *opaque, uint64_t sent, uint64_t total);
	/* Called from the reading thread once all of an attempt's bytes are hashed, before the last
	 * of them may be sent: what the image will be. -1 fails the attempt. May be NULL. */
	int (*checksum)(void *opaque, const struct image_checksum *checksum, GError **error);
	void *opaque;
	const char *hash_algo; /* a name of Glance's: "sha512", ...; NULL, or not known here: that
				  one */
	/* An earlier upload into the image was broken off: it is looked at before the first try. */
	bool resuming;
	/* Set on success: what was sent. */
	char hash[129];	       /* hex */
	const char *hash_name; /* the algorithm that was used */
	uint64_t sent;	       /* bytes */
	unsigned attempts;
	/* The store's own. */
	struct pace *pace;
};

/* Compares what the store says of an image with what was sent: its hash, or where the store hashes
 * with something else its size. 0, or -1 with IMAGE_ERROR_MISMATCH. */
int image_record_verify(const struct image_record *record, const struct image_checksum *checksum,
			GError **error);

struct image_store;

/* Opens the store that the configuration names. Nothing is contacted yet. `config` must outlive it.
 * NULL with IMAGE_ERROR_CONFIG. */
struct image_store *image_store_new(const struct image_config *config, GError **error);
void image_store_free(struct image_store *store);
typedef struct image_store image_store_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(image_store_t, image_store_free)

/* GET of the record (nova.image.glance show). Returns 0, or -1 with IMAGE_ERROR_NOT_FOUND, ... */
int image_store_get(struct image_store *store, const struct image_identity *who, const char *id,
		    struct image_record **ret_record, GError **error);

/* PATCH of the record: what differs is replaced or added, nothing is purged (nova's update with
 * purge_props=False). In a directory store a record that does not exist is made. */
int image_store_update(struct image_store *store, const struct image_identity *who, const char *id,
		       const struct image_meta *meta, GError **error);

/*
 * Sends the source's bytes, from byte 0 at each try, until the image is active, and checks what the
 * store says of size and hash. Never two PUTs at once: before a retry the image is looked at. An
 * image that differs is an error (the caller deletes it). Returns 0 or -1.
 */
int image_store_upload(struct image_store *store, const struct image_identity *who, const char *id,
		       struct image_upload *upload, GError **error);

/* A property that an image must have to be listed. */
struct image_property {
	const char *name;
	const char *value;
};
/* All images with these properties (`wanted` ends with a NULL name): an array of struct
 * image_record, the caller's to unref, in no order. NULL with an error. */
GPtrArray *image_store_list(struct image_store *store, const struct image_identity *who,
			    const struct image_property *wanted, GError **error);

/* DELETE of the image. An image that is not there is IMAGE_ERROR_NOT_FOUND. */
int image_store_delete(struct image_store *store, const struct image_identity *who, const char *id,
		       GError **error);

/* Makes a record that waits for data, as nova-api does before it casts; for whoever sends a cast
 * without a nova. Returns its id, which the caller frees, or NULL. */
char *image_store_create(struct image_store *store, const struct image_identity *who,
			 const char *name, GError **error);

/* Whether Keystone gives this user a token. 0 or -1. */
int image_check_keystone(const struct keystone_config *user, const struct image_config *config,
			 GError **error);

/* Where the store is, for messages and `image_ref_url`: "http://127.0.0.1:9292" or a folder; the
 * first of several servers; NULL when it is not known yet. The caller frees it. */
char *image_store_location(struct image_store *store);

#endif
