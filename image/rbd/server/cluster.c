/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection to a cluster, its pools and images.
 */
#include "image/rbd/server/cluster.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "image/rbd/server/failure.h"

#define FSID_SIZE 64
#define OPTION_SIZE 4096

static int set_config_error(GError **error, const char *what, int rc)
{
	g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_CONFIG, "%s: %s", what,
		    g_strerror(-rc));
	return -1;
}

/* Returns where no keyring can be read, which the caller frees; NULL if one can be. */
static char *describe_keyring(struct server *server)
{
	g_autoptr(GString) names = g_string_new(NULL);
	char paths[OPTION_SIZE] = "";
	g_auto(GStrv) each = NULL;

	if (rados_conf_get(server->cluster, "keyring", paths, sizeof(paths)) < 0 || !*paths)
		return NULL;
	each = g_strsplit_set(paths, ",; ", -1);
	for (char **path = each; *path; path++) {
		if (**path && access(*path, R_OK) == 0)
			return NULL;
		if (**path)
			g_string_append_printf(names, "%s%s", names->len ? ", " : "", *path);
	}
	return g_strdup_printf("no keyring of client.%s can be read at %s", server->user,
			       names->str);
}

/* rados_connect() has failed. */
static int set_connect_error(struct server *server, int rc, GError **error)
{
	g_autofree char *keyring = describe_keyring(server);

	if (keyring && rc != -ETIMEDOUT)
		g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_CONFIG,
			    "%s (%s): put it there, readable for novasnapd's user", keyring,
			    g_strerror(-rc));
	else if (rc == -EACCES || rc == -EPERM)
		g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DENIED,
			    "the cluster refuses client.%s (%s): compare its key with that of "
			    "\"ceph auth get client.%s\"",
			    server->user, g_strerror(-rc), server->user);
	else if (rc == -ETIMEDOUT)
		g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_TIMEOUT,
			    "no monitor has answered within %u s; check \"mon host\" in ceph.conf, "
			    "and the cluster (ceph status)",
			    server->timeout_s);
	else
		return set_config_error(error, "the monitors of ceph.conf cannot be reached", rc);
	return -1;
}

static int set_options(struct server *server, GError **error)
{
	g_autofree char *seconds = g_strdup_printf("%u", server->timeout_s);
	const char *const options[][2] = {
		/* A cluster that is down is an error, and not a wait without end. */
		{"client_mount_timeout", seconds},
		{"rados_mon_op_timeout", seconds},
		{"rados_osd_op_timeout", seconds},
		/* The files of another process on this host. */
		{"log_file", ""},
		{"admin_socket", ""},
		/* Each byte is read once. */
		{"rbd_cache", "false"},
		/* Reading a clone must not write to it. */
		{"rbd_clone_copy_on_read", "false"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
		int rc = rados_conf_set(server->cluster, options[i][0], options[i][1]);

		if (rc < 0)
			return set_config_error(error, options[i][0], rc);
	}
	return 0;
}

static int read_configuration(struct server *server, const char *conf, GError **error)
{
	int rc = rados_conf_read_file(server->cluster, conf);
	g_autofree char *what =
		g_strdup_printf("reading %s", conf ? conf : "ceph.conf (/etc/ceph/ceph.conf)");

	return rc < 0 ? set_config_error(error, what, rc) : set_options(server, error);
}

int cluster_connect(struct server *server, const cJSON *request, cJSON *answer, GError **error)
{
	const char *user = rbd_frame_string(request, "user");
	char fsid[FSID_SIZE];
	uint64_t timeout_s;
	int rc;

	if (server->cluster || !user || !*user ||
	    !rbd_frame_number(request, "timeout_s", G_MAXINT32, &timeout_s))
		return failure_set_request(error);
	server->user = g_strdup(user);
	server->timeout_s = (unsigned)MAX(timeout_s, 1);
	rc = rados_create(&server->cluster, user);
	if (rc < 0)
		return set_config_error(error, "initializing librados", rc);
	if (read_configuration(server, rbd_frame_string(request, "conf"), error) < 0)
		return -1;
	rc = rados_connect(server->cluster);
	if (rc < 0)
		return set_connect_error(server, rc, error);
	rc = rados_cluster_fsid(server->cluster, fsid, sizeof(fsid));
	if (rc < 0)
		return failure_set(server, error, rc, NULL, "the id of the cluster");
	(void)cJSON_AddStringToObject(answer, "fsid", fsid);
	return 0;
}

void cluster_disconnect(struct server *server)
{
	if (server->cluster)
		rados_shutdown(server->cluster);
	server->cluster = NULL;
	g_free(server->user);
}

int cluster_pool_open(struct server *server, const char *pool, rados_ioctx_t *ret_io,
		      GError **error)
{
	int rc = rados_ioctx_create(server->cluster, pool, ret_io);
	g_autofree char *object = NULL;

	if (rc == 0) {
		/* With a full pool, writing fails at once. */
		rados_set_pool_full_try(*ret_io);
		return 0;
	}
	*ret_io = NULL;
	object = g_strdup_printf("the pool %s", pool);
	return failure_set(server, error, rc, pool, object);
}

static bool is_name(const char *text)
{
	return text && *text && strlen(text) <= RBD_NAME_MAX;
}

int cluster_image_open(struct server *server, const cJSON *request, enum cluster_open how,
		       struct cluster_image *ret_image, GError **error)
{
	struct cluster_image *image = ret_image;
	int rc = 0;

	*image = (struct cluster_image){
		.pool = rbd_frame_string(request, "pool"),
		.name = rbd_frame_string(request, "image"),
		.snap = rbd_frame_string(request, "snap"),
	};
	if (!server->cluster || !is_name(image->pool) || !is_name(image->name) ||
	    (cJSON_HasObjectItem(request, "snap") && !is_name(image->snap)))
		return failure_set_request(error);
	image->title = image->snap ? g_strdup_printf("the snapshot %s/%s@%s", image->pool,
						     image->name, image->snap)
				   : g_strdup_printf("the image %s/%s", image->pool, image->name);
	if (cluster_pool_open(server, image->pool, &image->io, error) < 0)
		return -1;
	if (how == CLUSTER_OPEN_READ)
		rc = rbd_open_read_only(image->io, image->name, &image->image, image->snap);
	else if (how == CLUSTER_OPEN_CHANGE)
		rc = rbd_open(image->io, image->name, &image->image, NULL);
	if (rc == 0)
		return 0;
	image->image = NULL;
	return failure_set(server, error, rc, image->pool, image->title);
}

void cluster_image_close(struct cluster_image *image)
{
	if (image->image)
		(void)rbd_close(image->image);
	if (image->io)
		rados_ioctx_destroy(image->io);
	g_free(image->title);
	*image = (struct cluster_image){0};
}
