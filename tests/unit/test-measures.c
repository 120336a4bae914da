/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which series there are before anything has happened.
 */
#include <string.h>

#include "agent/daemon/dispatch.h"
#include "agent/task/measures.h"

static void add_method(const struct task_method *method, void *opaque)
{
	measures_add_method(opaque, method);
}

static void check_series(const char *text, const char *sample)
{
	g_autofree char *line = g_strdup_printf("\n%s 0\n", sample);

	if (!strstr(text, line))
		g_error("no \"%s 0\" in:\n%s", sample, text);
}

/* In a first scrape Prometheus sees the value that the first event changes. */
static void test_all_series_begin_with_0(void)
{
	static const char *const methods[] = {"stream", "rebase", "extract", "internal", "direct"};
	static const char *const histograms[] = {"snapshot_duration_seconds",
						 "upload_duration_seconds", "upload_bytes",
						 "upload_throughput_bytes_per_second"};
	static const char *const outcomes[] = {"succeeded",  "failed",	  "cancelled",
					       "refused",    "not_ours",  "instance_gone",
					       "image_gone", "left_open", "left_to_nova"};
	struct metrics *metrics = metrics_new();
	struct measures *measures = measures_new(metrics);
	g_autofree char *text = NULL;
	char sample[128];

	dispatch_each_method(add_method, measures);
	text = metrics_text(metrics);
	for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
		for (size_t j = 0; j < G_N_ELEMENTS(histograms); j++) {
			g_snprintf(sample, sizeof(sample),
				   "novasnap_%s_bucket{method=\"%s\",le=\"+Inf\"}", histograms[j],
				   methods[i]);
			check_series(text, sample);
		}
	}
	for (size_t j = 0; j < G_N_ELEMENTS(outcomes); j++) {
		for (size_t i = 0; i <= G_N_ELEMENTS(methods); i++) {
			g_snprintf(sample, sizeof(sample),
				   "novasnap_snapshots_total{method=\"%s\",outcome=\"%s\"}",
				   i < G_N_ELEMENTS(methods) ? methods[i] : "none", outcomes[j]);
			check_series(text, sample);
		}
		g_snprintf(sample, sizeof(sample),
			   "novasnap_requests_total{method=\"resume_instance\",outcome=\"%s\"}",
			   outcomes[j]);
		check_series(text, sample);
	}
	g_assert_null(strstr(text, "closed"));
	measures_free(measures);
	metrics_free(metrics);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/measures/all-series-begin-with-0", test_all_series_begin_with_0);
	return g_test_run();
}
