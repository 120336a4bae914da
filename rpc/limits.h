/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Limits on received data. Each is far above what any nova sends, and low enough that a message can
 * neither fill the memory nor keep a thread busy.
 */
#ifndef NOVASNAP_RPC_LIMITS_H
#define NOVASNAP_RPC_LIMITS_H

#include <stddef.h>

/* A longer body is not parsed. */
#define RPC_MAX_BODY_BYTES ((size_t)16 * 1024 * 1024)
/* How much of a rejected message is kept for the operator. */
#define RPC_MAX_KEPT_BYTES ((size_t)256 * 1024)
/* A message's method, version and ids, and the name of its reply queue: AMQP's limit. */
#define RPC_MAX_NAME_BYTES ((size_t)255)
/* The bodies of all messages in the outbox together. A single message is always accepted. */
#define RPC_MAX_OUTBOX_BYTES ((size_t)128 * 1024 * 1024)

/* Nesting depth of arrays and objects. */
#define JSON_MAX_DEPTH 100
/* Values in one JSON text; each takes about a hundred bytes of memory. */
#define JSON_MAX_VALUES ((size_t)250000)

/* The fields of a nova object, and the updates in a reply of the conductor: few enough for a linear
 * search. */
#define NOVA_MAX_FIELDS 1000
/* The metadata of an instance sent as a dictionary: key and value pairs in each list. */
#define NOVA_MAX_METADATA 5000
/* The addresses in a notification; and the bytes of the data that all addresses of an interface
 * share, which is repeated for each of them. */
#define NOVA_MAX_ADDRESSES 1000
#define NOVA_MAX_ADDRESS_BYTES ((size_t)4096)

#endif
