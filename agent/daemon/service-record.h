/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nova's record of this host's compute service, kept alive in a thread of its own
 * ([novasnap]report_state), disabled: the scheduler must not send boots that nobody answers.
 */
#ifndef NOVASNAP_AGENT_SERVICE_H
#define NOVASNAP_AGENT_SERVICE_H

#include "agent/config/config.h"

struct service;
/* NULL where the thread cannot be started. Both arguments must live longer. */
struct service *service_start(const struct config *config, struct rpc *rpc, GError **error);
/* The record stays as it is: nova sees it down after a while. Takes NULL. */
void service_stop(struct service *service);

#endif
