/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nova's record of this host's compute service, kept alive by a thread of its own
 * ([novasnap]report_state). The service is disabled: the scheduler must not send boots, which
 * novasnapd does not serve.
 */
#ifndef NOVASNAP_AGENT_SERVICE_RECORD_H
#define NOVASNAP_AGENT_SERVICE_RECORD_H

#include "agent/config/config.h"

struct service_record;
/* Starts the thread. Both arguments must live longer. NULL with an error. */
struct service_record *service_record_start(const struct config *config, struct rpc *rpc,
					    GError **error);
/* Ends the thread. The record stays: nova sees the service as down after service_down_time. Takes
 * NULL. */
void service_record_stop(struct service_record *service);

#endif
