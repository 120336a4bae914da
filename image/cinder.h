/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What nova-compute has to say to Cinder about the snapshots of volumes (nova.volume.cinder).
 * Used by many threads at once; each call blocks for as long as an HTTP request may.
 */
#ifndef NOVASNAP_IMAGE_VOLUME_H
#define NOVASNAP_IMAGE_VOLUME_H

#include "image/image.h"

/* All strings belong to the caller and live as long as the service. */
struct cinder_config {
	/* [cinder]endpoint_template: http://host:8776/v3/%(project_id)s; NULL: Keystone's catalogue
	 */
	const char *endpoint_template;
	const char *region_name;  /* [cinder]os_region_name; NULL: any */
	const char *catalog_info; /* [cinder]catalog_info: type:name:interface */
	const char *cafile;	  /* of [cinder] */
	const char *certfile;
	const char *keyfile;
	bool insecure;
};

struct cinder_service;
/* NULL where neither a template nor a user of ours in Keystone is configured: there is no Cinder.
 * Both configurations must outlive it. */
struct cinder_service *cinder_service_new(const struct cinder_config *config,
					  const struct image_config *common);
void cinder_service_free(struct cinder_service *service);

/* The status of a snapshot ("creating", "available", ...); the caller frees it. NULL with an
 * IMAGE_ERROR. */
char *cinder_snapshot_status(struct cinder_service *service, const struct image_identity *who,
			     const char *snapshot, GError **error);
/* os-update_snapshot_status with 90 % done, as nova.volume.cinder.update_snapshot_status. */
int cinder_snapshot_update(struct cinder_service *service, const struct image_identity *who,
			   const char *snapshot, const char *status, GError **error);

#endif
