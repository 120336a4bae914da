/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See observer.h.
 */
#include "agent/daemon/observer.h"

#include "agent/daemon/dispatch.h"
#include "agent/daemon/gauges.h"
#include "agent/metrics/exporter.h"
#include "agent/task/measures.h"

struct observer {
	const struct config *config;
	struct manager *manager;
	struct metrics *metrics;
	struct measures *measures;
	struct gauges *gauges;
	struct exporter *exporter; /* NULL: not started */
};

static char *text(void *opaque)
{
	struct observer *observer = opaque;

	gauges_update(observer->gauges, observer->manager);
	return metrics_text(observer->metrics);
}

static void add_method(const struct task_method *method, void *opaque)
{
	measures_add_method(opaque, method);
}

struct observer *observer_new(const struct config *config, struct manager *manager)
{
	struct observer *observer;

	if (!config->metrics_file && !config->metrics_listen)
		return NULL;
	observer = g_new0(struct observer, 1);
	observer->config = config;
	observer->manager = manager;
	observer->metrics = metrics_new();
	observer->measures = measures_new(observer->metrics);
	dispatch_each_method(add_method, observer->measures);
	observer->gauges = gauges_new(observer->metrics, config);
	manager_set_measures(manager, observer->measures);
	return observer;
}

int observer_start(struct observer *observer, GError **error)
{
	struct exporter_config config;

	if (!observer)
		return 0;
	config = (struct exporter_config){
		.file = observer->config->metrics_file,
		.interval_s = observer->config->metrics_interval_s,
		.listen = observer->config->metrics_listen,
		.source = {text, observer},
	};
	observer->exporter = exporter_start(&config, error);
	return observer->exporter ? 0 : -1;
}

bool observer_stop(struct observer *observer)
{
	return !observer || exporter_stop(g_steal_pointer(&observer->exporter));
}

void observer_free(struct observer *observer)
{
	if (!observer)
		return;
	gauges_free(observer->gauges);
	measures_free(observer->measures);
	metrics_free(observer->metrics);
	g_free(observer);
}
