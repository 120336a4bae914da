/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watchdog of a frozen guest: a process (novasnap-thaw) that thaws the guest when the time
 * limit is over or novasnapd dies. thaw-watchdog.c is the watchdog's side of the pipes.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_THAW_PROCESS_H
#define NOVASNAP_VIRT_DOMAIN_THAW_PROCESS_H

#include "virt/virt.h"

/* What the watchdog sends. */
#define THAW_MESSAGE_READY "ready\n"   /* it is connected to libvirt */
#define THAW_MESSAGE_BUSY "busy\n"     /* an older watchdog of the guest is still thawing it */
#define THAW_MESSAGE_THAWED "thawed\n" /* it has thawed the guest */
/* What novasnapd sends. The end of the pipe tells the watchdog that novasnapd has died. */
#define THAW_MESSAGE_FROZEN "frozen\n" /* the guest is frozen: its time limit counts from now */
#define THAW_MESSAGE_DONE "done\n"     /* the guest is thawed */

struct thaw_process;

/* Starts the watchdog for a guest that is about to be frozen, and waits until the watchdog is
 * connected to libvirt. It thaws the guest `limit_s` seconds after thaw_process_note_frozen, or
 * after the time that freezing may take at most. NULL with VIRT_ERROR_FREEZE, or VIRT_ERROR_BUSY if
 * an older watchdog, of this process or of a dead one, is still thawing the guest. */
struct thaw_process *thaw_process_start(const struct virt_config *config, const char *uuid,
					unsigned limit_s, GError **error);

/* Tells the watchdog that the guest is frozen. */
void thaw_process_note_frozen(struct thaw_process *process);

/* Whether the watchdog has already thawed the guest. */
bool thaw_process_has_thawed(struct thaw_process *process);

/* Tells the watchdog that the guest is thawed, waits until the process ends, and frees the struct.
 * A process that does not end is killed. */
void thaw_process_dismiss(struct thaw_process *process);

/* Leaves the thawing to the watchdog: closes its pipe, so that it thaws the guest immediately, and
 * frees the struct. Returns its process id, for which the caller must wait eventually. */
GPid thaw_process_abandon(struct thaw_process *process);

#endif
