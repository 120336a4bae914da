/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The limit of all uploads, with a clock of the test.
 */
#include "image/store/rate-limit.h"

#define BYTES_PER_SECOND 1000000
#define BLOCK 100000 /* a tenth of a second */
#define BLOCK_US (G_USEC_PER_SEC / 10)

static gint64 now_us;

gint64 __wrap_g_get_monotonic_time(void);
gint64 __wrap_g_get_monotonic_time(void)
{
	return now_us;
}

static void test_order(void)
{
	struct rate_limit *limit = rate_limit_new(BYTES_PER_SECOND);

	now_us = 7 * G_USEC_PER_SEC;
	for (int i = 0; i < 20; i++)
		g_assert_cmpint(rate_limit_reserve(limit, BLOCK), ==, now_us + i * BLOCK_US);
	rate_limit_free(limit);
}

/* The rate is reached although each block is sent late. */
static void test_late(void)
{
	struct rate_limit *limit = rate_limit_new(BYTES_PER_SECOND);
	gint64 begin_us = now_us = 7 * G_USEC_PER_SEC;

	for (int i = 0; i < 20; i++) {
		gint64 start_us = rate_limit_reserve(limit, BLOCK);

		g_assert_cmpint(start_us, ==, begin_us + i * BLOCK_US);
		now_us = MAX(now_us, start_us) + BLOCK_US * 9 / 10;
	}
	rate_limit_free(limit);
}

/* What was not sent for longer is not made up for. */
static void test_idle(void)
{
	struct rate_limit *limit = rate_limit_new(BYTES_PER_SECOND);

	now_us = 7 * G_USEC_PER_SEC;
	(void)rate_limit_reserve(limit, BLOCK);
	now_us += G_USEC_PER_SEC;
	g_assert_cmpint(rate_limit_reserve(limit, BLOCK), ==, now_us);
	g_assert_cmpint(rate_limit_reserve(limit, BLOCK), ==, now_us + BLOCK_US);
	rate_limit_free(limit);
}

static void test_none(void)
{
	g_assert_null(rate_limit_new(0));
	g_assert_cmpint(rate_limit_reserve(NULL, BLOCK), ==, 0);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/rate-limit/order", test_order);
	g_test_add_func("/rate-limit/late", test_late);
	g_test_add_func("/rate-limit/idle", test_idle);
	g_test_add_func("/rate-limit/none", test_none);
	return g_test_run();
}
