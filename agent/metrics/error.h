/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The errors of the metrics.
 */
#ifndef NOVASNAP_AGENT_METRICS_ERROR_H
#define NOVASNAP_AGENT_METRICS_ERROR_H

#include <glib.h>

#define METRICS_ERROR metrics_error_quark()
GQuark metrics_error_quark(void);

enum metrics_error {
	METRICS_ERROR_LISTEN, /* the address cannot be used */
	METRICS_ERROR_FAILED, /* the thread cannot be started */
};

#endif
