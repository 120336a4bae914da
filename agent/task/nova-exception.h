/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an error of any room is called in nova: the exception class that nova-compute would have
 * raised, its module, and the code of the instance's fault.
 */
#ifndef NOVASNAP_AGENT_FAILURE_H
#define NOVASNAP_AGENT_FAILURE_H

#include <glib.h>

#include "rpc/nova.h"

/* What the failure of a snapshot means for the rest of it, as nova.compute.manager tells them
 * apart. */
enum failure_kind {
	FAILURE_ERROR,	       /* fault, failed event, image deleted, task state reverted */
	FAILURE_INSTANCE_GONE, /* no fault: the image is deleted unless active */
	FAILURE_IMAGE_GONE,    /* no fault: the task state is cleared */
};

enum failure_kind failure_kind(const GError *error);

/* The strings live as long as the error and `function`. */
void failure_describe(const GError *error, const char *function,
		      struct nova_exception *ret_exception);

/* The message of an instance's fault: at most 255 bytes of whole characters, as the database takes
 * (nova.utils.safe_truncate). The caller frees it. */
char *failure_fault_message(const struct nova_exception *exception);

#endif
