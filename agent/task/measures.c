/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See measures.h.
 */
#include "agent/task/measures.h"

#define MIB (1024.0 * 1024)
#define METHOD_NONE "none"
#define OUTCOME_CANCELLED "cancelled"

struct measures {
	struct metric *requests;
	struct metric *snapshots;
	struct metric *duration;
	struct metric *upload_duration;
	struct metric *upload_bytes;
	struct metric *upload_rate;
	struct metric *sent;
	struct metric *retries;
	struct metric *recovered;
};

static const double seconds[] = {1,   2.5, 5,	 10,   30,   60,    120,
				 300, 600, 1200, 3600, 7200, 14400, 43200};
static const double sizes[] = {1 * MIB,	   16 * MIB,	64 * MIB,    256 * MIB,	   1024 * MIB,
			       4096 * MIB, 16384 * MIB, 65536 * MIB, 262144 * MIB, 1048576 * MIB};
static const double rates[] = {1 * MIB,	  5 * MIB,   10 * MIB,	25 * MIB,  50 * MIB,
			       100 * MIB, 200 * MIB, 400 * MIB, 800 * MIB, 1600 * MIB};

static const struct metric_description requests = METRIC_COUNTER_OF(
	"novasnap_requests_total",
	"Requests of nova that have ended, by nova's method and the outcome.", "method", "outcome");
static const struct metric_description snapshots = METRIC_COUNTER_OF(
	"novasnap_snapshots_total",
	"Snapshots that have ended, by the snapshot method and the outcome. Method none: the "
	"disk was not reached.",
	"method", "outcome");
static const struct metric_description duration = METRIC_HISTOGRAM_OF(
	seconds, "novasnap_snapshot_duration_seconds",
	"From the arrival of the request to the end of a successful snapshot, with its "
	"wait for other snapshots.",
	"method");
static const struct metric_description upload_duration = METRIC_HISTOGRAM_OF(
	seconds, "novasnap_upload_duration_seconds",
	"How long the upload of an image took, with its repetitions.", "method");
static const struct metric_description upload_bytes = METRIC_HISTOGRAM_OF(
	sizes, "novasnap_upload_bytes", "The size of an uploaded image.", "method");
static const struct metric_description upload_rate =
	METRIC_HISTOGRAM_OF(rates, "novasnap_upload_throughput_bytes_per_second",
			    "The size of an uploaded image by the time of its upload.", "method");
static const struct metric_description sent = METRIC_COUNTER_OF(
	"novasnap_upload_sent_bytes_total",
	"Bytes of images that were sent, with those of repeated and failed uploads.");
static const struct metric_description retries =
	METRIC_COUNTER_OF("novasnap_upload_retries_total", "Uploads that were begun again.");
static const struct metric_description recovered = METRIC_COUNTER_OF(
	"novasnap_recovered_jobs_total",
	"Jobs of an earlier process that were taken up: begun, or only waiting.", "state");

/* The caller frees it. */
static char *outcome_of(enum task_stage stage)
{
	return g_strdelimit(g_strdup(task_stage_name(stage)), " ", '_');
}

/* Of the outcomes of one method. */
static void begin_outcomes(struct metric *metric, const char *method)
{
	for (enum task_stage stage = STAGE_SUCCEEDED; stage < TASK_STAGES; stage++) {
		g_autofree char *outcome = outcome_of(stage);

		if (stage != STAGE_CLOSED)
			metric_add(metric, method, outcome, 0);
	}
	metric_add(metric, method, OUTCOME_CANCELLED, 0);
}

static void begin_snapshot_method(struct measures *measures, const char *method)
{
	begin_outcomes(measures->snapshots, method);
	metric_add(measures->duration, method, NULL, 0);
	metric_add(measures->upload_duration, method, NULL, 0);
	metric_add(measures->upload_bytes, method, NULL, 0);
	metric_add(measures->upload_rate, method, NULL, 0);
}

void measures_add_method(struct measures *measures, const struct task_method *method)
{
	begin_outcomes(measures->requests, method->name);
}

struct measures *measures_new(struct metrics *metrics)
{
	struct measures *measures = g_new0(struct measures, 1);

	measures->requests = metrics_add(metrics, &requests);
	measures->snapshots = metrics_add(metrics, &snapshots);
	measures->duration = metrics_add(metrics, &duration);
	measures->upload_duration = metrics_add(metrics, &upload_duration);
	measures->upload_bytes = metrics_add(metrics, &upload_bytes);
	measures->upload_rate = metrics_add(metrics, &upload_rate);
	measures->sent = metrics_add(metrics, &sent);
	measures->retries = metrics_add(metrics, &retries);
	measures->recovered = metrics_add(metrics, &recovered);
	/* Prometheus' increase() and rate() do not count what a series begins with. */
	for (size_t i = 0; virt_method_name(i); i++)
		begin_snapshot_method(measures, virt_method_name(i));
	begin_snapshot_method(measures, TASK_METHOD_DIRECT);
	begin_outcomes(measures->snapshots, METHOD_NONE);
	metric_add(measures->recovered, "begun", NULL, 0);
	metric_add(measures->recovered, "waiting", NULL, 0);
	return measures;
}

void measures_free(struct measures *measures)
{
	g_free(measures);
}

void measures_recovered(const struct agent *agent, bool was_begun)
{
	if (agent->measures)
		metric_add(agent->measures->recovered, was_begun ? "begun" : "waiting", NULL, 1);
}

static double elapsed_s(gint64 since)
{
	return (double)(g_get_monotonic_time() - since) / G_USEC_PER_SEC;
}

void measures_task_ended(const struct task *task, enum task_event event)
{
	struct measures *measures = task->agent->measures;
	enum task_stage stage = task_state_stage(task->state);
	const char *method = task->used_method ? task->used_method : METHOD_NONE;
	g_autofree char *outcome =
		event == TASK_EVENT_CANCELLED ? g_strdup(OUTCOME_CANCELLED) : outcome_of(stage);

	if (!measures)
		return;
	metric_add(measures->requests, task->method->name, outcome, 1);
	if (!(task->method->flags & METHOD_HAS_IMAGE))
		return;
	metric_add(measures->snapshots, method, outcome, 1);
	if (stage == STAGE_SUCCEEDED)
		metric_observe(measures->duration, method, NULL, elapsed_s(task->created_at));
}

void measures_sent(const struct task *task, uint64_t bytes)
{
	if (task->agent->measures)
		metric_add(task->agent->measures->sent, NULL, NULL, (double)bytes);
}

void measures_uploaded(const struct task *task, uint64_t bytes, gint64 us, unsigned attempts)
{
	struct measures *measures = task->agent->measures;
	const char *method = task->used_method ? task->used_method : METHOD_NONE;
	double duration_s = (double)MAX(us, 1) / G_USEC_PER_SEC;

	if (!measures)
		return;
	metric_observe(measures->upload_duration, method, NULL, duration_s);
	metric_observe(measures->upload_bytes, method, NULL, (double)bytes);
	metric_observe(measures->upload_rate, method, NULL, (double)bytes / duration_s);
	if (attempts > 1)
		metric_add(measures->retries, NULL, NULL, attempts - 1);
}
