/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What has become of the image of a recovered job, asked of the image store.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_IMAGE_H
#define NOVASNAP_AGENT_RECOVERY_IMAGE_H

#include "agent/task/task.h"

enum image_standing {
	IMAGE_WAITS,	/* for data, or a directory store has no record of it yet */
	IMAGE_COMPLETE, /* it is active, and is what an earlier process sent */
	IMAGE_UNKNOWN,	/* the store did not answer, or what it has is not known to be complete */
};

/* Asks the store, again for up to a day while it does not answer, and for a multiple of
 * [novasnap]saving_timeout while it has not noticed that nobody sends data any more; not once
 * novasnapd stops or, unless the image is kept, the job is cancelled. Sets an error for
 * IMAGE_UNKNOWN. */
enum image_standing recovery_ask_image(struct task *task, GError **error);

#endif
