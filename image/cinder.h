/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client of Cinder's v3 API for nova-compute's requests about volume snapshots
 * (nova.volume.cinder). This is a public header of image/: agent/ uses it for
 * volume_snapshot_create, volume_snapshot_delete and quiesced instances. Several threads may use
 * one service. Each call blocks, at most for the time limit of an HTTP request.
 */
#ifndef NOVASNAP_IMAGE_CINDER_H
#define NOVASNAP_IMAGE_CINDER_H

#include "image/image.h"

/* How to connect to Cinder. The caller owns all strings, which must outlive the service. */
struct cinder_config {
	/* [cinder]endpoint_template; %(project_id)s and %(tenant_id)s in it are replaced; NULL: use
	 * the catalogue. */
	const char *endpoint_template;
	const char *region_name;  /* [cinder]os_region_name; NULL: any region */
	const char *catalog_info; /* [cinder]catalog_info, "type:name:interface" */
	const char *cafile;	  /* [cinder]cafile; NULL: the system's certificate authorities */
	const char *certfile;
	const char *keyfile;
	bool insecure; /* [cinder]insecure: do not verify certificates */
};

struct cinder_service;

/*
 * Creates a service. `common` provides the timeouts and novasnap's Keystone users; both arguments
 * must outlive the service. Returns NULL without an error if Cinder is not configured: there is
 * neither an endpoint_template nor a user in [keystone_authtoken].
 */
struct cinder_service *cinder_service_new(const struct cinder_config *config,
					  const struct image_config *common);
/* Accepts NULL. */
void cinder_service_free(struct cinder_service *service);

/*
 * Reads the status of a volume snapshot ("creating", "available", ...). `snapshot` is its UUID. The
 * caller frees the text with g_free(). Returns NULL with an IMAGE_ERROR as for requests to Glance.
 */
char *cinder_snapshot_status(struct cinder_service *service, const struct image_identity *identity,
			     const char *snapshot, GError **error);

/*
 * Reports a status, with a progress of 90 % (nova.volume.cinder.API.update_snapshot_status).
 * `snapshot` is the UUID of a volume snapshot. Returns 0, or -1 with an IMAGE_ERROR as for requests
 * to Glance.
 */
int cinder_snapshot_update(struct cinder_service *service, const struct image_identity *identity,
			   const char *snapshot, const char *status, GError **error);

#endif
