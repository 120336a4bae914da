/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See nova-release.h.
 */
#include "agent/check/nova-release.h"

#define SUBJECT "nova's release"

bool check_nova_release(struct check *check, struct rpc *rpc)
{
	g_autoptr(rpc_context_t) context = NULL;
	g_autoptr(GError) error = NULL;
	g_autofree char *text = NULL;
	bool is_unknown;
	int record;

	if (!check->config->control)
		return false;
	context = rpc_context_new(NULL);
	if (nova_conductor_service_version(rpc, context, check->config->rpc.host, &record, &error) <
	    0) {
		check_report(
			check, CHECK_WARN, SUBJECT,
			"not known, and taken from each request: %s; check that nova-conductor "
			"runs, or set [novasnap]control = none",
			error->message);
		return false;
	}
	text = nova_release_describe_record(record);
	is_unknown = nova_release_is_unknown(record);
	check_report(check, is_unknown ? CHECK_WARN : CHECK_OK, SUBJECT,
		     "%s, by version %d in the record of nova-compute on %s%s", text, record,
		     check->config->rpc.host, is_unknown ? "; install a newer novasnap" : "");
	return nova_release_has(nova_release_of_record(record, NULL), NOVA_HABIT_ALT_SERVER);
}
