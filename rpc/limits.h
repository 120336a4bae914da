/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much of what comes over the wire is taken: well beyond what any nova sends, and little enough
 * that a message can neither fill the memory nor keep a thread busy.
 */
#ifndef NOVASNAP_RPC_LIMITS_H
#define NOVASNAP_RPC_LIMITS_H

#include <stddef.h>

/* Bodies over this are not looked at. */
#define MAX_BODY ((size_t)16 * 1024 * 1024)
/* Arrays and objects within each other. */
#define JSON_MAX_DEPTH 100
/* All values of a text; each takes a hundred bytes of memory. */
#define JSON_MAX_VALUES ((size_t)250000)
/* The names in a message: its method, its id, the queue for its answer. AMQP's own limit. */
#define MAX_NAME ((size_t)255)
/* Of an instance, and of what a conductor says was updated; few enough to look through. */
#define MAX_FIELDS 1000
/* Of an instance that is a dictionary, its lists of keys and values. */
#define MAX_METADATA 5000
/* What notifications tell of an instance's network: so many addresses, and of each so many bytes of
 * what all addresses of an interface share. */
#define MAX_ADDRESSES 1000
#define MAX_ADDRESS_BYTES ((size_t)4096)
/* Of a message that was rejected so much is kept. */
#define MAX_KEPT ((size_t)256 * 1024)
/* Messages that wait for the broker, together; one is always taken. */
#define MAX_OUTBOX_BYTES ((size_t)128 * 1024 * 1024)

#endif
