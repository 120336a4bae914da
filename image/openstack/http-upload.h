/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sends the body of an upload with libcurl, and notices when the server refuses it meanwhile.
 */
#ifndef NOVASNAP_IMAGE_HTTP_UPLOAD_H
#define NOVASNAP_IMAGE_HTTP_UPLOAD_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A request body that is produced while it is sent. The sending thread calls both callbacks. */
struct http_upload {
	/* Stores up to `size` bytes in `buffer`. Returns their number, 0 at the end, or -1 with an
	 * error. May block. */
	ssize_t (*read)(void *opaque, void *buffer, size_t size, GError **error);
	/* Reports the number of bytes sent, several times a second. May be NULL. */
	void (*sent)(void *opaque, uint64_t bytes);
	void *opaque;  /* passed to both callbacks */
	uint64_t size; /* total number of bytes that `read` returns */
};

struct http_sender;

/* Creates the sender of an upload to `url`, which fails after `stall_timeout_s` without progress,
 * and sets the options of `curl` (a CURL *) for it. The arguments must outlive the sender. Free it
 * with http_sender_free(), after curl_easy_cleanup(). */
struct http_sender *http_sender_new(void *curl, const char *url, const struct http_upload *upload,
				    unsigned stall_timeout_s);
/* Accepts NULL. */
void http_sender_free(struct http_sender *sender);

/* Returns a header line that the request needs, or NULL. */
const char *http_sender_header(const struct http_sender *sender);

/* The following functions are called by curl's callbacks: when it has opened a socket, before it
 * closes one, for each header line that it receives, and for each report of its progress. */
void http_sender_add_socket(struct http_sender *sender, int fd);
void http_sender_remove_socket(struct http_sender *sender, int fd);
void http_sender_receive_header(struct http_sender *sender, const char *line, size_t length);
void http_sender_report(struct http_sender *sender, uint64_t sent);

/* Returns whether nothing more is sent, when `sent` bytes were: the body is complete, or the server
 * has refused it. */
bool http_sender_has_ended(const struct http_sender *sender, uint64_t sent);

/* If the upload's `read` has failed, moves its error to `*error` and returns true. */
bool http_sender_has_failed(struct http_sender *sender, GError **error);

#endif
