/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Explains why Glance has refused an upload.
 */
#include "image/store/glance-refusal.h"

#include "image/store/glance-image.h"

/* Glance answers 409 also if the image was deleted just before the upload. */
static void explain_conflict(GError *lookup, GError **error)
{
	GError *explained;

	if (!g_error_matches(lookup, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
		return;
	explained = g_error_new(IMAGE_ERROR, IMAGE_ERROR_GONE, "%s: %s", (*error)->message,
				lookup->message);
	g_clear_error(error);
	*error = explained;
}

/* Glance 30 and later inspects what it has stored (glance.location.ImageProxy.set_data), and
 * refuses a raw disk to which the guest has written the header of another format. The text of its
 * answer only says that it does not support the media type. */
static void explain_format(const struct image_record *record, GError **error)
{
	const char *format = record->disk_format ? record->disk_format : "unknown";
	const char *advice = "see Glance's log, and [image_format] in its configuration";
	GError *explained;

	if (g_str_equal(format, "raw"))
		advice = "the guest's disk looks like another format; with "
			 "[libvirt]snapshot_image_format = qcow2 it is sent within a qcow2 image";
	explained = g_error_new((*error)->domain, (*error)->code,
				"%s; this means the format of the data; the image's disk_format is "
				"%s: %s",
				(*error)->message, format, advice);
	g_clear_error(error);
	*error = explained;
}

void glance_refusal_explain(struct glance_client *client, const struct image_identity *identity,
			    const char *id, GError **error)
{
	bool conflict = g_error_matches(*error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT);
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) lookup = NULL;

	if (!conflict && !g_error_matches(*error, IMAGE_ERROR, IMAGE_ERROR_FORMAT))
		return;
	(void)glance_image_get(client, identity, id, &record, &lookup);
	if (conflict && lookup)
		explain_conflict(lookup, error);
	else if (!conflict && record)
		explain_format(record, error);
}
