/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rotation of backups.
 */
#ifndef NOVASNAP_AGENT_BACKUP_H
#define NOVASNAP_AGENT_BACKUP_H

#include "agent/task/task.h"

/* nova.compute.manager._rotate_backups: keeps the `rotation` newest backups of this instance and
 * type, including the task's own, and deletes the others. If a backup cannot be deleted, that is
 * logged. Returns 0, or -1 with an error if the backups cannot be listed. */
int backup_rotate(struct task *task, const char *backup_type, int rotation, GError **error);

#endif
