/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gives metrics out, from a thread of its own: as a file for the textfile collector of
 * node_exporter, and by HTTP.
 */
#ifndef NOVASNAP_AGENT_METRICS_EXPORTER_H
#define NOVASNAP_AGENT_METRICS_EXPORTER_H

#include <stdbool.h>

#include "agent/metrics/error.h"
#include "agent/metrics/registry.h"

struct exporter;

struct exporter_config {
	const char *file;	      /* absolute, ends in ".prom"; NULL: no file */
	unsigned interval_s;	      /* how often it is written */
	const char *listen;	      /* "127.0.0.1:9178" or "[::1]:9178"; NULL: no HTTP */
	struct metrics_source source; /* is called in the thread */
};

/* Starts the thread, and writes the file for the first time. `config` is copied, its strings must
 * outlive the exporter. NULL with METRICS_ERROR. A file that cannot be written is only logged,
 * once, and so is an address at which it cannot listen. */
struct exporter *exporter_start(const struct exporter_config *config, GError **error);
/* Ends the thread, and leaves a file without metrics, whose age tells that no process writes it.
 * Returns false if the thread hangs, for example in writing: then nothing was freed, and nothing
 * that `source` uses may be freed. Accepts NULL. */
bool exporter_stop(struct exporter *exporter);

#endif
