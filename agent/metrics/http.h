/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The HTTP endpoint: GET /metrics. It serves in the thread of its main context, a few connections
 * at a time, each for one request and for a limited time.
 */
#ifndef NOVASNAP_AGENT_METRICS_HTTP_H
#define NOVASNAP_AGENT_METRICS_HTTP_H

#include "agent/metrics/error.h"
#include "agent/metrics/registry.h"

struct metrics_http;

/* `address`: "127.0.0.1:9178" or "[::1]:9178". Only an address of the loopback, since there is no
 * TLS and no login. `source` must outlive it. NULL with METRICS_ERROR_LISTEN. */
struct metrics_http *metrics_http_start(const char *address, const struct metrics_source *source,
					GMainContext *context, GError **error);
/* Once the context does not run any more. Accepts NULL. */
void metrics_http_stop(struct metrics_http *http);

#endif
