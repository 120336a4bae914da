/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether a task is still to be claimed (claim.h).
 */
#ifndef NOVASNAP_AGENT_CLAIM_DUE_H
#define NOVASNAP_AGENT_CLAIM_DUE_H

#include "agent/task/task.h"

/* Whether the task must be claimed before it does or reports anything: not in the mode exclusive,
 * without a conductor, for methods that are not claimed, or if this or an earlier process has
 * claimed it. */
bool claim_is_due(const struct task *task);

#endif
