/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metrics in memory, and their text in Prometheus' exposition format, version 0.0.4. Any thread may
 * use a registry.
 */
#ifndef NOVASNAP_AGENT_METRICS_REGISTRY_H
#define NOVASNAP_AGENT_METRICS_REGISTRY_H

#include <glib.h>

/* The labels of one metric. */
#define METRIC_LABELS_MAX 2

enum metric_type {
	METRIC_COUNTER,
	METRIC_GAUGE,
	METRIC_HISTOGRAM,
};

struct metrics;
struct metric;

struct metric_description {
	enum metric_type type;
	/* By Prometheus' conventions: "novasnap_upload_bytes". */
	const char *name;
	const char *help;
	const char *labels[METRIC_LABELS_MAX + 1]; /* their names, NULL-terminated */
	/* Of a histogram: the upper ends of its buckets, ascending, without +Inf. */
	const double *bounds;
	size_t bound_count;
};

/* A description: METRIC_COUNTER_OF("name", "help", "label"...). `bounds` is an array. */
/* NOLINTBEGIN(bugprone-macro-parentheses) */
#define METRIC_OF(type_, name_, help_, ...)                                                        \
	.type = type_, .name = name_, .help = help_, .labels = {__VA_ARGS__}
/* NOLINTEND(bugprone-macro-parentheses) */
#define METRIC_COUNTER_OF(...)                                                                     \
	{                                                                                          \
		METRIC_OF(METRIC_COUNTER, __VA_ARGS__, NULL)                                       \
	}
#define METRIC_GAUGE_OF(...)                                                                       \
	{                                                                                          \
		METRIC_OF(METRIC_GAUGE, __VA_ARGS__, NULL)                                         \
	}
#define METRIC_HISTOGRAM_OF(bounds_, ...)                                                          \
	{                                                                                          \
		METRIC_OF(METRIC_HISTOGRAM, __VA_ARGS__, NULL),                                    \
			.bounds = (bounds_), .bound_count = G_N_ELEMENTS(bounds_)                  \
	}

struct metrics *metrics_new(void);
/* Accepts NULL. No other thread may use the registry or its metrics. */
void metrics_free(struct metrics *metrics);

/* Adds a metric. `description` must outlive the registry, which owns the result. A metric without
 * labels has the value 0 from now on, others have a series from the first use of their labels. */
struct metric *metrics_add(struct metrics *metrics, const struct metric_description *description);

/* Labels are given as values in the order of the description; NULL: the metric has fewer. They are
 * copied. Each set of values is a series that stays (but see metric_remove), so values must be of a
 * small set. */

/* Adds to a counter or a gauge. `metric` NULL: does nothing. */
void metric_add(struct metric *metric, const char *label1, const char *label2, double amount);
/* Sets a gauge, or a counter that is counted elsewhere. */
void metric_set(struct metric *metric, const char *label1, const char *label2, double value);
/* Removes the series of a gauge that has no value at present. There need not be one. */
void metric_remove(struct metric *metric, const char *label1, const char *label2);
/* Adds an observation to a histogram. `metric` NULL: does nothing. */
void metric_observe(struct metric *metric, const char *label1, const char *label2, double value);

/* Where a text of metrics comes from. */
struct metrics_source {
	char *(*text)(void *opaque); /* the present text, which the caller frees */
	void *opaque;
};

/* The text of all metrics, in the order in which they were added. The caller frees it. */
char *metrics_text(struct metrics *metrics);

#endif
