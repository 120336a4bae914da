/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Points at which a fault can be put in, before and after each step that has an effect outside of
 * this process. A build with `make FAULTS=1` has them; in any other they are nothing.
 *
 *   NOVASNAP_FAULT=save.before:kill     the process dies there, as by kill -9
 *   NOVASNAP_FAULT=save.after:error     the step fails there, once
 *   NOVASNAP_FAULT=save.after:delay     it waits there for some seconds, once
 *   NOVASNAP_FAULT=...,...              several, each at its point
 *   NOVASNAP_FAULT_TRACE=FILE           each point that is passed is written there, a line each
 */
#ifndef NOVASNAP_AGENT_FAULT_H
#define NOVASNAP_AGENT_FAULT_H

#include <stdbool.h>

#ifdef NOVASNAP_FAULTS
/* True when the step is to fail. `when`: "before" or "after". */
bool fault_at(const char *step, const char *when);
#else
static inline bool fault_at(const char *step, const char *when)
{
	(void)step;
	(void)when;
	return false;
}
#endif

#endif
