/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Points at which tests inject faults, before and after each step that has an effect outside of
 * this process. They exist only in builds with `make FAULTS=1`.
 * - NOVASNAP_FAULT=save.before:kill - the process dies there, as by kill -9;
 * - NOVASNAP_FAULT=save.after:error - the step fails there, once;
 * - NOVASNAP_FAULT=save.after:delay - the thread waits there for some seconds, once;
 * - NOVASNAP_FAULT=...,... - several faults, each at its own point;
 * - NOVASNAP_FAULT_TRACE=FILE - each point that is reached is appended to FILE as a line.
 */
#ifndef NOVASNAP_AGENT_FAULT_POINT_H
#define NOVASNAP_AGENT_FAULT_POINT_H

#include <glib.h>
#include <stdbool.h>

#ifdef NOVASNAP_FAULTS
/* True if the step must fail. `when`: "before" or "after". */
bool fault_at(const char *step, const char *when);
#else
static inline bool fault_at(const char *step, const char *when)
{
	(void)step;
	(void)when;
	return false;
}
#endif

/* Simulates a lost call or reply: sets RPC_ERROR_TIMEOUT. Returns -1. */
int fault_lost_reply(const char *step, GError **error);

#endif
