/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Points at which tests put in faults, before and after each step that has an effect outside of
 * this process. Only a build with `make FAULTS=1` has them.
 *
 *   NOVASNAP_FAULT=save.before:kill     the process dies there, as by kill -9
 *   NOVASNAP_FAULT=save.after:error     the step fails there, once
 *   NOVASNAP_FAULT=save.after:delay     the thread waits there for some seconds, once
 *   NOVASNAP_FAULT=...,...              several faults, each at its own point
 *   NOVASNAP_FAULT_TRACE=FILE           each point that is passed is appended to FILE as a line
 */
#ifndef NOVASNAP_AGENT_FAULT_POINT_H
#define NOVASNAP_AGENT_FAULT_POINT_H

#include <glib.h>
#include <stdbool.h>

#ifdef NOVASNAP_FAULTS
/* True when the step must fail. `when`: "before" or "after". */
bool fault_at(const char *step, const char *when);
#else
static inline bool fault_at(const char *step, const char *when)
{
	(void)step;
	(void)when;
	return false;
}
#endif

/* For a fault in a call: sets RPC_ERROR_TIMEOUT, as if the call or its reply had been lost. Returns
 * -1. */
int fault_lost_reply(const char *step, GError **error);

#endif
