/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public interface of image/: uploads an image source to an image store (Glance or a
 * directory), and hashes the data.
 *
 * Several threads may use one store at the same time. Each call blocks until it has succeeded,
 * failed or noticed its cancel flag. The other public headers are source.h and cinder.h.
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

/* The codes of IMAGE_ERROR. Numbers in parentheses are HTTP status codes. */
enum image_error {
	IMAGE_ERROR_FAILED,	 /* any other failure; the message describes it */
	IMAGE_ERROR_NOT_FOUND,	 /* the image does not exist (404) */
	IMAGE_ERROR_GONE,	 /* the image was deleted during its upload (404 or 410 on PUT) */
	IMAGE_ERROR_AUTH,	 /* 401 even with novasnap's own token, or an error of Keystone */
	IMAGE_ERROR_FORBIDDEN,	 /* the identity may not do this (403) */
	IMAGE_ERROR_CONFLICT,	 /* the image is in a state that accepts no data (409) */
	IMAGE_ERROR_TOO_LARGE,	 /* over a quota or image_size_cap (413), or the disk is full */
	IMAGE_ERROR_FORMAT,	 /* the data does not fit the image's disk_format (415) */
	IMAGE_ERROR_UNAVAILABLE, /* no answer, 429 or 5xx from each server, after all retries */
	IMAGE_ERROR_MISMATCH,	 /* size or hash in the store differ from the data sent */
	IMAGE_ERROR_CANCELLED,	 /* the cancel flag was set */
	IMAGE_ERROR_CONFIG,	 /* the configuration is invalid */
};

/* How a Keystone user proves its identity: keystoneauth's auth_type. */
enum keystone_method {
	KEYSTONE_NONE,			 /* there is no user */
	KEYSTONE_PASSWORD,		 /* password, v3password */
	KEYSTONE_APPLICATION_CREDENTIAL, /* v3applicationcredential */
	KEYSTONE_TOKEN,			 /* token, v3token */
};

/*
 * One of novasnap's Keystone users. The names are those of keystoneauth's options. Strings may be
 * NULL. Of an ID and a name, the ID counts.
 */
struct keystone_config {
	enum keystone_method method;
	const char *section;  /* the section that the credential is from, for messages */
	const char *auth_url; /* with or without "/v3" at its end */
	const char *username;
	const char *user_id;
	const char *password;
	const char *user_domain_name;
	const char *user_domain_id;
	const char *token; /* of KEYSTONE_TOKEN */
	const char *application_credential_id;
	const char *application_credential_name; /* with the user that owns it */
	const char *application_credential_secret;
	/* The scope of the token: at most one of project, domain and trust, or else the system.
	 * None: the token is unscoped, or has the scope of the application credential. */
	const char *project_name;
	const char *project_id;
	const char *project_domain_name;
	const char *project_domain_id;
	const char *domain_id;
	const char *domain_name;
	const char *trust_id;
	const char *system_scope;
	const char *cafile;   /* PEM; NULL: the system's certificate authorities */
	const char *certfile; /* PEM, the client certificate */
	const char *keyfile;
	bool insecure; /* do not verify the server's certificate */
};

/* How to connect to the image store. The caller owns all strings, which must outlive the store. */
struct image_config {
	bool directory;		/* [novasnap]images is "directory" */
	const char *images_dir; /* absolute path of the directory store */
	/* [glance]api_servers, NULL-terminated; NULL or empty: not set */
	const char *const *api_servers;
	/* [glance]endpoint_override; used if there are no api_servers. */
	const char *endpoint_override;
	const char *region_name; /* [glance]region_name; NULL: any region */
	/* [glance]valid_interfaces, NULL-terminated; NULL or empty: internal, then public. */
	const char *const *valid_interfaces;
	unsigned num_retries; /* [glance]num_retries: number of retries of a failed request */
	const char *cafile;   /* [glance]cafile; NULL: the system's certificate authorities */
	const char *certfile;
	const char *keyfile;
	bool insecure;		    /* [glance]insecure: do not verify certificates */
	unsigned connect_timeout_s; /* seconds to establish a TCP or TLS connection */
	unsigned request_timeout_s; /* seconds for a complete request that is not an upload */
	unsigned stall_timeout_s;   /* an upload fails after this many seconds without progress */
	unsigned saving_timeout_s;  /* for how many seconds to wait for an image that is `saving` */
	struct keystone_config auth; /* [keystone_authtoken]: novasnap's token, and the catalogue */
	struct keystone_config service;	  /* [service_user] */
	bool send_service_user_token;	  /* [service_user]send_service_user_token */
	unsigned upload_bytes_per_second; /* limit of all uploads together; 0: no limit */
	/* How much an upload reads before it is sent, in MiB; this is its memory, too. 0: 8. */
	unsigned read_ahead_mib;
};

/* The user for whom a request is made. From the cast's context. */
struct image_identity {
	const char *token; /* the user's token; NULL: use novasnap's token */
	/* "req-<uuid>", sent as X-OpenStack-Request-ID; NULL: each request has its own. */
	const char *request_id;
	/* For a Glance without Keystone, sent as nova.image.glance.generate_identity_headers does.
	 * Each may be NULL. */
	const char *user_id;
	const char *project_id;
	const char *const *roles; /* NULL-terminated */
};

/* The values that nova writes to an image's record before it sends the data. */
struct image_meta {
	const char *name;	      /* NULL: leave unchanged */
	const char *disk_format;      /* raw, qcow2, vmdk, vdi, ami */
	const char *container_format; /* bare, ami, ... */
	const char *visibility;	      /* NULL: leave unchanged */
	const cJSON *properties;      /* object of strings, owned by the caller; may be NULL */
};

/* The record of an image in the store. */
struct image_record {
	char *id;
	char *name;   /* may be NULL */
	char *status; /* queued, saving, active, killed, deleted, ... */
	char *disk_format;
	char *container_format;
	char *os_hash_algo;  /* hashlib's name; NULL until the image is active */
	char *os_hash_value; /* hex */
	char *created_at;    /* ISO 8601; NULL: the store did not report it */
	int64_t size;	     /* bytes; -1: unknown */
	cJSON *document;     /* the complete record, which includes the image's properties */
};
/* Frees the record and its members. Accepts NULL. */
void image_record_free(struct image_record *record);
typedef struct image_record image_record_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(image_record_t, image_record_free)

/* Describes the complete data of an image. */
struct image_checksum {
	const char *hash_name; /* Glance's name of the hash algorithm */
	const char *hash;      /* hex */
	uint64_t size;	       /* bytes */
};

/* Enough for 512 bits in hex with a terminating NUL. */
#define IMAGE_HASH_TEXT_SIZE 129

/* An upload: its source, its callbacks and its result. */
struct image_upload {
	struct image_source *source; /* owned by the caller */
	const atomic_int *cancel;    /* checked at least once a second; may be NULL */
	/* Reports how many of `total` bytes the store has accepted; 0 when an attempt starts.
	 * Called by threads of the upload; must return quickly. May be NULL. */
	void (*progress)(void *opaque, uint64_t sent, uint64_t total);
	/* The source is about to be read from its first byte. Called for each attempt. May be
	 * NULL. */
	void (*begin)(void *opaque);
	/* Reports the checksum of the image. Called by the reading thread of each attempt, after it
	 * has hashed all bytes and before the last of them can be sent. -1 with an error fails the
	 * upload: then the store does not get all bytes. May be NULL. */
	int (*checksum)(void *opaque, const struct image_checksum *checksum, GError **error);
	/* All bytes were sent, and the store is asked again whether it has them; `why`: its last
	 * answer. Called before each pause. May be NULL. */
	void (*finishing)(void *opaque, const char *why);
	void *opaque; /* passed to all callbacks */
	/* Glance's name of the hash algorithm; NULL or unknown to OpenSSL: "sha512". */
	const char *hash_algo;
	bool resuming; /* an earlier upload may have sent this data: check the image before sending
			*/
	bool late;     /* an earlier process's upload of other data may still arrive */
	/* Set by image_store_upload. */
	char hash[IMAGE_HASH_TEXT_SIZE]; /* hex; "" if unknown */
	const char *hash_name;		 /* the hash algorithm that was used */
	uint64_t sent;			 /* bytes, valid after success */
	unsigned attempts;		 /* number of attempts that were started */
	bool verified;			 /* after success: the record was compared with the data */
	bool may_be_complete;		 /* after a failure: the store may have all data */
	/* Private to the store. */
	unsigned read_ahead_mib; /* from the configuration; 0: 8 */
	struct rate_limit *rate_limit;
};

/*
 * Compares the record of an image with the data that was sent: the status must be `active`, and
 * size and hash must match. If the store uses another hash algorithm, only the size is compared,
 * and a message is logged. Returns 0, or -1 with IMAGE_ERROR_MISMATCH.
 */
int image_record_verify(const struct image_record *record, const struct image_checksum *checksum,
			GError **error);

struct image_store;

/*
 * Opens the configured store. This contacts no server; for a directory store it creates the folder.
 * `config` must outlive the store. Free the store with image_store_free(). Returns NULL with
 * IMAGE_ERROR_CONFIG.
 */
struct image_store *image_store_new(const struct image_config *config, GError **error);
/* The caller must ensure that no call on the store is in progress. Accepts NULL. */
void image_store_free(struct image_store *store);
typedef struct image_store image_store_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(image_store_t, image_store_free)

/*
 * In the following functions, `identity` is the user for whom the request is made, and `id` is the
 * UUID of an image; any other text fails with IMAGE_ERROR_FAILED. They return IMAGE_ERROR codes.
 * Requests to Glance are repeated num_retries times, each time at the next server, as
 * nova.image.glance.GlanceClientWrapper.call does.
 */

/*
 * Reads the record of an image (nova.image.glance.GlanceImageServiceV2.show). The caller frees
 * `*ret_record` with image_record_free(). Returns 0, or -1 with IMAGE_ERROR_NOT_FOUND or another
 * code.
 */
int image_store_get(struct image_store *store, const struct image_identity *identity,
		    const char *id, struct image_record **ret_record, GError **error);

/*
 * Changes the record of an image to the values in `meta`, and removes nothing
 * (nova.image.glance.GlanceImageServiceV2.update with purge_props=False). A directory store creates
 * a missing record. Returns 0 or -1.
 */
int image_store_update(struct image_store *store, const struct image_identity *identity,
		       const char *id, const struct image_meta *meta, GError **error);

/*
 * Uploads the source. Returns 0 once the store has confirmed that it has all data; unless
 * `upload->verified` is set, the caller then compares the image's record with the data by
 * image_record_verify(). Each attempt starts at byte 0. After an attempt without a confirmation the
 * image's record is checked, so that two uploads never run at the same time, a complete image is
 * not sent again. If all data was sent, the record is asked for saving_timeout_s while the store
 * does not answer or the image is still `saving`; if it is then still unknown whether the image is
 * complete, the upload fails with `upload->may_be_complete`. An image that does not match is not
 * deleted; that is left to the caller. Returns 0 or
 * -1; errors of the source and of the callbacks keep their domain.
 */
int image_store_upload(struct image_store *store, const struct image_identity *identity,
		       const char *id, struct image_upload *upload, GError **error);

/*
 * Returns the URLs of the image's locations, as far as the record shows them: `locations`, then
 * `direct_url`. Those in Glance's store `preferred` come first (NULL: none is preferred). The
 * caller frees the NULL-terminated array with g_strfreev().
 */
char **image_record_locations(const struct image_record *record, const char *preferred);

/*
 * Compares the record of an image with the data of `size` bytes at the location `url`: the status
 * must be `active`, the size must match, and the location must be one of those that the record
 * shows, if it shows any. A hash is not compared: the store computes it later, or not at all.
 * Returns 0, or -1 with IMAGE_ERROR_MISMATCH.
 */
int image_record_verify_location(const struct image_record *record, const char *url, uint64_t size,
				 GError **error);

/* Whether the image has the location, or may have it because Glance does not show all of its
 * locations; then *ret_is_certain is false. */
bool image_record_may_have_location(const struct image_record *record, const char *url,
				    bool *ret_is_certain);

/* Whether Glance still imports a location into an image that is `queued`, so that the image may get
 * it. */
bool image_record_is_importing(const struct image_record *record);

enum image_location_result {
	IMAGE_LOCATION_ADDED,	/* the store has it, and the image is active */
	IMAGE_LOCATION_REFUSED, /* the store takes no such location: the data can be uploaded */
	IMAGE_LOCATION_FAILED,	/* any other error; the store does not have it */
	IMAGE_LOCATION_UNKNOWN, /* the store may have it: ask image_store_has_location */
};
/*
 * Gives the store the location of complete data, instead of the data
 * (nova.image.glance.GlanceImageServiceV2._add_location of nova 34): POST /v2/images/ID/locations,
 * which Glance 2024.2 and later has for users with the role service, also by a service token. If
 * that is answered 403, 404, 405 or 501, a PATCH that adds to the image's `locations`, which Glance
 * takes if its show_multiple_locations is on. Waits until the image is active, at most
 * saving_timeout_s. A request that may have arrived is never sent twice. Sets an error unless the
 * location was added. A directory store refuses.
 */
enum image_location_result image_store_add_location(struct image_store *store,
						    const struct image_identity *identity,
						    const char *id, const char *url,
						    const atomic_int *cancel, GError **error);

/* How long a refusal is remembered, in seconds. */
#define IMAGE_LOCATIONS_REFUSED_S 3600
/* Whether it makes sense to prepare a location: the store is no directory, and has not refused one
 * in the last hour (IMAGE_LOCATIONS_REFUSED_S). */
bool image_store_takes_locations(struct image_store *store);

enum image_location_answer {
	IMAGE_LOCATION_USED,	  /* the image has this location, or may have it */
	IMAGE_LOCATION_UNUSED,	  /* the image waits for data, has other data or was deleted */
	IMAGE_LOCATION_NOT_KNOWN, /* the store did not answer, or hides it; with an error */
};
/*
 * Asks whether the image has the location. A store that does not show the locations of an image
 * with data may have this one. The request of image_store_add_location, if it was not answered, may
 * still arrive after an IMAGE_LOCATION_UNUSED of an image that waits for data.
 */
enum image_location_answer image_store_has_location(struct image_store *store,
						    const struct image_identity *identity,
						    const char *id, const char *url,
						    GError **error);

/* A property by which images are selected. */
struct image_property {
	const char *name;
	const char *value;
};
/*
 * Lists the images that have all of these properties. `wanted` is terminated by an entry whose name
 * is NULL. Returns an unordered array of struct image_record, which the caller frees with
 * g_ptr_array_unref(), or NULL with an error.
 */
GPtrArray *image_store_list(struct image_store *store, const struct image_identity *identity,
			    const struct image_property *wanted, GError **error);

/* Deletes an image and its data. Returns 0, or -1 with IMAGE_ERROR_NOT_FOUND or another code. */
int image_store_delete(struct image_store *store, const struct image_identity *identity,
		       const char *id, GError **error);

/*
 * Creates a `queued` record, as nova-api does before it sends a cast; for commands that send a cast
 * themselves. Returns the id, which the caller frees with g_free(), or NULL with an error.
 */
char *image_store_create(struct image_store *store, const struct image_identity *identity,
			 const char *name, GError **error);

/*
 * Checks that Keystone issues a token for `user`. `config` provides the timeouts. Returns 0, or -1
 * with IMAGE_ERROR_CONFIG if the user is not configured, or another code.
 */
int image_check_keystone(const struct keystone_config *user, const struct image_config *config,
			 GError **error);

/* Describes the credential without its secret: "user nova, project service". The caller frees it
 * with g_free(). "": the user is not configured. */
char *image_keystone_describe(const struct keystone_config *user);

/*
 * Returns the store's location, for messages and `image_ref_url`: the URL of the first Glance
 * server ("http://127.0.0.1:9292") or the path of the folder. Queries Keystone if the URL comes
 * from its catalogue. The caller frees the text with g_free(). NULL: unknown.
 */
char *image_store_location(struct image_store *store);

/* Whether the store has answered the last request; -1: there was none, or the store is a folder.
 * Any thread. */
int image_store_answered(struct image_store *store);
/* Whether Keystone has granted the last tokens for the store; -1: it was not asked. Any thread. */
int image_store_has_tokens(struct image_store *store);

#endif
