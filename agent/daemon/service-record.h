/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that keeps nova's record of this host's compute service up to date
 * ([novasnap]report_state). The service is disabled, so that the scheduler does not choose this
 * host for new instances, which novasnapd cannot start.
 */
#ifndef NOVASNAP_AGENT_SERVICE_RECORD_H
#define NOVASNAP_AGENT_SERVICE_RECORD_H

#include "agent/config/config.h"

struct service_record;
/* Starts the thread. Both arguments must outlive it. NULL with an error. */
struct service_record *service_record_start(const struct config *config, struct rpc *rpc,
					    GError **error);
/* Ends the thread. The record is not deleted: nova considers the service down after
 * service_down_time. Accepts NULL. */
void service_record_stop(struct service_record *service);

#endif
