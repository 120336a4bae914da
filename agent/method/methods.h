/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The supported nova methods. Each is in a file of this folder.
 */
#ifndef NOVASNAP_AGENT_METHODS_H
#define NOVASNAP_AGENT_METHODS_H

#include "agent/task/task.h"

extern const struct task_method method_snapshot_instance;      /* snapshot.c */
extern const struct task_method method_backup_instance;	       /* backup.c */
extern const struct task_method method_pause_instance;	       /* power.c */
extern const struct task_method method_unpause_instance;       /* power.c */
extern const struct task_method method_suspend_instance;       /* power.c */
extern const struct task_method method_resume_instance;	       /* power.c */
extern const struct task_method method_shelve_instance;	       /* shelve.c */
extern const struct task_method method_quiesce_instance;       /* quiesce.c */
extern const struct task_method method_unquiesce_instance;     /* quiesce.c */
extern const struct task_method method_volume_snapshot_create; /* volume-snapshot.c */
extern const struct task_method method_volume_snapshot_delete; /* volume-snapshot.c */

#endif
