/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running a program to its end.
 */
#include <string.h>

#include "virt/process.h"
#include "virt/virt.h"

static void test_run(void)
{
	const char *const good[] = {"/bin/sh", "-c", "echo out; echo err >&2", NULL};
	const char *const bad[] = {"/bin/sh", "-c", "echo its own message >&2; exit 3", NULL};
	const char *const slow[] = {"/bin/sleep", "100", NULL};
	const char *const none[] = {"/nonexistent", "x", NULL};
	atomic_int cancel;
	g_autofree char *output = NULL;
	GError *error = NULL;

	g_assert_cmpint(process_run(good, 10, NULL, &output, NULL), ==, 0);
	g_assert_cmpstr(output, ==, "out\n");
	g_assert_cmpint(process_run(bad, 10, NULL, NULL, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS);
	g_assert_nonnull(strstr(error->message, "(3): its own message"));
	g_clear_error(&error);
	g_assert_cmpint(process_run(slow, 1, NULL, NULL, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT);
	g_clear_error(&error);
	atomic_init(&cancel, 1);
	g_assert_cmpint(process_run(slow, 100, &cancel, NULL, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_CANCELLED);
	g_clear_error(&error);
	g_assert_cmpint(process_run(none, 10, NULL, NULL, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS);
	g_clear_error(&error);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/process/run", test_run);
	return g_test_run();
}
