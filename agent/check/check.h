/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: what it looks at, each a line of its own.
 */
#ifndef NOVASNAP_AGENT_CHECK_H
#define NOVASNAP_AGENT_CHECK_H

#include "agent/config/config.h"

struct check {
	const struct config *config;
	struct virt_config virt; /* the host's */
	struct virt_host *host;	 /* NULL: libvirt is not reached */
	unsigned failed;
	unsigned warned;
};

enum check_result { CHECK_OK, CHECK_WARN, CHECK_FAIL };

/* Prints what was looked at, and what came of it. */
void check_say(struct check *check, enum check_result result, const char *what, const char *format,
	       ...) G_GNUC_PRINTF(4, 5);

/* --- check-folders.c -------------------------------------------------------------------------- */

/* Folders that are there, ours, closed to others, with room, and open to QEMU's user where that one
 * has to go. */
void check_folders(struct check *check);

/* --- check-services.c ------------------------------------------------------------------------- */

/* Opens check->host, which the caller closes. */
void check_libvirt(struct check *check);
void check_programs(struct check *check);
void check_rabbitmq(struct check *check);
void check_keystone(struct check *check);
void check_images(struct check *check);

#endif
