/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See mode.h.
 */
#include "agent/check/mode.h"

#include "agent/beside/state.h"

#define SUBJECT "mode"

static void check_beside(struct check *check)
{
	struct beside_state state;
	g_autoptr(GError) error = NULL;

	if (beside_state_read(check->config->state_dir, &state, &error) < 0)
		check_report(check, CHECK_FAIL, SUBJECT, "beside: %s", error->message);
	else if (state.stage == BESIDE_ENABLED && state.given_back)
		check_report(check, CHECK_WARN, SUBJECT,
			     "beside, and nova-compute has the requests directly, because "
			     "novasnapd does not run or could not take them; `novasnap beside "
			     "--status` tells why");
	else
		check_report(check, CHECK_OK, SUBJECT,
			     "beside: nova-compute runs on this host; the stage is %s",
			     beside_stage_name(state.stage));
}

void check_mode(struct check *check)
{
	const struct config *config = check->config;

	if (config->beside && !config->control)
		check_report(
			check, CHECK_FAIL, SUBJECT,
			"beside, and [novasnap]control is none: " CONFIG_BESIDE_NEEDS_CONDUCTOR);
	else if (config->beside)
		check_beside(check);
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
