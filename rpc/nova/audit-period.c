/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nova's audit periods.
 */
#include "rpc/nova/audit-period.h"

#include <string.h>

GDateTime *nova_audit_period_end(const char *period, GDateTime *now)
{
	const char *at = strchr(period, '@');
	int offset = at ? (int)g_ascii_strtoll(at + 1, NULL, 10) : 0;
	int year = g_date_time_get_year(now), month = g_date_time_get_month(now);
	int day = g_date_time_get_day_of_month(now), hour = g_date_time_get_hour(now);
	g_autoptr(GDateTime) end = NULL;

	if (g_str_has_prefix(period, "month"))
		end = g_date_time_new_utc(year, month, MAX(offset, 1), 0, 0, 0);
	else if (g_str_has_prefix(period, "year"))
		end = g_date_time_new_utc(year, MAX(offset, 1), 1, 0, 0, 0);
	else if (g_str_has_prefix(period, "day"))
		end = g_date_time_new_utc(year, month, day, offset, 0, 0);
	else
		end = g_date_time_new_utc(year, month, day, hour, offset, 0);
	if (!end)
		return g_date_time_ref(now);
	if (g_date_time_compare(end, now) < 0)
		return g_steal_pointer(&end);
	if (g_str_has_prefix(period, "month"))
		return g_date_time_add_months(end, -1);
	if (g_str_has_prefix(period, "year"))
		return g_date_time_add_years(end, -1);
	return g_str_has_prefix(period, "day") ? g_date_time_add_days(end, -1)
					       : g_date_time_add_hours(end, -1);
}
