/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The start of each target, and the taking apart of its inputs.
 */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is logged of bad input is formatted, and not shown. */
static GLogWriterOutput take_line(GLogLevelFlags level, const GLogField *fields, gsize count,
				  gpointer opaque)
{
	(void)opaque;
	if (!(level & (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR)))
		return G_LOG_WRITER_HANDLED;
	for (gsize i = 0; i < count; i++) {
		if (g_str_equal(fields[i].key, "MESSAGE"))
			(void)fprintf(stderr, "critical: %s\n", (const char *)fields[i].value);
	}
	abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	g_log_set_writer_func(take_line, NULL, NULL);
	return 0;
}

char *fuzz_part(struct fuzz_input *input, size_t *ret_length)
{
	const uint8_t *end;
	size_t length;
	char *part;

	if (!input->data)
		return NULL;
	end = input->size > 0 ? memchr(input->data, FUZZ_SEPARATOR, input->size) : NULL;
	length = end ? (size_t)(end - input->data) : input->size;
	part = g_malloc(length + 1);
	if (length > 0)
		memcpy(part, input->data, length);
	part[length] = '\0';
	*ret_length = length;
	input->size -= end ? length + 1 : length;
	input->data = end ? end + 1 : NULL;
	return part;
}

uint8_t fuzz_byte(struct fuzz_input *input)
{
	if (input->size == 0)
		return 0;
	input->size--;
	return *input->data++;
}

uint32_t fuzz_u32(struct fuzz_input *input)
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++)
		value = value << 8 | fuzz_byte(input);
	return value;
}
