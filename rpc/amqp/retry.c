/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which broker is tried next, and when.
 */
#include "rpc/amqp/retry.h"

void broker_retry_reset(struct broker_retry *retry, const struct rpc_config *config)
{
	retry->failures = 0;
	retry->pause_s = config->retry_interval_s;
	retry->not_before = g_get_monotonic_time() + (gint64)retry->pause_s * G_USEC_PER_SEC;
}

void broker_retry_failed(struct broker_retry *retry, const struct rpc_config *config,
			 const struct transport_url *url)
{
	retry->broker = (retry->broker + 1) % url->brokers->len;
	if (++retry->failures % url->brokers->len != 0)
		return;
	retry->not_before = g_get_monotonic_time() + (gint64)retry->pause_s * G_USEC_PER_SEC;
	retry->pause_s = MIN(retry->pause_s + config->retry_backoff_s, config->interval_max_s);
}
