/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reports of the compute service after an outage of the conductor. The linker replaces the
 * functions that call the conductor.
 */
#include "agent/daemon/service-record.h"

#include <stdatomic.h>

#include "rpc/nova.h"

#define OUTAGE_S 5
#define WATCHED_S 2

/* The first report waits as long as the conductor is away. */
static atomic_uint reports;

__typeof__(nova_service_take) __wrap_nova_service_take;
__typeof__(nova_service_is_disabled) __wrap_nova_service_is_disabled;
__typeof__(nova_service_report) __wrap_nova_service_report;
__typeof__(nova_service_free) __wrap_nova_service_free;

struct nova_service *__wrap_nova_service_take(struct rpc *rpc, struct rpc_context *context,
					      const char *host, const char *topic,
					      const char *reason, GError **error)
{
	(void)rpc;
	(void)context;
	(void)host;
	(void)topic;
	(void)reason;
	(void)error;
	return (struct nova_service *)&reports;
}

bool __wrap_nova_service_is_disabled(const struct nova_service *service)
{
	(void)service;
	return true;
}

int __wrap_nova_service_report(struct rpc *rpc, struct rpc_context *context,
			       struct nova_service *service, GError **error)
{
	(void)rpc;
	(void)context;
	(void)service;
	(void)error;
	if (atomic_fetch_add(&reports, 1) == 0)
		g_usleep(OUTAGE_S * G_USEC_PER_SEC);
	return 0;
}

void __wrap_nova_service_free(struct nova_service *service)
{
	(void)service;
}

/* All hosts would send them at the moment at which the conductor is back. */
static void test_missed_reports_are_not_made_up_for(void)
{
	const struct config config = {.report_interval_s = 1};
	struct service_record *service = service_record_start(&config, NULL, NULL);
	gint64 began = g_get_monotonic_time();
	double seconds;

	g_assert_nonnull(service);
	while (atomic_load(&reports) < 2)
		g_usleep(10000);
	g_assert_cmpint(g_get_monotonic_time() - began, >=, OUTAGE_S * G_USEC_PER_SEC);
	began = g_get_monotonic_time();
	g_usleep(WATCHED_S * G_USEC_PER_SEC);
	service_record_stop(service);
	seconds = (double)(g_get_monotonic_time() - began) / G_USEC_PER_SEC;
	/* The first, one at once after it, and one for each interval. */
	g_assert_cmpfloat(atomic_load(&reports), <=, 3 + seconds);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/service-record/missed_reports_are_not_made_up_for",
			test_missed_reports_are_not_made_up_for);
	return g_test_run();
}
