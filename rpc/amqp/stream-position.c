/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See stream-position.h.
 */
#include "rpc/amqp/stream-position.h"

void stream_position_reset(struct stream_position *position)
{
	atomic_store(&position->next, STREAM_POSITION_LAST);
}

int64_t stream_position_get(struct stream_position *position)
{
	return atomic_load(&position->next);
}

void stream_position_set(struct stream_position *position, int64_t offset)
{
	atomic_store(&position->next, offset);
}

void stream_position_rewind(struct stream_position *position, int64_t offset)
{
	long long current = atomic_load(&position->next);

	while (offset < current && !atomic_compare_exchange_weak(&position->next, &current, offset))
		;
}
