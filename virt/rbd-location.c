/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The location of an image in Ceph.
 */
#include "virt/rbd-location.h"

#include <string.h>

#define PREFIX "rbd://"
#define PIECES 4

static char *decode(char **pieces, guint at)
{
	return g_uri_unescape_string(pieces[at], NULL);
}

static bool is_set(const char *piece)
{
	return piece && *piece;
}

bool rbd_location_parse(const char *url, struct rbd_location *ret_location)
{
	g_auto(GStrv) pieces = NULL;

	*ret_location = (struct rbd_location){0};
	if (!g_str_has_prefix(url, PREFIX))
		return false;
	pieces = g_strsplit(url + strlen(PREFIX), "/", -1);
	if (g_strv_length(pieces) != PIECES)
		return false;
	*ret_location = (struct rbd_location){decode(pieces, 0), decode(pieces, 1),
					      decode(pieces, 2), decode(pieces, 3)};
	return is_set(ret_location->fsid) && is_set(ret_location->pool) &&
	       is_set(ret_location->image) && is_set(ret_location->snap);
}

void rbd_location_clear(struct rbd_location *location)
{
	g_clear_pointer(&location->fsid, g_free);
	g_clear_pointer(&location->pool, g_free);
	g_clear_pointer(&location->image, g_free);
	g_clear_pointer(&location->snap, g_free);
}

char *rbd_location_format(const char *fsid, const char *pool, const char *image, const char *snap)
{
	g_autofree char *safe_fsid = g_uri_escape_string(fsid, NULL, FALSE);
	g_autofree char *safe_pool = g_uri_escape_string(pool, NULL, FALSE);
	g_autofree char *safe_image = g_uri_escape_string(image, NULL, FALSE);
	g_autofree char *safe_snap = g_uri_escape_string(snap, NULL, FALSE);

	return g_strdup_printf(PREFIX "%s/%s/%s/%s", safe_fsid, safe_pool, safe_image, safe_snap);
}
