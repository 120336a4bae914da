/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How novasnapd is, for systemd.
 */
#ifndef NOVASNAP_AGENT_OVERVIEW_H
#define NOVASNAP_AGENT_OVERVIEW_H

#include "agent/daemon/manager.h"

/* What runs, in one line: "1 job runs, 2 wait; snapshot_instance of UUID: uploading the image, 45
 * %". The caller frees it. Any thread, before manager_stop. */
char *overview_text(struct manager *manager, struct rpc *rpc);
/* Whether the main parts do what they are for: the locks of jobs and requests can be taken, and
 * each thread of a connection to the broker has had a turn lately. A broker, conductor or disk that
 * is away is no reason: another process would meet the same one. False with a reason, which the
 * caller frees. As overview_text. */
bool overview_is_alive(struct manager *manager, struct rpc *rpc, char **ret_reason);

#endif
