/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When the forwarding thread of the mode beside counts as stuck. The test simulates the time and
 * the broker.
 */
#include <glib.h>

#include "agent/daemon/beside-progress.h"

#define SECOND G_USEC_PER_SEC

static const struct config config = {.beside_patience_s = 5};
static struct beside_progress progress;
static struct rpc_forward_status status;
static gint64 now;
static unsigned waiting, counted;

gint64 __wrap_g_get_monotonic_time(void);
int __wrap_rpc_forward_count_waiting(const struct rpc_config *rpc, unsigned *ret_waiting,
				     GError **error);

gint64 __wrap_g_get_monotonic_time(void)
{
	return now;
}

int __wrap_rpc_forward_count_waiting(const struct rpc_config *rpc, unsigned *ret_waiting,
				     GError **error)
{
	(void)rpc;
	(void)error;
	counted++;
	*ret_waiting = waiting;
	return 0;
}

/* The thread consumes, and nothing has arrived for a minute. */
static void set_up(void)
{
	beside_progress_init(&progress);
	now = 1000 * SECOND;
	waiting = counted = 0;
	status = (struct rpc_forward_status){.connected = true, .consuming = true, .connection = 1};
	g_assert_false(beside_progress_is_stuck(&progress, &config, &status));
	now += 60 * SECOND;
	status.unchanged_us = 60 * SECOND;
}

/* A second passes. */
static bool is_stuck(void)
{
	now += SECOND;
	status.unchanged_us += SECOND;
	return beside_progress_is_stuck(&progress, &config, &status);
}

static void lose_connection(void)
{
	status.connected = status.consuming = false;
	for (int i = 0; i < 10; i++)
		g_assert_false(is_stuck());
}

static void connect_again(bool consuming)
{
	status.connected = true;
	status.consuming = consuming;
	status.connection++;
}

static void test_idle(void)
{
	set_up();
	for (int i = 0; i < 100; i++)
		g_assert_false(is_stuck());
	g_assert_cmpuint(counted, >=, 3);
	g_assert_cmpuint(counted, <=, 5);
	waiting = 1;
	counted = 0;
	while (!is_stuck())
		g_assert_cmpuint(counted, ==, 0);
	g_assert_cmpuint(counted, ==, 1);
}

static void test_still(void)
{
	set_up();
	status.idle_us = 6 * SECOND;
	g_assert_true(is_stuck());
}

static void test_stalled(void)
{
	set_up();
	status.stalled_us = 6 * SECOND;
	g_assert_true(is_stuck());
	status.refused = true;
	g_assert_false(is_stuck());
}

/* The broker still takes the previous connection for the consumer, for some seconds. */
static void test_broker_restarted(void)
{
	set_up();
	lose_connection();
	connect_again(false);
	g_assert_false(is_stuck());
	g_assert_false(is_stuck());
	status.consuming = true;
	status.overdue_us = 20 * SECOND;
	g_assert_false(is_stuck());
	status.overdue_us = 0;
	for (int i = 0; i < 20; i++)
		g_assert_false(is_stuck());
}

static void test_consumes_no_more(void)
{
	set_up();
	lose_connection();
	connect_again(false);
	for (int i = 0; i < 6; i++)
		g_assert_false(is_stuck());
	g_assert_true(is_stuck());
}

/* Each second there is another connection, which is lost before it consumes. */
static void test_connections_are_lost(void)
{
	int seconds = 0;

	set_up();
	lose_connection();
	for (bool stuck = false; !stuck; seconds++) {
		g_assert_cmpint(seconds, <, 10);
		connect_again(false);
		stuck = is_stuck();
	}
	g_assert_cmpint(seconds, >, 5);
}

static void test_overdue(void)
{
	set_up();
	status.overdue_us = 6 * SECOND;
	g_assert_true(is_stuck());
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/beside-progress/idle", test_idle);
	g_test_add_func("/beside-progress/still", test_still);
	g_test_add_func("/beside-progress/stalled", test_stalled);
	g_test_add_func("/beside-progress/broker-restarted", test_broker_restarted);
	g_test_add_func("/beside-progress/consumes-no-more", test_consumes_no_more);
	g_test_add_func("/beside-progress/connections-are-lost", test_connections_are_lost);
	g_test_add_func("/beside-progress/overdue", test_overdue);
	return g_test_run();
}
