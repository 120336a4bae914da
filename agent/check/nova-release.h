/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the release of nova that novasnapd will find.
 */
#ifndef NOVASNAP_AGENT_CHECK_NOVA_RELEASE_H
#define NOVASNAP_AGENT_CHECK_NOVA_RELEASE_H

#include "agent/check/report.h"

/* Asks the conductor through a connection that is ready. Without a conductor ([novasnap]control =
 * none) it reports nothing. Returns whether the release has NOVA_HABIT_ALT_SERVER; false if it is
 * not known. */
bool check_nova_release(struct check *check, struct rpc *rpc);

#endif
