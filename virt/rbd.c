/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ceph, as the configuration names it, with errors of virt/.
 */
#include "virt/rbd.h"

/* Ceph waits up to 30 s for a process that has died. */
#define CREATION_S 45
/* Between two snapshots of the same name that QEMU was asked for, which one of them made. */
#define SETTLE_US (2 * G_USEC_PER_SEC)

struct image_rbd_cluster virt_rbd_cluster(const struct virt_config *config, const char *conf,
					  const char *user)
{
	return (struct image_rbd_cluster){
		.program = config->rbd_program,
		.conf = conf ? conf : config->rbd_conf,
		.user = user ? user : config->rbd_user,
		.timeout_s = config->rbd_timeout_s,
	};
}

static int virt_code(const GError *own)
{
	if (own->domain != IMAGE_RBD_ERROR)
		return g_error_matches(own, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED)
			       ? VIRT_ERROR_CANCELLED
			       : VIRT_ERROR_FAILED;
	switch (own->code) {
	case IMAGE_RBD_ERROR_NO_PROGRAM:
	case IMAGE_RBD_ERROR_CONFIG:
	case IMAGE_RBD_ERROR_DENIED:
		return VIRT_ERROR_CONFIG;
	case IMAGE_RBD_ERROR_BUSY:
		return VIRT_ERROR_BUSY;
	case IMAGE_RBD_ERROR_TIMEOUT:
		return VIRT_ERROR_TIMEOUT;
	case IMAGE_RBD_ERROR_CANCELLED:
		return VIRT_ERROR_CANCELLED;
	default:
		return VIRT_ERROR_FAILED;
	}
}

void virt_rbd_move_error(GError **error, GError *own)
{
	g_set_error_literal(error, VIRT_ERROR, virt_code(own), own->message);
	g_error_free(own);
}

struct image_rbd *virt_rbd_open(const struct image_rbd_cluster *cluster, const atomic_int *cancel,
				GError **error)
{
	GError *own = NULL;
	struct image_rbd *rbd = image_rbd_open(cluster, cancel, &own);

	if (!rbd)
		virt_rbd_move_error(error, own);
	return rbd;
}

int virt_rbd_exists(struct image_rbd *rbd, const char *pool, const char *image, const char *snap,
		    bool *ret_exists, GError **error)
{
	struct image_rbd_info info;
	GError *own = NULL;

	*ret_exists = image_rbd_info_read(rbd, pool, image, snap, &info, &own) == 0;
	if (*ret_exists) {
		image_rbd_info_clear(&info);
		return 0;
	}
	if (g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_NOT_FOUND)) {
		g_error_free(own);
		return 0;
	}
	virt_rbd_move_error(error, own);
	return -1;
}

static bool is_unknown(const GError *own)
{
	return g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_TIMEOUT) ||
	       g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DISCONNECTED) ||
	       g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_CANCELLED);
}

/* Waits until QEMU has done what a process that has died may have asked it for: it does that even
 * much later, for example once Ceph answers it again, or knows that the process has died. Another
 * request for the same snapshot waits in QEMU behind the first one, and is answered when it is
 * done. */
static int finish_creation(const struct image_rbd_cluster *cluster, const char *pool,
			   const char *image, const char *snap, GError **error)
{
	struct image_rbd_cluster patient = *cluster;
	g_autoptr(image_rbd_t) rbd = NULL;
	GError *own = NULL;

	patient.timeout_s = MAX(cluster->timeout_s, CREATION_S);
	rbd = virt_rbd_open(&patient, NULL, error);
	if (!rbd)
		return -1;
	if (image_rbd_snap_create(rbd, pool, image, snap, &own) < 0 && is_unknown(own)) {
		virt_rbd_move_error(error, own);
		return -1;
	}
	g_clear_error(&own);
	g_usleep(SETTLE_US);
	return 0;
}

int virt_rbd_snap_remove(struct image_rbd *rbd, const struct image_rbd_cluster *cluster,
			 const char *pool, const char *image, const char *snap, GError **error)
{
	GError *own = NULL;
	bool exists;

	if (virt_rbd_exists(rbd, pool, image, snap, &exists, error) < 0 ||
	    (!exists && finish_creation(cluster, pool, image, snap, error) < 0))
		return -1;
	/* Also if it seems not to exist: one that was made in a full pool cannot be opened. */
	if (image_rbd_snap_remove(rbd, pool, image, snap, &own) == 0)
		return 0;
	/* Who may not remove a snapshot has made none. */
	if (!exists && g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DENIED)) {
		g_error_free(own);
		return 0;
	}
	virt_rbd_move_error(error, own);
	return -1;
}
