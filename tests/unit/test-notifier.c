/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What systemd is told when a main part is stuck. The socket of the service manager is the test's;
 * the linker replaces what asks the manager and the connections.
 */
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/daemon/notifier.h"
#include "agent/daemon/overview.h"

/* The functions that take them are replaced, and do not look at them. */
static max_align_t nothing;
#define NO_MANAGER ((struct manager *)(void *)&nothing)
#define NO_RPC ((struct rpc *)(void *)&nothing)

#define LIMIT_US "300000"
#define WAIT_MS 1000

static bool is_alive, is_ready;
static gint64 idle_us;
static const char *described;

cJSON *__wrap_manager_describe(struct manager *manager);
void __wrap_rpc_get_health(struct rpc *rpc, struct rpc_health *ret_health);
bool __wrap_rpc_wait_ready(struct rpc *rpc, unsigned timeout_s);
char *__wrap_rpc_last_connect_error(struct rpc *rpc);

cJSON *__wrap_manager_describe(struct manager *manager)
{
	(void)manager;
	return cJSON_Parse(described);
}

void __wrap_rpc_get_health(struct rpc *rpc, struct rpc_health *ret_health)
{
	(void)rpc;
	*ret_health = (struct rpc_health){.idle_us = idle_us};
}

bool __wrap_rpc_wait_ready(struct rpc *rpc, unsigned timeout_s)
{
	(void)rpc;
	(void)timeout_s;
	return is_ready;
}

char *__wrap_rpc_last_connect_error(struct rpc *rpc)
{
	(void)rpc;
	return g_strdup("refused");
}

static char *describe_nothing(void *opaque)
{
	(void)opaque;
	return NULL;
}

static bool answer_is_alive(void *opaque, char **ret_reason)
{
	(void)opaque;
	*ret_reason = is_alive ? NULL : g_strdup("a part is stuck");
	return is_alive;
}

/* Runs the main context for a while. Returns how many keep-alives came. */
static unsigned count_keep_alives(GMainContext *context, int fd)
{
	gint64 until = g_get_monotonic_time() + (gint64)WAIT_MS * 1000;
	unsigned count = 0;
	char text[256];
	ssize_t length;

	while (g_get_monotonic_time() < until) {
		(void)g_main_context_iteration(context, FALSE);
		g_usleep(5000);
	}
	while ((length = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT)) > 0) {
		text[length] = '\0';
		count += strcmp(text, "WATCHDOG=1") == 0;
	}
	return count;
}

static void test_stuck(void)
{
	const struct notifier_ops ops = {describe_nothing, answer_is_alive, NULL};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	g_autoptr(GMainContext) context = g_main_context_new();
	g_autofree char *name = g_strdup_printf("@novasnap-test-%d", getpid());
	struct notifier *notifier;
	int rc;

	(void)g_strlcpy(address.sun_path + 1, name + 1, sizeof(address.sun_path) - 1);
	rc = bind(fd, (const struct sockaddr *)&address,
		  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name)));
	g_assert_cmpint(rc, ==, 0);
	g_setenv("NOTIFY_SOCKET", name, TRUE);
	g_setenv("WATCHDOG_USEC", LIMIT_US, TRUE);
	notifier = notifier_start(context, &ops);
	is_alive = true;
	g_assert_cmpuint(count_keep_alives(context, fd), >=, 4);
	is_alive = false;
	/* Only once. */
	g_test_expect_message("agent", G_LOG_LEVEL_WARNING, "a part is stuck: not telling*");
	g_assert_cmpuint(count_keep_alives(context, fd), ==, 0);
	g_test_assert_expected_messages();
	is_alive = true;
	g_assert_cmpuint(count_keep_alives(context, fd), >=, 4);
	notifier_stop(notifier);
	g_unsetenv("NOTIFY_SOCKET");
	g_unsetenv("WATCHDOG_USEC");
	(void)close(fd);
}

static void test_overview_is_alive(void)
{
	g_autofree char *reason = NULL;

	described = "{}";
	/* As long as a connection attempt takes. */
	idle_us = 60 * G_USEC_PER_SEC;
	g_assert_true(overview_is_alive(NO_MANAGER, NO_RPC, &reason));
	idle_us = 181 * G_USEC_PER_SEC;
	g_assert_false(overview_is_alive(NO_MANAGER, NO_RPC, &reason));
	g_assert_cmpstr(reason, ==,
			"a thread of a connection to the broker has been stuck for 181 s");
}

static void check_text(const char *status, const char *wanted)
{
	g_autofree char *text = NULL;

	described = status;
	text = overview_text(NO_MANAGER, NO_RPC);
	g_assert_cmpstr(text, ==, wanted);
}

static void test_overview_text(void)
{
	is_ready = true;
	check_text("{\"jobs\": [], \"waiting\": 1, \"paused\": false}", "0 jobs run, 1 waits");
	check_text("{\"jobs\": [{\"instance\": \"a\", \"method\": \"snapshot_instance\", \"step\": "
		   "\"uploading the image\", \"done\": 5, \"total\": 20}], \"waiting\": 0}",
		   "1 job runs, 0 wait; snapshot_instance of a: uploading the image, 25 %");
	/* Before the first byte, `done` is larger than `total`. */
	check_text(
		"{\"jobs\": [{\"instance\": \"a\", \"method\": \"m\", \"step\": \"s\", \"done\": "
		"50, \"total\": 20}], \"waiting\": 2, \"paused\": true}",
		"Accepting no casts: the journal cannot be written; 1 job runs, 2 wait; m of a: s");
	is_ready = false;
	check_text("{\"jobs\": [], \"waiting\": 0}",
		   "Not connected to the broker: refused; 0 jobs run, 0 wait");
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/notifier/stuck", test_stuck);
	g_test_add_func("/overview/is_alive", test_overview_is_alive);
	g_test_add_func("/overview/text", test_overview_text);
	return g_test_run();
}
