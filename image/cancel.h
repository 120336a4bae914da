/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cancel flags. The owner of a flag sets it to a value other than 0 to end the work early. A NULL
 * flag is never set.
 */
#ifndef NOVASNAP_IMAGE_CANCEL_H
#define NOVASNAP_IMAGE_CANCEL_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>

bool image_cancel_is_set(const atomic_int *cancel);

/* Sleeps for `seconds`. Returns false as soon as the flag is set, else true. */
bool image_cancel_sleep(const atomic_int *cancel, unsigned seconds);

/*
 * For image sources. Returns 0, or if the flag is set -1 with IMAGE_SOURCE_ERROR_CANCELLED, whose
 * message says that `action` was cancelled.
 */
int image_cancel_check(const atomic_int *cancel, const char *action, GError **error);

#endif
