/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Aborts a write that is stuck. librabbitmq's writes block without a time limit. So the writing
 * thread records each write here, and another thread shuts down the socket if the write takes too
 * long.
 */
#ifndef NOVASNAP_RPC_AMQP_WRITE_WATCHDOG_H
#define NOVASNAP_RPC_AMQP_WRITE_WATCHDOG_H

#include <glib.h>
#include <pthread.h>

struct write_watchdog {
	pthread_mutex_t lock;
	/* Guarded by the lock. */
	int fd;	      /* the socket being written to; -1: none */
	gint64 since; /* monotonic us */
};

void write_watchdog_init(struct write_watchdog *watchdog);
void write_watchdog_destroy(struct write_watchdog *watchdog);

/* The writing thread calls these before and after each write. */
void write_watchdog_begin(struct write_watchdog *watchdog, int fd);
void write_watchdog_end(struct write_watchdog *watchdog);

/* Shuts down the socket if the current write has taken longer than `limit_us`: the write then
 * fails. From any thread. */
void write_watchdog_check(struct write_watchdog *watchdog, gint64 limit_us);

#endif
