/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nova's audit periods ([DEFAULT]instance_usage_audit_period).
 */
#ifndef NOVASNAP_RPC_NOVA_AUDIT_PERIOD_H
#define NOVASNAP_RPC_NOVA_AUDIT_PERIOD_H

#include <glib.h>

/* Returns when the last complete period ended before `now`, which is in UTC
 * (nova.utils.last_completed_audit_period). `period` is "hour", "day", "month" or "year", with
 * "@offset" in its smaller unit. Returns `now` for an offset that does not exist. The caller unrefs
 * it. */
GDateTime *nova_audit_period_end(const char *period, GDateTime *now);

#endif
