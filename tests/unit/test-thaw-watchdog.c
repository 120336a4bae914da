/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watchdog of a frozen guest, here in the test's own process: it thaws the guest also where
 * libvirtd was restarted meanwhile, and no answer is not "stopped". On a guest of libvirt's test
 * driver.
 */
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/host.h"

#define AGENT_TIMEOUT_S 7

static struct {
	unsigned thaws, failing_thaws;
	int thaw_code;
	bool is_thawed;
	unsigned state_unanswered; /* how many times the question is not answered */
	unsigned paused;	   /* how many times the guest is paused */
	unsigned saved;		   /* how many times the guest is saved; then it is restored */
	int agent_limit;	   /* of its replies, in seconds, as last set */
} fake;

__typeof__(virDomainFSThaw) __wrap_virDomainFSThaw;
__typeof__(virDomainGetState) __real_virDomainGetState, __wrap_virDomainGetState;
__typeof__(virDomainAgentSetResponseTimeout) __wrap_virDomainAgentSetResponseTimeout;

int __wrap_virDomainAgentSetResponseTimeout(virDomainPtr domain, int seconds, unsigned flags)
{
	(void)domain;
	(void)flags;
	fake.agent_limit = seconds;
	return 0;
}

int __wrap_virDomainFSThaw(virDomainPtr domain, const char **mounts, unsigned count, unsigned flags)
{
	(void)domain;
	(void)mounts;
	(void)count;
	(void)flags;
	g_assert_cmpint(fake.agent_limit, ==, AGENT_TIMEOUT_S);
	if (fake.is_thawed)
		return 0;
	if (++fake.thaws <= fake.failing_thaws)
		return host_fail(fake.thaw_code);
	fake.is_thawed = true;
	return 1;
}

int __wrap_virDomainGetState(virDomainPtr domain, int *state, int *reason, unsigned flags)
{
	int rc;

	if (fake.saved > 0 && --fake.saved == 0)
		g_assert_cmpint(virDomainCreate(domain), ==, 0);
	rc = __real_virDomainGetState(domain, state, reason, flags);
	if (fake.state_unanswered > 0) {
		fake.state_unanswered--;
		return host_fail(VIR_ERR_INVALID_CONN);
	}
	if (fake.paused > 0) {
		fake.paused--;
		*state = VIR_DOMAIN_PAUSED;
	}
	return rc;
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
	char output[65536] = "";

	g_assert_cmpint(pipe(to), ==, 0);
	g_assert_cmpint(pipe(from), ==, 0);
	g_assert_cmpint(write(to[1], input, strlen(input)), ==, (ssize_t)strlen(input));
	(void)close(to[1]);
	(void)dup2(to[0], STDIN_FILENO);
	(void)dup2(from[1], STDOUT_FILENO);
	status = virt_thaw_watch(HOST_URI, HOST_UUID, 60, AGENT_TIMEOUT_S);
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
	/* libvirt's default, unless the agent was not asked. */
	g_assert_true(fake.agent_limit == VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK ||
		      fake.thaws == 0);
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
	fake.state_unanswered = 2;
	expect_warning("*the watchdog thaws it");
	for (int i = 0; i < 2; i++)
		g_test_expect_message("virt", G_LOG_LEVEL_INFO, "*retrying on a new connection*");
	assert_run("", EXIT_SUCCESS, "ready\nthawed\n");
	g_assert_cmpuint(fake.thaws, ==, 1);
	g_assert_cmpuint(host_connects, ==, 3);
}

/* libvirtd is away for minutes. */
static void test_libvirt_is_away(struct host *host, gconstpointer unused)
{
	(void)host;
	(void)unused;
	fake.state_unanswered = 3 * 30;
	expect_warning("*the watchdog thaws it");
	for (int i = 0; i < 60; i++) {
		g_test_expect_message("virt", G_LOG_LEVEL_INFO, "*retrying on a new connection*");
		/* The same failure is logged once. */
		if (i == 1)
			expect_warning("*asking for the guest's state*retrying");
	}
	assert_run("", EXIT_SUCCESS, "ready\nthawed\n");
	g_assert_cmpuint(fake.thaws, ==, 1);
	g_assert_cmpint(host_clock_us / G_USEC_PER_SEC, >, 300);
}

/* A guest that is paused for hours, and then resumed. */
static void test_guest_is_paused(struct host *host, gconstpointer unused)
{
	(void)host;
	(void)unused;
	fake.paused = 1000;
	expect_warning("*the watchdog thaws it");
	expect_warning("*the guest is paused*retrying");
	assert_run("", EXIT_SUCCESS, "ready\nthawed\n");
	g_assert_cmpuint(fake.thaws, ==, 1);
	g_assert_cmpint(host_clock_us / G_USEC_PER_SEC, >, 3 * 3600);
}

/* A guest that was suspended while it was frozen is still frozen when it is restored. */
static void test_guest_is_saved(struct host *host, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainManagedSave(host->domain, 0), ==, 0);
	fake.saved = 1000;
	expect_warning("*the watchdog thaws it");
	expect_warning("*the guest is saved*retrying");
	assert_run("", EXIT_SUCCESS, "ready\nthawed\n");
	g_assert_cmpuint(fake.thaws, ==, 1);
	g_assert_cmpint(host_clock_us / G_USEC_PER_SEC, >, 3 * 3600);
}

/* An agent that was silent, and then answers. */
static void test_agent_is_slow(struct host *host, gconstpointer unused)
{
	(void)host;
	(void)unused;
	fake.failing_thaws = 100;
	fake.thaw_code = VIR_ERR_AGENT_UNRESPONSIVE;
	expect_warning("*the watchdog thaws it");
	expect_warning("*thawing the guest's filesystems*retrying");
	assert_run("", EXIT_SUCCESS, "ready\nthawed\n");
	g_assert_cmpuint(fake.thaws, ==, 101);
}

/* The guest is frozen late: its time counts from then. */
static void test_frozen_and_dismissed(struct host *host, gconstpointer unused)
{
	(void)host;
	(void)unused;
	assert_run("frozen\ndone\n", EXIT_SUCCESS, "ready\n");
	expect_warning("*the watchdog thaws it");
	assert_run("frozen\n", EXIT_SUCCESS, "ready\nthawed\n");
	g_assert_cmpuint(fake.thaws, ==, 1);
}

/* Another watchdog of the guest is still thawing it: it might thaw the new freeze. */
static void test_other_watchdog(struct host *host, gconstpointer unused)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1;
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	(void)host;
	(void)unused;
	length += (socklen_t)g_snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
					"novasnap-thaw/%s", HOST_UUID);
	g_assert_cmpint(bind(fd, (const struct sockaddr *)&address, length), ==, 0);
	assert_run("", EXIT_FAILURE, "busy\n");
	(void)close(fd);
	assert_run("done\n", EXIT_SUCCESS, "ready\n");
}

/* A guest that does not run is not frozen. */
static void test_guest_is_stopped(struct host *host, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainDestroy(host->domain), ==, 0);
	expect_warning("*the watchdog thaws it");
	/* It was not thawed, and that is not claimed. */
	assert_run("", EXIT_SUCCESS, "ready\n");
	g_assert_cmpuint(fake.thaws, ==, 0);
}

/* An agent that refuses to thaw. It does not say that the guest is thawed. */
static void test_given_up(struct host *host, gconstpointer unused)
{
	(void)host;
	(void)unused;
	fake.failing_thaws = UINT_MAX;
	fake.thaw_code = VIR_ERR_INTERNAL_ERROR;
	expect_warning("*the watchdog thaws it");
	expect_warning("*thawing the guest's filesystems*retrying");
	expect_warning("*giving up*virsh domfsthaw*");
	assert_run("", EXIT_FAILURE, "ready\n");
	g_assert_cmpuint(fake.thaws, ==, 20);
}

/* An agent that never answers. */
static void test_time_is_over(struct host *host, gconstpointer unused)
{
	gint64 began = g_get_monotonic_time();

	(void)host;
	(void)unused;
	fake.failing_thaws = UINT_MAX;
	fake.thaw_code = VIR_ERR_AGENT_UNRESPONSIVE;
	expect_warning("*the watchdog thaws it");
	expect_warning("*thawing the guest's filesystems*retrying");
	expect_warning("*giving up*virsh domfsthaw*");
	assert_run("", EXIT_FAILURE, "ready\n");
	/* With the time that really passed. */
	g_assert_cmpint((g_get_monotonic_time() - began) / G_USEC_PER_SEC, >=, 24 * 3600);
	g_assert_cmpint(host_clock_us / G_USEC_PER_SEC, <, 24 * 3600 + 60);
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
	TEST(libvirt_is_away);
	TEST(guest_is_paused);
	TEST(guest_is_saved);
	TEST(agent_is_slow);
	TEST(frozen_and_dismissed);
	TEST(other_watchdog);
	TEST(guest_is_stopped);
	TEST(given_up);
	TEST(time_is_over);
	TEST(not_ready);
	return g_test_run();
}
