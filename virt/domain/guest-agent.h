/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls of the agent inside the guest. Each waits for the agent's reply at most
 * [novasnap]agent_timeout. That limit belongs to the domain, and applies to all programs, so each
 * call sets libvirt's default (VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK) afterwards. libvirt cannot
 * be asked for the previous value.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_GUEST_AGENT_H
#define NOVASNAP_VIRT_DOMAIN_GUEST_AGENT_H

#include "virt/domain/guest.h"

/* Limits the agent's replies, for libvirt calls that use the agent. Always call
 * guest_agent_end_limit afterwards; that also resets a limit that a dead process has left. Failures
 * are only logged. */
void guest_agent_begin_limit(struct guest *guest);
void guest_agent_end_limit(struct guest *guest);

/* Freezes the guest's filesystems. Returns 0, or -1 with VIRT_ERROR_FREEZE. *ret_may_be_frozen:
 * whether the agent may have received the command, and may freeze the filesystems even after the
 * failure. */
int guest_agent_freeze(struct guest *guest, bool *ret_may_be_frozen, GError **error);

enum agent_thaw {
	AGENT_THAWED,	       /* all filesystems are thawed: a second thaw found none to thaw */
	AGENT_THAW_OFF,	       /* the guest is off, or libvirt does not know it: it is not frozen */
	AGENT_THAW_PAUSED,     /* the guest is paused or saved: its agent cannot answer meanwhile */
	AGENT_THAW_REFUSED,    /* the agent answered with an error, or the guest has no agent */
	AGENT_THAW_UNANSWERED, /* libvirt or the agent did not answer */
};

/* Thaws the guest's filesystems and verifies it. Replaces a dead connection first. Sets an error
 * for the last three results: VIRT_ERROR_DISCONNECTED if libvirt cannot be reached, else
 * VIRT_ERROR_FREEZE. */
enum agent_thaw guest_agent_thaw(struct guest *guest, GError **error);

#endif
