/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The frames between novasnapd and its child novasnap-rbd.
 */
#include "image/rbd/frame.h"

#include <string.h>

#define RBD_NUMBER_MAX ((double)((uint64_t)1 << 53))

void rbd_frame_write_head(uint8_t *head, const struct rbd_frame_lengths *lengths)
{
	const uint32_t numbers[] = {GUINT32_TO_LE(lengths->json), GUINT32_TO_LE(lengths->data)};

	memcpy(head, numbers, RBD_FRAME_HEAD_SIZE);
}

bool rbd_frame_read_head(const uint8_t *head, struct rbd_frame_lengths *ret_lengths)
{
	uint32_t numbers[2];

	memcpy(numbers, head, RBD_FRAME_HEAD_SIZE);
	ret_lengths->json = GUINT32_FROM_LE(numbers[0]);
	ret_lengths->data = GUINT32_FROM_LE(numbers[1]);
	return ret_lengths->json > 0 && ret_lengths->json <= RBD_FRAME_JSON_MAX &&
	       ret_lengths->data <= RBD_FRAME_DATA_MAX;
}

cJSON *rbd_frame_read_json(const char *text, size_t length)
{
	const char *end = NULL;
	cJSON *object = cJSON_ParseWithLengthOpts(text, length, &end, false);

	if (object && cJSON_IsObject(object) && end == text + length)
		return object;
	cJSON_Delete(object);
	return NULL;
}

const char *rbd_frame_string(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

bool rbd_frame_number(const cJSON *object, const char *name, uint64_t max, uint64_t *ret_number)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	/* An integer that a double holds exactly; NaN is neither. */
	if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) ||
	    !(item->valuedouble <= RBD_NUMBER_MAX))
		return false;
	*ret_number = (uint64_t)item->valuedouble;
	return (double)*ret_number == item->valuedouble && *ret_number <= max;
}

void rbd_frame_write_extent(uint8_t *data, uint64_t offset, uint64_t length)
{
	const uint64_t numbers[] = {GUINT64_TO_LE(offset), GUINT64_TO_LE(length)};

	memcpy(data, numbers, RBD_EXTENT_SIZE);
}

void rbd_frame_read_extent(const uint8_t *data, uint64_t *ret_offset, uint64_t *ret_length)
{
	uint64_t numbers[2];

	memcpy(numbers, data, RBD_EXTENT_SIZE);
	*ret_offset = GUINT64_FROM_LE(numbers[0]);
	*ret_length = GUINT64_FROM_LE(numbers[1]);
}
