/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which broker is tried next, and when.
 */
#include "rpc/amqp/retry.h"

void broker_retry_init(struct broker_retry *retry, const struct rpc_config *config,
		       const struct transport_url *url)
{
	*retry = (struct broker_retry){
		.order = g_new(unsigned, url->brokers->len),
		.count = url->brokers->len,
		.pause_s = config->retry_interval_s,
	};
	for (unsigned i = 0; i < retry->count; i++) {
		unsigned other = (unsigned)g_random_int_range(0, (gint32)i + 1);

		retry->order[i] = retry->order[other];
		retry->order[other] = i;
	}
}

void broker_retry_clear(struct broker_retry *retry)
{
	g_clear_pointer(&retry->order, g_free);
}

const struct broker_address *broker_retry_address(const struct broker_retry *retry,
						  const struct transport_url *url)
{
	return g_ptr_array_index(url->brokers, retry->order[retry->position]);
}

gint64 broker_retry_jitter(unsigned pause_s)
{
	return (gint64)(g_random_double_range(0.5, 1.5) * pause_s * G_USEC_PER_SEC);
}

unsigned broker_retry_grow(unsigned pause_s, const struct rpc_config *config)
{
	return pause_s == 0 ? config->retry_interval_s
			    : MIN(pause_s + config->retry_backoff_s, config->interval_max_s);
}

static void set_pause(struct broker_retry *retry, const struct rpc_config *config)
{
	retry->not_before = g_get_monotonic_time() + broker_retry_jitter(retry->pause_s);
	retry->pause_s = MIN(retry->pause_s + config->retry_backoff_s, config->interval_max_s);
}

static void choose_next_broker(struct broker_retry *retry)
{
	retry->position = (retry->position + 1) % retry->count;
}

void broker_retry_connected(struct broker_retry *retry)
{
	retry->connected_at = g_get_monotonic_time();
}

void broker_retry_lost(struct broker_retry *retry, const struct rpc_config *config)
{
	gint64 lived = g_get_monotonic_time() - retry->connected_at;

	if (lived >= (gint64)config->interval_max_s * G_USEC_PER_SEC) {
		retry->failures = 0;
		retry->pause_s = config->retry_interval_s;
	} else {
		choose_next_broker(retry);
	}
	set_pause(retry, config);
}

void broker_retry_failed(struct broker_retry *retry, const struct rpc_config *config)
{
	choose_next_broker(retry);
	if (++retry->failures % retry->count == 0)
		set_pause(retry, config);
}
