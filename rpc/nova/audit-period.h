/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nova's audit periods ([DEFAULT]instance_usage_audit_period).
 */
#ifndef NOVASNAP_RPC_NOVA_AUDIT_PERIOD_H
#define NOVASNAP_RPC_NOVA_AUDIT_PERIOD_H

#include <glib.h>

/* Returns the end of the last complete period before `now`, which is in UTC
 * (nova.utils.last_completed_audit_period). `period` is "hour", "day", "month" or "year", with
 * "@offset" in the next smaller unit. Returns `now` for an invalid offset. The caller unrefs it. */
GDateTime *nova_audit_period_end(const char *period, GDateTime *now);

#endif
