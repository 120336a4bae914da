/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * No guest stays frozen: nothing is frozen without a process that thaws in our stead, and that one
 * is let go only of a guest that is thawed. On a guest of libvirt's test driver; the process is a
 * script that notes what it was told.
 */
#include <poll.h>
#include <signal.h>

#include "tests/unit/host.h"

#define UUID HOST_UUID
#define NOTES "echo ready\nread word\necho \"told $word\" > \"$0.said\"\n"
#define THAWS "echo ready\nsleep 0.3\necho thawed\nread word\necho \"told $word\" > \"$0.said\"\n"
#define DEAF "echo ready\nexec sleep 300\n"

static struct {
	int freeze_code, thaw_code; /* 0: it works */
	unsigned freezes, thaws;
} fake;

__typeof__(virDomainFSFreeze) __wrap_virDomainFSFreeze;
__typeof__(virDomainFSThaw) __wrap_virDomainFSThaw;

int __wrap_virDomainFSFreeze(virDomainPtr domain, const char **mounts, unsigned count,
			     unsigned flags)
{
	(void)domain;
	(void)mounts;
	(void)count;
	(void)flags;
	fake.freezes++;
	return fake.freeze_code ? host_fail(fake.freeze_code) : 1;
}

int __wrap_virDomainFSThaw(virDomainPtr domain, const char **mounts, unsigned count, unsigned flags)
{
	(void)domain;
	(void)mounts;
	(void)count;
	(void)flags;
	fake.thaws++;
	return fake.thaw_code ? host_fail(fake.thaw_code) : 1;
}

struct fixture {
	struct host host;
	char *program, *said;
};

static void set_up(struct fixture *fixture, gconstpointer script)
{
	g_autofree char *text = g_strconcat("#!/bin/sh\n", script, NULL);

	memset(&fake, 0, sizeof(fake));
	host_open(&fixture->host);
	host_sleeps = true;
	fixture->program = g_build_filename(fixture->host.tmp, "thaw", NULL);
	fixture->said = g_strconcat(fixture->program, ".said", NULL);
	g_assert_true(g_file_set_contents_full(fixture->program, text, -1,
					       G_FILE_SET_CONTENTS_CONSISTENT, 0700, NULL));
	fixture->host.config.thaw_program = fixture->program;
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	(void)g_unlink(fixture->program);
	(void)g_unlink(fixture->said);
	host_close(&fixture->host);
	g_free(fixture->program);
	g_free(fixture->said);
}

static void freeze_fails(const struct fixture *fixture, const char *words)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(virt_guest_freeze(fixture->host.virt, UUID, 60, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE);
	if (!strstr(error->message, words))
		g_error("it says \"%s\"", error->message);
}

static void thaw_fails(const struct fixture *fixture, const char *words)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(virt_guest_thaw(fixture->host.virt, UUID, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE);
	if (!strstr(error->message, words))
		g_error("it says \"%s\"", error->message);
}

static void freeze(const struct fixture *fixture)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(virt_guest_freeze(fixture->host.virt, UUID, 60, &error), ==, 0);
	g_assert_no_error(error);
}

/* The word that the process was told; none where its pipe ended. */
static void was_told(const struct fixture *fixture, const char *word)
{
	g_autofree char *wanted = g_strdup_printf("told %s\n", word);
	g_autofree char *text = NULL;

	for (unsigned i = 0; i < 500 && g_strcmp0(text, wanted) != 0; i++) {
		(void)poll(NULL, 0, 10);
		g_free(text);
		text = NULL;
		(void)g_file_get_contents(fixture->said, &text, NULL, NULL);
	}
	g_assert_cmpstr(text, ==, wanted);
}

static void test_frozen_and_thawed(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze(fixture);
	freeze_fails(fixture, "frozen already");
	g_assert_cmpuint(fake.freezes, ==, 1);
	g_assert_cmpint(virt_guest_thaw(fixture->host.virt, UUID, NULL), ==, 0);
	was_told(fixture, "done");
	g_assert_cmpuint(fake.thaws, ==, 1);
	freeze(fixture);
	g_assert_cmpint(virt_guest_thaw(fixture->host.virt, UUID, NULL), ==, 0);
}

static void take_back(const struct fixture *fixture)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(virt_guest_undo(fixture->host.virt, UUID, "freeze", "{}", &error), ==, 0);
	g_assert_no_error(error);
}

/* What an earlier life left is taken back late: a freeze of this one is not its. */
static void test_frozen_again_since(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	take_back(fixture);
	g_assert_cmpuint(fake.thaws, ==, 1);
	freeze(fixture);
	take_back(fixture);
	g_assert_cmpuint(fake.thaws, ==, 1);
	freeze_fails(fixture, "frozen already");
	g_assert_cmpint(virt_guest_thaw(fixture->host.virt, UUID, NULL), ==, 0);
	was_told(fixture, "done");
	take_back(fixture);
	g_assert_cmpuint(fake.thaws, ==, 3);
}

static void test_nobody_would_thaw(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture->host.config.thaw_program = "/none/such";
	freeze_fails(fixture, "cannot be started");
	fixture->host.config.thaw_program = "/bin/true";
	freeze_fails(fixture, "was not ready");
	g_assert_cmpuint(fake.freezes + fake.thaws, ==, 0);
}

static void test_guest_does_not_run(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainSuspend(fixture->host.domain), ==, 0);
	freeze_fails(fixture, "does not run");
	g_assert_cmpint(virDomainResume(fixture->host.domain), ==, 0);
	g_assert_cmpuint(fake.freezes, ==, 0);
}

/* Half of it may be frozen. */
static void test_freeze_fails(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.freeze_code = VIR_ERR_AGENT_UNRESPONSIVE;
	freeze_fails(fixture, "freezing");
	g_assert_cmpuint(fake.thaws, ==, 1);
	was_told(fixture, "done");
	fake.thaw_code = VIR_ERR_OPERATION_INVALID;
	freeze_fails(fixture, "freezing");
	was_told(fixture, "done");
}

/* The agent may have frozen it, and be slow: the process goes on where we do not. */
static void test_agent_is_silent(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.freeze_code = fake.thaw_code = VIR_ERR_AGENT_UNRESPONSIVE;
	freeze_fails(fixture, "freezing");
	was_told(fixture, "");
}

static void test_thaw_fails(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze(fixture);
	fake.thaw_code = VIR_ERR_AGENT_UNRESPONSIVE;
	thaw_fails(fixture, "tried again");
	was_told(fixture, "");
	/* It is told again by whoever wants it. */
	thaw_fails(fixture, "thawing");
	fake.thaw_code = 0;
	g_assert_cmpint(virt_guest_thaw(fixture->host.virt, UUID, NULL), ==, 0);
	g_assert_cmpuint(fake.thaws, ==, 3);
}

static void test_thawed_before_its_time(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze(fixture);
	(void)poll(NULL, 0, 1000);
	thaw_fails(fixture, "were thawed before");
	was_told(fixture, "done");
}

/* Whoever does not end when it is told to is killed. */
static void test_process_that_stays(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze(fixture);
	host_sleeps = false;
	g_assert_cmpint(virt_guest_thaw(fixture->host.virt, UUID, NULL), ==, 0);
	g_assert_cmpint(host_passed / G_USEC_PER_SEC, >=, 4);
}

/* At the end of the process. */
static void test_guest_that_was_left_frozen(struct fixture *fixture, gconstpointer failing)
{
	freeze(fixture);
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*was left frozen, and is thawed");
	if (failing)
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*tried again*");
	fake.thaw_code = failing ? VIR_ERR_AGENT_UNRESPONSIVE : 0;
	virt_host_close(fixture->host.virt);
	g_test_assert_expected_messages();
	fixture->host.virt = NULL;
	was_told(fixture, failing ? "" : "done");
}

static void test_left_frozen(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	test_guest_that_was_left_frozen(fixture, NULL);
}

static void test_left_frozen_for_good(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	test_guest_that_was_left_frozen(fixture, "failing");
}

#define TEST(name, script)                                                                         \
	g_test_add("/freeze/" #name, struct fixture, script, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	/* As novasnapd. */
	(void)signal(SIGPIPE, SIG_IGN);
	g_test_init(&argc, &argv, NULL);
	TEST(frozen_and_thawed, NOTES);
	TEST(frozen_again_since, NOTES);
	TEST(nobody_would_thaw, NOTES);
	TEST(guest_does_not_run, NOTES);
	TEST(freeze_fails, NOTES);
	TEST(agent_is_silent, NOTES);
	TEST(thaw_fails, NOTES);
	TEST(thawed_before_its_time, THAWS);
	TEST(process_that_stays, DEAF);
	TEST(left_frozen, NOTES);
	TEST(left_frozen_for_good, NOTES);
	return g_test_run();
}
