/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Limits on data from servers, far above what working servers send.
 */
#ifndef NOVASNAP_IMAGE_LIMITS_H
#define NOVASNAP_IMAGE_LIMITS_H

#include <stddef.h>

/* The body of a reply, in bytes, and the number of JSON values in it, at all depths. */
#define HTTP_REPLY_SIZE_MAX ((size_t)4 * 1024 * 1024)
#define HTTP_REPLY_VALUES_MAX 250000
/* How much of the body of an error reply is examined, in bytes. */
#define HTTP_REFUSAL_SIZE_MAX ((size_t)16 * 1024)
/* The length limit for text of servers (in characters) and programs (in bytes) in an error
 * message. */
#define IMAGE_FOREIGN_TEXT_MAX 300
/* A list of images: the number of pages, and the bytes of all pages together. */
#define GLANCE_LIST_PAGES_MAX 1000
#define GLANCE_LIST_SIZE_MAX ((size_t)64 * 1024 * 1024)

#endif
