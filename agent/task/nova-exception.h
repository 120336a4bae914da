/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Maps errors to nova's exceptions: the exception class that nova-compute would have raised, its
 * module, and the code of the instance's fault.
 */
#ifndef NOVASNAP_AGENT_NOVA_EXCEPTION_H
#define NOVASNAP_AGENT_NOVA_EXCEPTION_H

#include <glib.h>

#include "rpc/nova.h"

/* The strings are valid as long as the error and `function`, the name of nova's function that
 * failed. */
void nova_exception_from_error(const GError *error, const char *function,
			       struct nova_exception *ret_exception);

/* The message of an instance's fault: at most 255 bytes (the width of the database's column),
 * without splitting a character (nova.utils.safe_truncate). The caller frees it. */
char *nova_exception_fault_message(const struct nova_exception *exception);

#endif
