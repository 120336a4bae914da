/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A declaration to be made at the broker, and lists of them.
 */
#ifndef NOVASNAP_RPC_AMQP_DECLARATION_H
#define NOVASNAP_RPC_AMQP_DECLARATION_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum declaration_kind {
	DECLARATION_EXCHANGE,
	DECLARATION_QUEUE,
	DECLARATION_BINDING,	      /* of the queue `name` to `exchange`, with `key` */
	DECLARATION_UNBINDING,	      /* the end of it, also if there is none */
	DECLARATION_EXCHANGE_BINDING, /* of the exchange `name`: to it, from `exchange` */
	DECLARATION_EXCHANGE_UNBINDING,
	DECLARATION_PREFETCH, /* of the channel */
	DECLARATION_CONSUMER, /* of the queue `name`, which is also the consumer's tag */
};

enum declaration_argument_type {
	DECLARATION_TEXT,
	DECLARATION_NUMBER,
	DECLARATION_FLAG,
};

/* A name of AMQP, and its NUL. */
#define DECLARATION_TEXT_BYTES 256

struct declaration_argument {
	const char *name; /* "x-expires" */
	enum declaration_argument_type type;
	char text[DECLARATION_TEXT_BYTES]; /* DECLARATION_TEXT */
	int64_t number;			   /* DECLARATION_NUMBER, or DECLARATION_FLAG: 0 or 1 */
};

#define DECLARATION_ARGUMENTS_MAX 8

struct declaration {
	enum declaration_kind kind;
	char *name;	  /* of the exchange or queue; NULL for the prefetch */
	const char *type; /* of an exchange: "topic" or "fanout" */
	char *exchange;
	char *key;
	bool durable;
	bool auto_delete;
	bool exclusive;
	/* Other services declare this exchange or queue, too: its arguments must be theirs. */
	bool shared;
	/* Declared passively: it may be missing, and then nothing is bound to it. */
	bool optional;
	/* The queue must have no consumer: it would be another process's. */
	bool unused;
	bool no_ack;	   /* the broker deletes each message once it has sent it */
	unsigned prefetch; /* unacked messages that the broker sends; 0: no limit */
	unsigned argument_count;
	struct declaration_argument arguments[DECLARATION_ARGUMENTS_MAX];
};

/* Returns an empty list, which the caller frees with g_ptr_array_unref. */
GPtrArray *declaration_list_new(void);
/* Adds a declaration, which belongs to the list. The name is copied. */
struct declaration *declaration_list_add(GPtrArray *list, enum declaration_kind kind,
					 const char *name);
/* Adds a binding, or the end of one, of the queue or exchange `name` to `exchange`. The texts are
 * copied. */
void declaration_list_bind(GPtrArray *list, enum declaration_kind kind, const char *name,
			   const char *exchange, const char *key);

/* Adds an argument. Its name must be a constant. */
struct declaration_argument *declaration_add_argument(struct declaration *declaration,
						      const char *name,
						      enum declaration_argument_type type);
/* The text is copied. */
void declaration_add_text(struct declaration *declaration, const char *name, const char *text);
/* 0 means that oslo.messaging sends no such argument. */
void declaration_add_number(struct declaration *declaration, const char *name, int64_t number);
void declaration_add_flag(struct declaration *declaration, const char *name);

#endif
