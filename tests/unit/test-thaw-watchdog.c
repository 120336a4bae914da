/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watchdog of a frozen guest, here in the test's own process: it thaws the guest also where
 * libvirtd was restarted meanwhile, and no answer is not "stopped". On a guest of libvirt's test
 * driver.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/host.h"

static struct {
	unsigned thaws, failing_thaws;
	int thaw_code;
	unsigned active_unanswered; /* how many times the question is not answered */
} fake;

__typeof__(virDomainFSThaw) __wrap_virDomainFSThaw;
__typeof__(virDomainIsActive) __real_virDomainIsActive, __wrap_virDomainIsActive;

int __wrap_virDomainFSThaw(virDomainPtr domain, const char **mounts, unsigned count, unsigned flags)
{
	(void)domain;
	(void)mounts;
	(void)count;
	(void)flags;
	return ++fake.thaws > fake.failing_thaws ? 1 : host_fail(fake.thaw_code);
}

int __wrap_virDomainIsActive(virDomainPtr domain)
{
	if (fake.active_unanswered == 0)
		return __real_virDomainIsActive(domain);
	fake.active_unanswered--;
	return host_fail(VIR_ERR_INVALID_CONN);
}

static void set_up(struct host *host, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fake.thaw_code = VIR_ERR_INVALID_CONN;
	host_open(host);
	/* The watchdog has limits on its calls, as a host has: only one can have them. */
	virt_host_close(host->virt);
	host->virt = NULL;
}

static void tear_down(struct host *host, gconstpointer unused)
{
	(void)unused;
	host_close(host);
}

/* Without GLib's own lines, which go to standard output in a test. */
static char *remove_log_lines(const char *output)
{
	g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
	GString *kept = g_string_new(NULL);

	for (char **line = lines; *line; line++) {
		if (**line && **line != '#')
			g_string_append_printf(kept, "%s\n", *line);
	}
	return g_string_free(kept, FALSE);
}

/* Runs the watchdog with that text on its standard input, which then ends. Returns its exit status;
 * *ret_output is what it wrote, freed by the caller. */
static int run_watchdog(const char *input, char **ret_output)
{
	int saved_input = dup(STDIN_FILENO), saved_output = dup(STDOUT_FILENO);
	int to[2], from[2], status;
	char output[8192] = "";

	g_assert_cmpint(pipe(to), ==, 0);
	g_assert_cmpint(pipe(from), ==, 0);
	g_assert_cmpint(write(to[1], input, strlen(input)), ==, (ssize_t)strlen(input));
	(void)close(to[1]);
	(void)dup2(to[0], STDIN_FILENO);
	(void)dup2(from[1], STDOUT_FILENO);
	status = virt_thaw_watch(HOST_URI, HOST_UUID, 60);
	(void)alarm(0);
	(void)dup2(saved_input, STDIN_FILENO);
	(void)dup2(saved_output, STDOUT_FILENO);
	(void)close(saved_input);
	(void)close(saved_output);
	(void)close(from[1]);
	g_assert_cmpint(read(from[0], output, sizeof(output) - 1), >=, 0);
	(void)close(from[0]);
	(void)close(to[0]);
	*ret_output = remove_log_lines(output);
	return status;
}

static void expect_warning(const char *pattern)
{
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, pattern);
}

static void assert_run(const char *input, int status, const char *output)
{
	g_autofree char *got = NULL;

	g_assert_cmpint(run_watchdog(input, &got), ==, status);
	g_test_assert_expected_messages();
	g_assert_cmpstr(got, ==, output);
}

static void test_dismissed(struct host *host, gconstpointer unused)
{
	(void)host;
	(void)unused;
	assert_run("done\n", EXIT_SUCCESS, "ready\n");
	g_assert_cmpuint(fake.thaws, ==, 0);
}

static void test_novasnapd_dies(struct host *host, gconstpointer unused)
{
	(void)host;
	(void)unused;
	expect_warning("*the watchdog thaws it");
	assert_run("", EXIT_SUCCESS, "ready\nthawed\n");
	g_assert_cmpuint(fake.thaws, ==, 1);
}

/* libvirtd was restarted while the guest was frozen. */
static void test_connection_breaks(struct host *host, gconstpointer unused)
{
	(void)host;
	(void)unused;
	fake.failing_thaws = 2;
	fake.active_unanswered = 1;
	expect_warning("*the watchdog thaws it");
	g_test_expect_message("virt", G_LOG_LEVEL_INFO, "*retrying on a new connection*");
	expect_warning("*thawing the guest's filesystems*retrying");
	expect_warning("*thawing the guest's filesystems*retrying");
	assert_run("", EXIT_SUCCESS, "ready\nthawed\n");
	g_assert_cmpuint(fake.thaws, ==, 3);
	g_assert_cmpuint(host_connects, ==, 2);
}

/* The guest may still be frozen: the watchdog goes on. */
static void test_state_is_unknown(struct host *host, gconstpointer unused)
{
	(void)host;
	(void)unused;
	fake.failing_thaws = 2;
	fake.active_unanswered = 3;
	expect_warning("*the watchdog thaws it");
	for (int i = 0; i < 2; i++)
		g_test_expect_message("virt", G_LOG_LEVEL_INFO, "*retrying on a new connection*");
	expect_warning("*thawing the guest's filesystems*retrying");
	expect_warning("*thawing the guest's filesystems*retrying");
	assert_run("", EXIT_SUCCESS, "ready\nthawed\n");
	g_assert_cmpuint(fake.thaws, ==, 3);
}

/* A guest that does not run is not frozen. */
static void test_guest_is_stopped(struct host *host, gconstpointer unused)
{
	(void)unused;
	fake.failing_thaws = UINT_MAX;
	fake.thaw_code = VIR_ERR_OPERATION_INVALID;
	g_assert_cmpint(virDomainDestroy(host->domain), ==, 0);
	expect_warning("*the watchdog thaws it");
	assert_run("", EXIT_SUCCESS, "ready\nthawed\n");
	g_assert_cmpuint(fake.thaws, ==, 1);
}

/* An agent that never answers. It does not say that the guest is thawed. */
static void test_given_up(struct host *host, gconstpointer unused)
{
	(void)host;
	(void)unused;
	fake.failing_thaws = UINT_MAX;
	fake.thaw_code = VIR_ERR_AGENT_UNRESPONSIVE;
	expect_warning("*the watchdog thaws it");
	for (int i = 0; i < 20; i++)
		expect_warning("*thawing the guest's filesystems*retrying");
	assert_run("", EXIT_FAILURE, "ready\n");
}

/* Without a connection nothing is frozen: it is not ready. */
static void test_not_ready(struct host *host, gconstpointer unused)
{
	(void)host;
	(void)unused;
	host_lose_libvirt();
	expect_warning("*cannot connect*");
	assert_run("", EXIT_FAILURE, "");
}

#define TEST(name)                                                                                 \
	g_test_add("/thaw-watchdog/" #name, struct host, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(dismissed);
	TEST(novasnapd_dies);
	TEST(connection_breaks);
	TEST(state_is_unknown);
	TEST(guest_is_stopped);
	TEST(given_up);
	TEST(not_ready);
	return g_test_run();
}
