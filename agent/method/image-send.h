/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sends a snapshot's data to the image store.
 */
#ifndef NOVASNAP_AGENT_METHOD_IMAGE_SEND_H
#define NOVASNAP_AGENT_METHOD_IMAGE_SEND_H

#include "agent/method/abort-monitor.h"
#include "agent/method/image-metadata.h"

struct image_sending {
	struct task *task;
	struct abort_monitor *monitor;
	struct snapshot *snapshot; /* of which the data is */
	const struct image_base *base;
	const char *name;
	const char *hash_algo; /* NULL: the default */
};

/* Uploads the source to an image whose record is complete. The abort monitor watches the guest from
 * the first byte that is read to the last one. Steps and the task's state say how far the upload
 * is. Returns 0 once the store has confirmed the image, or -1 with an error. */
int image_send(const struct image_sending *sending, struct image_source *source, GError **error);

#endif
