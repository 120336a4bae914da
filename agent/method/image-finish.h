/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of an upload: the image store has all data, and its image is verified.
 */
#ifndef NOVASNAP_AGENT_IMAGE_FINISH_H
#define NOVASNAP_AGENT_IMAGE_FINISH_H

#include "agent/task/task.h"

/* Compares the record of a stored image with the data that was sent, and keeps the image. Does
 * nothing if it is kept already. While the store does not answer, or shows the image as not active
 * yet, it is asked again for [novasnap]finishing_timeout; an image that then is not verified still
 * counts as complete, because the store has confirmed it. `is_last`: the task does nothing else
 * afterwards, so other jobs of the instance do not wait while it is asked again. Returns 0, or -1
 * with IMAGE_ERROR_MISMATCH, IMAGE_ERROR_NOT_FOUND if the image was deleted, or
 * IMAGE_ERROR_UNAVAILABLE if novasnapd is stopping. */
int image_finish(struct task *task, bool is_last, GError **error);

enum image_confirmation {
	IMAGE_CONFIRM_FAILED = -1, /* an error is set; the image may be complete nevertheless */
	IMAGE_CONFIRM_EMPTY,	   /* the image waits for data again */
	IMAGE_CONFIRMED,	   /* it is stored and verified */
};

/* Finds out whether an image is complete of which all data was sent, without the store's
 * confirmation. Asks for [novasnap]finishing_timeout, while the store does not answer or the image
 * is still `saving`. The errors are those of image_finish, or that of a cancelled job. */
enum image_confirmation image_confirm(struct task *task, GError **error);

/* Reports that all data was sent and the store is asked for the image's state. `why`: its last
 * answer. Call it before each pause; it logs once in a while. */
void image_finish_report(struct task *task, const char *why);

#endif
