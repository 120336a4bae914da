/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the fuzz targets share. An input is one text, or several parts with a record separator
 * between them, so that the seeds are texts too. Criticals of GLib end the target: they are
 * findings.
 */
#ifndef NOVASNAP_TESTS_FUZZ_H
#define NOVASNAP_TESTS_FUZZ_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_SEPARATOR 0x1e

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

/* The next part, in memory that ends with it and a NUL; the caller frees it. NULL at the end. */
char *fuzz_part(struct fuzz_input *input, size_t *ret_length);
/* The next byte, zeros at the end. */
uint8_t fuzz_byte(struct fuzz_input *input);
uint32_t fuzz_u32(struct fuzz_input *input);

/* answers.c: the replies to http_request_send() are the next parts, one for each request: "STATUS
 * TOKEN\nBODY". After the last part no server answers. */
void fuzz_answer_from(const struct fuzz_input *input);

#endif
