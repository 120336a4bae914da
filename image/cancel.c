/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cancel flags.
 */
#include "image/cancel.h"

#include "image/source.h"

#define CHECKS_PER_SECOND 10

bool image_cancel_is_set(const atomic_int *cancel)
{
	return cancel && atomic_load(cancel) != 0;
}

bool image_cancel_sleep(const atomic_int *cancel, unsigned seconds)
{
	for (unsigned i = 0; i < seconds * CHECKS_PER_SECOND; i++) {
		if (image_cancel_is_set(cancel))
			return false;
		g_usleep(G_USEC_PER_SEC / CHECKS_PER_SECOND);
	}
	return true;
}

int image_cancel_check(const atomic_int *cancel, const char *action, GError **error)
{
	if (!image_cancel_is_set(cancel))
		return 0;
	g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED, "%s was cancelled",
		    action);
	return -1;
}
