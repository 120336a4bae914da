/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watchdog of a frozen guest: a process (novasnap-thaw) that thaws the guest when the time
 * limit is over or novasnapd dies. thaw-watchdog.c is the watchdog's side of the pipes.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_THAW_PROCESS_H
#define NOVASNAP_VIRT_DOMAIN_THAW_PROCESS_H

#include "virt/virt.h"

struct thaw_process;

/* Starts the watchdog for a guest that is about to be frozen, and waits until the watchdog is
 * connected to libvirt. It thaws the guest after `limit_s` seconds. NULL with VIRT_ERROR_FREEZE. */
struct thaw_process *thaw_process_start(const struct virt_config *config, const char *uuid,
					unsigned limit_s, GError **error);

/* Whether the watchdog has already thawed the guest. */
bool thaw_process_has_thawed(struct thaw_process *process);

/* Tells the watchdog that the guest is thawed, waits until the process ends, and frees the struct.
 * A process that does not end is killed. */
void thaw_process_dismiss(struct thaw_process *process);

/* Leaves the thawing to the watchdog: closes its pipe, so that it thaws the guest immediately, and
 * frees the struct. Returns its process id, for which the caller must wait eventually. */
GPid thaw_process_abandon(struct thaw_process *process);

#endif
