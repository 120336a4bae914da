/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The median of delays, of the last minutes only.
 */
#include "rpc/amqp/delays.h"

#define RECENT_US ((gint64)DELAYS_RECENT_S * G_USEC_PER_SEC)

static void test_without_delays(void)
{
	struct delays delays = {.count = 0};

	g_assert_cmpint(delays_last(&delays), ==, -1);
	g_assert_cmpint(delays_median(&delays, G_USEC_PER_SEC), ==, -1);
}

static void test_median(void)
{
	struct delays delays = {.count = 0};

	for (gint64 i = 1; i <= DELAYS_KEPT + 3; i++)
		delays_add(&delays, i, i);
	g_assert_cmpint(delays_last(&delays), ==, DELAYS_KEPT + 3);
	/* The first three were overwritten. */
	g_assert_cmpint(delays_median(&delays, 1000), ==, 4 + DELAYS_KEPT / 2);
	g_assert_cmpint(delays.max, ==, DELAYS_KEPT + 3);
}

/* A minute with a slow broker does not stay in the median of a host that forwards little. */
static void test_old_delays_are_left_out(void)
{
	const gint64 begin = 17 * G_USEC_PER_SEC;
	struct delays delays = {.count = 0};

	for (gint64 i = 0; i < 60; i++)
		delays_add(&delays, begin + i * G_USEC_PER_SEC, 5 * G_USEC_PER_SEC);
	g_assert_cmpint(delays_median(&delays, begin + RECENT_US), ==, 5 * G_USEC_PER_SEC);
	delays_add(&delays, begin + 59 * G_USEC_PER_SEC + RECENT_US, 2000);
	g_assert_cmpint(delays_median(&delays, begin + 60 * G_USEC_PER_SEC + RECENT_US), ==, 2000);
	g_assert_cmpint(delays_median(&delays, begin + 60 * G_USEC_PER_SEC + 2 * RECENT_US), ==,
			-1);
	g_assert_cmpint(delays_last(&delays), ==, 2000);
	g_assert_cmpint(delays.max, ==, 5 * G_USEC_PER_SEC);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/delays/without-delays", test_without_delays);
	g_test_add_func("/delays/median", test_median);
	g_test_add_func("/delays/old-delays-are-left-out", test_old_delays_are_left_out);
	return g_test_run();
}
