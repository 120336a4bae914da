/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state of a recovered job's image, from the image store.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_IMAGE_H
#define NOVASNAP_AGENT_RECOVERY_IMAGE_H

#include "agent/task/task.h"

enum image_standing {
	IMAGE_WAITS,	/* waits for data, or has no record yet (directory store) */
	IMAGE_COMPLETE, /* active, and equal to what an earlier process sent */
	IMAGE_UNUSABLE, /* deleted, or known to be incomplete or different */
	IMAGE_UNKNOWN,	/* the store did not answer, or the image may be incomplete */
};

/* Queries the store. Retries for up to a day while the store does not answer, and while it still
 * waits for data of the earlier process: for a multiple of [novasnap]saving_timeout or, if all data
 * may have been sent, for [novasnap]finishing_timeout. In the latter case it also retries so long
 * if the store answers with an error. Stops retrying when novasnapd stops or, unless the image is
 * complete according to the store, when the job is cancelled. Sets an error for IMAGE_UNUSABLE and
 * IMAGE_UNKNOWN. */
enum image_standing recovery_ask_image(struct task *task, GError **error);

#endif
