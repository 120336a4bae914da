/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watchdog of a frozen guest: a process (novasnap-thaw) that thaws the guest when its time is
 * over, or when novasnapd dies. thaw-watchdog.c is its side of the pipes.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_THAW_PROCESS_H
#define NOVASNAP_VIRT_DOMAIN_THAW_PROCESS_H

#include "virt/virt.h"

struct thaw_process;

/* Starts the watchdog of a guest that is about to be frozen, and waits until it is connected to
 * libvirt. It thaws the guest after `limit_s` seconds. NULL with VIRT_ERROR_FREEZE. */
struct thaw_process *thaw_process_start(const struct virt_config *config, const char *uuid,
					unsigned limit_s, GError **error);

/* Whether it has thawed the guest already. */
bool thaw_process_has_thawed(struct thaw_process *process);

/* Tells it that the guest is thawed, waits for its end and frees it. One that does not end is
 * killed. */
void thaw_process_dismiss(struct thaw_process *process);

/* Leaves the thawing to it: closes its pipe, so that it thaws the guest at once, and frees the
 * struct. Returns its process id, which the caller has to wait for some day. */
GPid thaw_process_abandon(struct thaw_process *process);

#endif
