/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much of what servers answer is taken: well beyond what they say when all is well.
 */
#ifndef NOVASNAP_IMAGE_LIMITS_H
#define NOVASNAP_IMAGE_LIMITS_H

#include <stddef.h>

/* The body of an answer, and what may be in it: values within each other or side by side. */
#define REPLY_MAX ((size_t)4 * 1024 * 1024)
#define REPLY_VALUES_MAX 250000
/* Of a refusal: what is looked at, in bytes, and what is told of it, in characters. */
#define REFUSAL_MAX ((size_t)16 * 1024)
#define WORDS_MAX 300
/* A list of images: pages, and bytes of all of them. */
#define LIST_PAGES 1000
#define LIST_BYTES_MAX ((size_t)64 * 1024 * 1024)

#endif
