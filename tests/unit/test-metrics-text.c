/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The text of metrics. Prometheus' own check of it is in tests/integration/test-metrics.py.
 */
#include <locale.h>
#include <math.h>

#include "agent/metrics/registry.h"

static const double bounds[] = {0.5, 2};

static void check_text(struct metrics *metrics, const char *wanted)
{
	g_autofree char *text = metrics_text(metrics);

	g_assert_cmpstr(text, ==, wanted);
}

static void test_counter(void)
{
	static const struct metric_description plain = METRIC_COUNTER_OF("a_total", "Things.");
	static const struct metric_description labelled =
		METRIC_COUNTER_OF("b_total", "More \\ things.\nA line.", "kind", "place");
	struct metrics *metrics = metrics_new();
	struct metric *a = metrics_add(metrics, &plain);
	struct metric *b = metrics_add(metrics, &labelled);

	/* A metric whose labels were not used yet is missing. */
	check_text(metrics, "# HELP a_total Things.\n# TYPE a_total counter\na_total 0\n");
	metric_add(a, NULL, NULL, 1);
	metric_add(a, NULL, NULL, 1.5);
	metric_add(b, "x", "y", 1);
	metric_add(b, "x", "z", 1);
	metric_add(b, "x", "y", 2);
	metric_add(b, "q\"\\\n", "z", 9007199254740991.0);
	check_text(metrics, "# HELP a_total Things.\n# TYPE a_total counter\na_total 2.5\n"
			    "# HELP b_total More \\\\ things.\\nA line.\n# TYPE b_total counter\n"
			    "b_total{kind=\"x\",place=\"y\"} 3\nb_total{kind=\"x\",place=\"z\"} 1\n"
			    "b_total{kind=\"q\\\"\\\\\\n\",place=\"z\"} 9.00719925474099e+15\n");
	metrics_free(metrics);
}

static void test_gauge(void)
{
	static const struct metric_description description = METRIC_GAUGE_OF("g", "A state.", "of");
	struct metrics *metrics = metrics_new();
	struct metric *gauge = metrics_add(metrics, &description);

	metric_set(gauge, "a", NULL, 17);
	metric_set(gauge, "a", NULL, -0.25);
	metric_set(gauge, "b", NULL, NAN);
	metric_set(gauge, "c", NULL, INFINITY);
	metric_set(gauge, "d", NULL, -INFINITY);
	check_text(metrics,
		   "# HELP g A state.\n# TYPE g gauge\ng{of=\"a\"} -0.25\ng{of=\"b\"} NaN\n"
		   "g{of=\"c\"} +Inf\ng{of=\"d\"} -Inf\n");
	metric_remove(gauge, "b", NULL);
	metric_remove(gauge, "d", NULL);
	metric_remove(gauge, "e", NULL);
	check_text(metrics, "# HELP g A state.\n# TYPE g gauge\ng{of=\"a\"} -0.25\n"
			    "g{of=\"c\"} +Inf\n");
	metric_set(gauge, "b", NULL, 1);
	metric_remove(gauge, "a", NULL);
	metric_remove(gauge, "c", NULL);
	check_text(metrics, "# HELP g A state.\n# TYPE g gauge\ng{of=\"b\"} 1\n");
	metrics_free(metrics);
}

/* A value at a bound is in its bucket. */
static void test_histogram(void)
{
	static const struct metric_description description =
		METRIC_HISTOGRAM_OF(bounds, "h_seconds", "Times.", "method");
	struct metrics *metrics = metrics_new();
	struct metric *histogram = metrics_add(metrics, &description);

	metric_observe(histogram, "m", NULL, 0.5);
	metric_observe(histogram, "m", NULL, 0.6);
	metric_observe(histogram, "m", NULL, 2);
	metric_observe(histogram, "m", NULL, 100);
	check_text(metrics, "# HELP h_seconds Times.\n# TYPE h_seconds histogram\n"
			    "h_seconds_bucket{method=\"m\",le=\"0.5\"} 1\n"
			    "h_seconds_bucket{method=\"m\",le=\"2\"} 3\n"
			    "h_seconds_bucket{method=\"m\",le=\"+Inf\"} 4\n"
			    "h_seconds_sum{method=\"m\"} 103.1\nh_seconds_count{method=\"m\"} 4\n");
	metrics_free(metrics);
}

static gpointer add_often(gpointer opaque)
{
	for (int i = 0; i < 10000; i++)
		metric_add(opaque, i % 2 ? "odd" : "even", NULL, 1);
	return NULL;
}

static void test_threads(void)
{
	static const struct metric_description description =
		METRIC_COUNTER_OF("t_total", "Turns.", "number");
	struct metrics *metrics = metrics_new();
	struct metric *counter = metrics_add(metrics, &description);
	GThread *threads[4];

	metric_add(counter, "even", NULL, 0);
	metric_add(counter, "odd", NULL, 0);
	for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
		threads[i] = g_thread_new("counting", add_often, counter);
	for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
		g_free(metrics_text(metrics));
		(void)g_thread_join(threads[i]);
	}
	check_text(metrics, "# HELP t_total Turns.\n# TYPE t_total counter\n"
			    "t_total{number=\"even\"} 20000\nt_total{number=\"odd\"} 20000\n");
	metrics_free(metrics);
}

int main(int argc, char **argv)
{
	/* Numbers have a point in every locale. */
	(void)setlocale(LC_ALL, "");
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/metrics/counter", test_counter);
	g_test_add_func("/metrics/gauge", test_gauge);
	g_test_add_func("/metrics/histogram", test_histogram);
	g_test_add_func("/metrics/threads", test_threads);
	return g_test_run();
}
