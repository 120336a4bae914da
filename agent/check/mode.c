/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See mode.h.
 */
#include "agent/check/mode.h"

#define SUBJECT "mode"

void check_mode(struct check *check)
{
	const struct config *config = check->config;

	if (config->beside && !config->control)
		check_report(
			check, CHECK_FAIL, SUBJECT,
			"beside, and [novasnap]control is none: " CONFIG_BESIDE_NEEDS_CONDUCTOR);
	else if (config->beside)
		check_report(check, CHECK_OK, SUBJECT, "beside: nova-compute runs on this host");
	else if (!config->control || config->report_state)
		check_report(check, CHECK_OK, SUBJECT,
			     "exclusive: no nova-compute runs on this host; its casts are kept in "
			     "the queue %s",
			     config->rpc.unhandled_queue);
	else
		check_report(
			check, CHECK_WARN, SUBJECT,
			"exclusive, and [novasnap]report_state is off: unless another program "
			"keeps the record of this host's compute service alive, nova takes the "
			"host for dead, and `openstack server delete` frees the volumes of a "
			"guest that still runs; set report_state = true");
}
