/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Breaks off a write that is stuck. librabbitmq's writes block and have no time limit, so one
 * thread notes each write here, and another thread shuts the socket down when it takes too long.
 */
#ifndef NOVASNAP_RPC_AMQP_WRITE_WATCHDOG_H
#define NOVASNAP_RPC_AMQP_WRITE_WATCHDOG_H

#include <glib.h>
#include <pthread.h>

struct write_watchdog {
	pthread_mutex_t lock;
	/* Guarded by the lock. */
	int fd;	      /* the socket that is written to; -1: none */
	gint64 since; /* monotonic us */
};

void write_watchdog_init(struct write_watchdog *watchdog);
void write_watchdog_destroy(struct write_watchdog *watchdog);

/* The thread that writes calls these before and after each write. */
void write_watchdog_begin(struct write_watchdog *watchdog, int fd);
void write_watchdog_end(struct write_watchdog *watchdog);

/* Shuts the socket down when the current write has lasted for more than `limit_us`: the write then
 * fails. From any thread. */
void write_watchdog_check(struct write_watchdog *watchdog, gint64 limit_us);

#endif
