/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lookout of a snapshot: a thread that sees why it has no more sense to go on, while others
 * read and send: it was cancelled, its guest started, stopped or went, its image was deleted.
 */
#ifndef NOVASNAP_AGENT_LOOKOUT_H
#define NOVASNAP_AGENT_LOOKOUT_H

#include "agent/task/task.h"

struct lookout;

/* `task` must outlive it. NULL with an error. */
struct lookout *lookout_start(struct task *task, GError **error);
/* Set when something was seen; what is to end looks at it. */
const atomic_int *lookout_flag(const struct lookout *lookout);
/* From now on it looks after the task's image, which is there. */
void lookout_watch_image(struct lookout *lookout);
/* From now on it looks after this snapshot's guest; NULL: after none. */
void lookout_watch(struct lookout *lookout, struct snapshot *snapshot);
/* What was seen takes the place of an error that came of it. Forgets it: what begins anew is not
 * ended by what ended the last. */
void lookout_explain(struct lookout *lookout, GError **error);
void lookout_stop(struct lookout *lookout);

#endif
