/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See registry.h.
 */
#include "agent/metrics/registry.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* One set of label values. */
struct series {
	char *labels[METRIC_LABELS_MAX];
	double value;	 /* of a histogram: the sum */
	guint64 *counts; /* of a histogram: observations in each bucket, the last one is +Inf */
};

struct metric {
	const struct metric_description *description;
	struct metrics *metrics;
	GPtrArray *series; /* struct series */
};

struct metrics {
	pthread_mutex_t lock;
	GPtrArray *all; /* struct metric */
};

static void series_free(void *opaque)
{
	struct series *series = opaque;

	for (size_t i = 0; i < METRIC_LABELS_MAX; i++)
		g_free(series->labels[i]);
	g_free(series->counts);
	g_free(series);
}

static void metric_free(void *opaque)
{
	struct metric *metric = opaque;

	g_ptr_array_unref(metric->series);
	g_free(metric);
}

struct metrics *metrics_new(void)
{
	struct metrics *metrics = g_new0(struct metrics, 1);

	pthread_mutex_init(&metrics->lock, NULL);
	metrics->all = g_ptr_array_new_with_free_func(metric_free);
	return metrics;
}

void metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return;
	g_ptr_array_unref(metrics->all);
	pthread_mutex_destroy(&metrics->lock);
	g_free(metrics);
}

/* With the lock held. NULL: there is none. */
static struct series *look_up_series(const struct metric *metric, const char *label1,
				     const char *label2)
{
	for (guint i = 0; i < metric->series->len; i++) {
		struct series *series = g_ptr_array_index(metric->series, i);

		if (g_strcmp0(series->labels[0], label1) == 0 &&
		    g_strcmp0(series->labels[1], label2) == 0)
			return series;
	}
	return NULL;
}

/* With the lock held. */
static struct series *find_series(struct metric *metric, const char *label1, const char *label2)
{
	struct series *series = look_up_series(metric, label1, label2);

	if (series)
		return series;
	series = g_new0(struct series, 1);
	series->labels[0] = g_strdup(label1);
	series->labels[1] = g_strdup(label2);
	if (metric->description->type == METRIC_HISTOGRAM)
		series->counts = g_new0(guint64, metric->description->bound_count + 1);
	g_ptr_array_add(metric->series, series);
	return series;
}

struct metric *metrics_add(struct metrics *metrics, const struct metric_description *description)
{
	struct metric *metric = g_new0(struct metric, 1);

	metric->description = description;
	metric->metrics = metrics;
	metric->series = g_ptr_array_new_with_free_func(series_free);
	pthread_mutex_lock(&metrics->lock);
	g_ptr_array_add(metrics->all, metric);
	if (!description->labels[0])
		(void)find_series(metric, NULL, NULL);
	pthread_mutex_unlock(&metrics->lock);
	return metric;
}

void metric_add(struct metric *metric, const char *label1, const char *label2, double amount)
{
	if (!metric)
		return;
	pthread_mutex_lock(&metric->metrics->lock);
	find_series(metric, label1, label2)->value += amount;
	pthread_mutex_unlock(&metric->metrics->lock);
}

void metric_set(struct metric *metric, const char *label1, const char *label2, double value)
{
	pthread_mutex_lock(&metric->metrics->lock);
	find_series(metric, label1, label2)->value = value;
	pthread_mutex_unlock(&metric->metrics->lock);
}

void metric_remove(struct metric *metric, const char *label1, const char *label2)
{
	struct series *series;

	pthread_mutex_lock(&metric->metrics->lock);
	series = look_up_series(metric, label1, label2);
	if (series)
		(void)g_ptr_array_remove(metric->series, series);
	pthread_mutex_unlock(&metric->metrics->lock);
}

void metric_observe(struct metric *metric, const char *label1, const char *label2, double value)
{
	size_t bucket = 0;
	struct series *series;

	if (!metric)
		return;
	while (bucket < metric->description->bound_count &&
	       value > metric->description->bounds[bucket])
		bucket++;
	pthread_mutex_lock(&metric->metrics->lock);
	series = find_series(metric, label1, label2);
	series->counts[bucket]++;
	series->value += value;
	pthread_mutex_unlock(&metric->metrics->lock);
}

/* Backslash, line feed and, in a label, the quote are escaped. */
static void append_escaped(GString *text, const char *value, bool is_label)
{
	for (; *value; value++) {
		if (*value == '\\' || (is_label && *value == '"'))
			g_string_append_c(text, '\\');
		if (*value == '\n')
			g_string_append(text, "\\n");
		else
			g_string_append_c(text, *value);
	}
}

/* Without a locale's comma. */
static void append_number(GString *text, double value)
{
	char number[G_ASCII_DTOSTR_BUF_SIZE];

	if (isnan(value))
		g_string_append(text, "NaN");
	else if (isinf(value))
		g_string_append(text, value > 0 ? "+Inf" : "-Inf");
	else
		g_string_append(text, g_ascii_formatd(number, sizeof(number), "%.15g", value));
}

/* `bound` NULL: not of a bucket. */
static void append_sample(GString *text, const struct metric *metric, const struct series *series,
			  const char *suffix, const double *bound, double value)
{
	const char *separator = "{";

	g_string_append_printf(text, "%s%s", metric->description->name, suffix);
	for (size_t i = 0; metric->description->labels[i]; i++) {
		g_string_append_printf(text, "%s%s=\"", separator, metric->description->labels[i]);
		append_escaped(text, series->labels[i] ? series->labels[i] : "", true);
		g_string_append_c(text, '"');
		separator = ",";
	}
	if (bound) {
		g_string_append_printf(text, "%sle=\"", separator);
		append_number(text, *bound);
		g_string_append_c(text, '"');
		separator = ",";
	}
	g_string_append(text, *separator == ',' ? "} " : " ");
	append_number(text, value);
	g_string_append_c(text, '\n');
}

static void append_histogram(GString *text, const struct metric *metric,
			     const struct series *series)
{
	const struct metric_description *description = metric->description;
	guint64 count = 0;

	for (size_t i = 0; i <= description->bound_count; i++) {
		double bound = i < description->bound_count ? description->bounds[i] : INFINITY;

		count += series->counts[i];
		append_sample(text, metric, series, "_bucket", &bound, (double)count);
	}
	append_sample(text, metric, series, "_sum", NULL, series->value);
	append_sample(text, metric, series, "_count", NULL, (double)count);
}

static void append_metric(GString *text, const struct metric *metric)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};
	const struct metric_description *description = metric->description;

	if (metric->series->len == 0)
		return;
	g_string_append_printf(text, "# HELP %s ", description->name);
	append_escaped(text, description->help, false);
	g_string_append_printf(text, "\n# TYPE %s %s\n", description->name,
			       types[description->type]);
	for (guint i = 0; i < metric->series->len; i++) {
		const struct series *series = g_ptr_array_index(metric->series, i);

		if (description->type == METRIC_HISTOGRAM)
			append_histogram(text, metric, series);
		else
			append_sample(text, metric, series, "", NULL, series->value);
	}
}

char *metrics_text(struct metrics *metrics)
{
	GString *text = g_string_new(NULL);

	pthread_mutex_lock(&metrics->lock);
	for (guint i = 0; i < metrics->all->len; i++)
		append_metric(text, g_ptr_array_index(metrics->all, i));
	pthread_mutex_unlock(&metrics->lock);
	return g_string_free(text, FALSE);
}
