/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A direct snapshot: the guest's disk is copied inside Ceph, and the image gets the copy's location
 * instead of its data (nova.virt.libvirt.driver.LibvirtDriver.snapshot with
 * imagebackend.Rbd.direct_snapshot).
 */
#ifndef NOVASNAP_AGENT_METHOD_IMAGE_DIRECT_H
#define NOVASNAP_AGENT_METHOD_IMAGE_DIRECT_H

#include "agent/method/image-send.h"

struct image_direct;

struct image_direct *image_direct_new(struct task *task);
/* The copy stays where it is. Accepts NULL. */
void image_direct_free(struct image_direct *direct);

enum image_direct_result {
	IMAGE_DIRECT_STORED,	   /* the store has confirmed that the image has the copy */
	IMAGE_DIRECT_NOT_POSSIBLE, /* nothing is left of it, and the image waits for its data */
	/* With TASK_IMAGE_SENT the store may have the copy (image_confirm); otherwise the copy is
	 * removed, or its step is still open. */
	IMAGE_DIRECT_FAILED,
};

/* Copies the disk of sending->snapshot, updates the image's record, and gives the store the copy's
 * location. Steps and the task's state say how far it is. Sets an error unless it was stored. */
enum image_direct_result image_direct_send(struct image_direct *direct,
					   const struct image_sending *sending, GError **error);

/* The store has the copy after all. */
void image_direct_keep(struct image_direct *direct);
/* The store does not have the copy: removes it. Returns 0, or -1 with an error: then the step stays
 * open. */
int image_direct_remove(struct image_direct *direct, GError **error);

#endif
