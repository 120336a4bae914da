/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client of Cinder's v3 API for the requests that nova-compute makes about the snapshots of
 * volumes (nova.volume.cinder). This is a public header of image/: agent/ uses it for
 * volume_snapshot_create, volume_snapshot_delete and quiesced instances. Many threads may use one
 * service; each call blocks for as long as an HTTP request may take.
 */
#ifndef NOVASNAP_IMAGE_CINDER_H
#define NOVASNAP_IMAGE_CINDER_H

#include "image/image.h"

/* How to reach Cinder. The caller owns all strings and keeps them as long as the service. */
struct cinder_config {
	const char *endpoint_template; /* [cinder]endpoint_template, in which %(project_id)s and
					  %(tenant_id)s are replaced; NULL: use the catalogue */
	const char *region_name;       /* [cinder]os_region_name; NULL: any region */
	const char *catalog_info;      /* [cinder]catalog_info, "type:name:interface" */
	const char *cafile;	       /* [cinder]cafile; NULL: the system's authorities */
	const char *certfile;
	const char *keyfile;
	bool insecure; /* [cinder]insecure: do not verify certificates */
};

struct cinder_service;

/*
 * Creates a service. `common` provides the timeouts and our Keystone users; both arguments must
 * outlive the service. Returns NULL without an error if there is no way to Cinder: neither an
 * endpoint_template nor a user in [keystone_authtoken] is configured.
 */
struct cinder_service *cinder_service_new(const struct cinder_config *config,
					  const struct image_config *common);
/* Accepts NULL. */
void cinder_service_free(struct cinder_service *service);

/*
 * Reads the status of the snapshot of a volume ("creating", "available", ...). `snapshot` is its
 * UUID. The caller frees the text with g_free(). Returns NULL with an IMAGE_ERROR as for requests
 * to Glance.
 */
char *cinder_snapshot_status(struct cinder_service *service, const struct image_identity *identity,
			     const char *snapshot, GError **error);

/*
 * Reports a status with a progress of 90 % (nova.volume.cinder.API.update_snapshot_status).
 * `snapshot` is the UUID of the snapshot of a volume. Returns 0, or -1 with an IMAGE_ERROR as for
 * requests to Glance.
 */
int cinder_snapshot_update(struct cinder_service *service, const struct image_identity *identity,
			   const char *snapshot, const char *status, GError **error);

#endif
