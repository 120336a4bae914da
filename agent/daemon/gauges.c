/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See gauges.h.
 */
#include "agent/daemon/gauges.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "rpc/json.h"

enum gauge {
	BUILD_INFO,
	START_TIME,
	CPU_SECONDS,
	RESIDENT_BYTES,
	SERVICE_UP,
	JOBS_RUNNING,
	JOBS_WAITING,
	PAUSED,
	OUTBOX,
	OUTBOX_LIMIT,
	JOURNAL_BYTES,
	UNHANDLED,
	MOVING,
	REJECTED,
	UNSUPPORTED,
	BESIDE_INTERCEPTING,
	BESIDE_GIVEN_BACK,
	BESIDE_HELD,
	BESIDE_FORWARDED,
	BESIDE_TAKEN,
	BESIDE_DEAD_LETTERED,
	BESIDE_HOP,
	BESIDE_DELAY,
	GAUGES
};

static const struct metric_description descriptions[GAUGES] = {
	[BUILD_INFO] =
		METRIC_GAUGE_OF("novasnap_build_info", "1; the version, and the mode of this host.",
				"version", "mode"),
	[START_TIME] = METRIC_GAUGE_OF("novasnap_process_start_time_seconds",
				       "When the process was started, in seconds since 1970."),
	[CPU_SECONDS] = METRIC_COUNTER_OF("novasnap_process_cpu_seconds_total",
					  "Processor time of the process, in seconds."),
	[RESIDENT_BYTES] = METRIC_GAUGE_OF("novasnap_process_resident_memory_bytes",
					   "Resident memory of the process."),
	[SERVICE_UP] = METRIC_GAUGE_OF(
		"novasnap_service_up",
		"Whether the service answered when it was last needed; a service that was "
		"not needed yet is missing.",
		"service"),
	[JOBS_RUNNING] = METRIC_GAUGE_OF("novasnap_jobs_running", "Jobs that run."),
	[JOBS_WAITING] = METRIC_GAUGE_OF("novasnap_jobs_waiting",
					 "Requests and jobs that wait to be begun."),
	[PAUSED] = METRIC_GAUGE_OF(
		"novasnap_consuming_paused",
		"1: no requests are accepted, because the journal cannot be written."),
	[OUTBOX] = METRIC_GAUGE_OF("novasnap_outbox_messages",
				   "Messages that the broker has not confirmed yet."),
	[OUTBOX_LIMIT] = METRIC_GAUGE_OF("novasnap_outbox_limit_messages",
					 "The limit of these, [novasnap]outbox_max."),
	[JOURNAL_BYTES] = METRIC_GAUGE_OF("novasnap_journal_bytes", "The size of the journal."),
	[UNHANDLED] = METRIC_COUNTER_OF("novasnap_unhandled_requests_total",
					"Requests of methods that novasnapd does not serve."),
	[MOVING] = METRIC_GAUGE_OF(
		"novasnap_moving_messages",
		"Messages that wait to be moved to the queue of unhandled requests."),
	[REJECTED] = METRIC_COUNTER_OF("novasnap_rejected_messages_total",
				       "Messages that could not be used."),
	[UNSUPPORTED] =
		METRIC_COUNTER_OF("novasnap_unsupported_messages_total",
				  "Messages whose compression or content type is not supported."),
	[BESIDE_INTERCEPTING] =
		METRIC_GAUGE_OF("novasnap_beside_intercepting",
				"1: this host's snapshots are taken out of nova-compute's "
				"requests."),
	[BESIDE_GIVEN_BACK] = METRIC_GAUGE_OF("novasnap_beside_given_back",
					      "1: nova-compute has its requests directly."),
	[BESIDE_HELD] = METRIC_GAUGE_OF("novasnap_beside_held_messages",
					"Messages that have arrived and are not acked yet."),
	[BESIDE_FORWARDED] = METRIC_COUNTER_OF("novasnap_beside_forwarded_messages_total",
					       "Messages that were forwarded to nova-compute."),
	[BESIDE_TAKEN] = METRIC_COUNTER_OF("novasnap_beside_taken_messages_total",
					   "Messages that novasnapd has taken."),
	[BESIDE_DEAD_LETTERED] =
		METRIC_COUNTER_OF("novasnap_beside_dead_lettered_messages_total",
				  "Messages that could not be forwarded as they are."),
	[BESIDE_HOP] = METRIC_GAUGE_OF(
		"novasnap_beside_hop_seconds",
		"From the arrival of a forwarded message to the confirmation of its copy: "
		"the last one, the median of three minutes, which is missing if there was "
		"none, and the largest since the start.",
		"stat"),
	[BESIDE_DELAY] = METRIC_GAUGE_OF(
		"novasnap_beside_delay_seconds",
		"From publishing to arrival of a message to itself, as of any request: "
		"the last one, the median of three minutes, which is missing if there was "
		"none, and the largest since the start.",
		"stat"),
};

struct gauges {
	const struct config *config;
	struct metric *all[GAUGES];
};

static void set(struct gauges *gauges, enum gauge gauge, double value)
{
	metric_set(gauges->all[gauge], NULL, NULL, value);
}

struct gauges *gauges_new(struct metrics *metrics, const struct config *config)
{
	struct gauges *gauges = g_new0(struct gauges, 1);

	gauges->config = config;
	for (int i = 0; i < (config->beside ? GAUGES : BESIDE_INTERCEPTING); i++)
		gauges->all[i] = metrics_add(metrics, &descriptions[i]);
	metric_set(gauges->all[BUILD_INFO], NOVASNAP_VERSION,
		   config->beside ? "beside" : "exclusive", 1);
	set(gauges, START_TIME, (double)g_get_real_time() / G_USEC_PER_SEC);
	set(gauges, OUTBOX_LIMIT, config->rpc.outbox_max);
	return gauges;
}

void gauges_free(struct gauges *gauges)
{
	g_free(gauges);
}

static void update_process(struct gauges *gauges)
{
	struct rusage usage;
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long total, resident;

	if (getrusage(RUSAGE_SELF, &usage) == 0)
		set(gauges, CPU_SECONDS,
		    (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
			    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	if (!file)
		return;
	if (fscanf(file, "%lu %lu", &total, &resident) == 2)
		set(gauges, RESIDENT_BYTES, (double)resident * (double)sysconf(_SC_PAGESIZE));
	(void)fclose(file);
}

/* `answered`: -1 if nobody has asked yet. */
static void set_service(struct gauges *gauges, const char *service, int answered)
{
	if (answered >= 0)
		metric_set(gauges->all[SERVICE_UP], service, NULL, answered);
}

static void update_services(struct gauges *gauges, const struct agent *agent)
{
	struct rpc_health health;

	rpc_get_health(agent->rpc, &health);
	set(gauges, OUTBOX, health.outbox);
	set_service(gauges, "broker", health.consuming && health.publishing);
	set_service(gauges, "conductor", health.answered);
	set_service(gauges, "libvirt", virt_host_answered(agent->host));
	set_service(gauges, "glance", image_store_answered(agent->store));
	set_service(gauges, "keystone", image_store_has_tokens(agent->store));
}

/* From a number or a bool; a missing one changes nothing. */
static void set_member(struct gauges *gauges, enum gauge gauge, const cJSON *object,
		       const char *name)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);

	if (cJSON_IsNumber(member))
		set(gauges, gauge, member->valuedouble);
	else if (cJSON_IsBool(member))
		set(gauges, gauge, cJSON_IsTrue(member));
}

static void set_delays(struct gauges *gauges, enum gauge gauge, const cJSON *delays)
{
	static const char *const stats[] = {"last", "median", "max"};

	for (size_t i = 0; i < G_N_ELEMENTS(stats); i++) {
		const cJSON *ms = cJSON_GetObjectItemCaseSensitive(delays, stats[i]);

		if (cJSON_IsNumber(ms))
			metric_set(gauges->all[gauge], stats[i], NULL, ms->valuedouble / 1000);
		else
			metric_remove(gauges->all[gauge], stats[i], NULL);
	}
}

static void update_beside(struct gauges *gauges, const cJSON *beside)
{
	set_member(gauges, BESIDE_INTERCEPTING, beside, "intercepting");
	set_member(gauges, BESIDE_GIVEN_BACK, beside, "given_back");
	set_member(gauges, BESIDE_HELD, beside, "held");
	set_member(gauges, BESIDE_FORWARDED, beside, "forwarded");
	set_member(gauges, BESIDE_TAKEN, beside, "taken");
	set_member(gauges, BESIDE_DEAD_LETTERED, beside, "dead_lettered");
	set_delays(gauges, BESIDE_HOP, cJSON_GetObjectItemCaseSensitive(beside, "hop_ms"));
	set_delays(gauges, BESIDE_DELAY, cJSON_GetObjectItemCaseSensitive(beside, "delay_ms"));
}

void gauges_update(struct gauges *gauges, struct manager *manager)
{
	const struct agent *agent = manager_agent(manager);
	cJSON *status = manager_describe(manager);
	const cJSON *beside = cJSON_GetObjectItemCaseSensitive(status, "beside");

	update_process(gauges);
	update_services(gauges, agent);
	set(gauges, JOBS_RUNNING,
	    cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(status, "jobs")));
	set(gauges, JOURNAL_BYTES, (double)journal_size(agent->journal));
	set_member(gauges, JOBS_WAITING, status, "waiting");
	set_member(gauges, PAUSED, status, "paused");
	set_member(gauges, UNHANDLED, status, "unhandled");
	set_member(gauges, MOVING, status, "moving");
	set_member(gauges, REJECTED, status, "rejected");
	set_member(gauges, UNSUPPORTED, status, "unsupported");
	if (beside)
		update_beside(gauges, beside);
	cJSON_Delete(status);
}
