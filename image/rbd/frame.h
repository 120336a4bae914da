/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The frames between novasnapd and its child novasnap-rbd: eight bytes of head, a JSON object, and
 * data. Both processes use this file. The pages in conf/docs describe the messages.
 */
#ifndef NOVASNAP_RBD_FRAME_H
#define NOVASNAP_RBD_FRAME_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Both sides must agree on it. */
#define RBD_PROTOCOL 1

#define RBD_FRAME_HEAD_SIZE 8
/* The limits of both parts, in bytes. */
#define RBD_FRAME_JSON_MAX ((uint32_t)64 * 1024)
#define RBD_FRAME_DATA_MAX ((uint32_t)4 * 1024 * 1024)
/* The limit of a name of a pool, an image or a snapshot, in bytes. */
#define RBD_NAME_MAX 512

/* The limits of reading: how long a read may be, in bytes, and the number of reads in flight. */
#define RBD_READ_MAX ((uint32_t)1024 * 1024)
#define RBD_READS_MAX 64
/* One extent in a frame's data: offset and length, as little-endian numbers of 64 bits. */
#define RBD_EXTENT_SIZE 16
#define RBD_EXTENTS_PER_FRAME 4096

struct rbd_frame_lengths {
	uint32_t json; /* bytes of the JSON object */
	uint32_t data; /* bytes of the data that follow it */
};

void rbd_frame_write_head(uint8_t *head, const struct rbd_frame_lengths *lengths);
/* Returns whether both lengths are within the limits, and the JSON object is not empty. */
bool rbd_frame_read_head(const uint8_t *head, struct rbd_frame_lengths *ret_lengths);
/* Returns the JSON object of `length` bytes; NULL if it is not exactly one. */
cJSON *rbd_frame_read_json(const char *text, size_t length);

/* Returns a member of an object: a string of at most RBD_FRAME_JSON_MAX bytes, or NULL. It belongs
 * to the object. */
const char *rbd_frame_string(const cJSON *object, const char *name);
/* Returns whether the object has this number, an integer from 0 to `max` and to 2^53. */
bool rbd_frame_number(const cJSON *object, const char *name, uint64_t max, uint64_t *ret_number);

/* Extents in a frame's data. */
void rbd_frame_write_extent(uint8_t *data, uint64_t offset, uint64_t length);
void rbd_frame_read_extent(const uint8_t *data, uint64_t *ret_offset, uint64_t *ret_length);

#endif
