/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * No guest stays frozen: nothing is frozen without a watchdog, and the watchdog is dismissed only
 * once the guest is thawed. On a guest of libvirt's test driver; the watchdog is a script that
 * writes down what it is told.
 */
#include <poll.h>
#include <signal.h>

#include "tests/unit/snapshot-fixture.h"
#include "virt/domain/freeze.h"
#include "virt/method/quiesce.h"

/* The first word but "frozen". */
#define READ_WORD "read word\n[ \"$word\" = frozen ] && read word\n"
#define WAITS "echo ready\n" READ_WORD "echo \"told $word\" > \"$0.told\"\n"
#define EXPIRES                                                                                    \
	"echo ready\nsleep 0.3\necho thawed\n" READ_WORD "echo \"told $word\" > \"$0.told\"\n"
#define STAYS "echo ready\nexec sleep 300\n"
#define IS_BUSY "echo busy\n"

#define AGENT_TIMEOUT_S 5

static struct {
	int freeze_code, thaw_code; /* why it fails; 0: it works */
	unsigned freezes, thaws;    /* a thaw that verifies another one does not count */
	int frozen;		    /* filesystems */
	bool verifying;		    /* the previous thaw has thawed something */
	int agent_limit;	    /* of its replies, in seconds, as last set */
} fake;

__typeof__(virDomainFSFreeze) __wrap_virDomainFSFreeze;
__typeof__(virDomainFSThaw) __wrap_virDomainFSThaw;
__typeof__(virDomainAgentSetResponseTimeout) __wrap_virDomainAgentSetResponseTimeout;

int __wrap_virDomainAgentSetResponseTimeout(virDomainPtr domain, int seconds, unsigned flags)
{
	(void)domain;
	(void)flags;
	fake.agent_limit = seconds;
	return 0;
}

int __wrap_virDomainFSFreeze(virDomainPtr domain, const char **mounts, unsigned count,
			     unsigned flags)
{
	(void)domain;
	(void)mounts;
	(void)count;
	(void)flags;
	g_assert_cmpint(fake.agent_limit, ==, AGENT_TIMEOUT_S);
	fake.freezes++;
	if (fake.freeze_code)
		return host_fail(fake.freeze_code);
	fake.frozen = 1;
	return 1;
}

int __wrap_virDomainFSThaw(virDomainPtr domain, const char **mounts, unsigned count, unsigned flags)
{
	int thawed = fake.frozen;

	(void)domain;
	(void)mounts;
	(void)count;
	(void)flags;
	g_assert_cmpint(fake.agent_limit, ==, AGENT_TIMEOUT_S);
	fake.thaws += !fake.verifying;
	if (fake.thaw_code)
		return host_fail(fake.thaw_code);
	fake.verifying = thawed > 0;
	fake.frozen = 0;
	return thawed;
}

struct freeze_fixture {
	struct fixture guest;
	char *program, *told;
};

static void set_up(struct freeze_fixture *fixture, gconstpointer script)
{
	g_autofree char *text = g_strconcat("#!/bin/sh\n", script, NULL);

	memset(&fake, 0, sizeof(fake));
	fixture_open(&fixture->guest, "");
	host_real_sleep = true;
	fixture->program = g_build_filename(fixture->guest.host.tmp, "thaw", NULL);
	fixture->told = g_strconcat(fixture->program, ".told", NULL);
	g_assert_true(g_file_set_contents_full(fixture->program, text, -1,
					       G_FILE_SET_CONTENTS_CONSISTENT, 0700, NULL));
	fixture->guest.host.config.thaw_program = fixture->program;
	fixture->guest.host.config.live_method = "rebase";
	fixture->guest.host.config.freeze_timeout_s = 60;
}

static void tear_down(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	/* libvirt's default, unless nothing was called. */
	g_assert_true(fake.agent_limit == VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK ||
		      fake.freezes + fake.thaws == 0);
	(void)g_unlink(fixture->program);
	(void)g_unlink(fixture->told);
	fixture_close(&fixture->guest);
	g_free(fixture->program);
	g_free(fixture->told);
}

static struct virt_host *virt(const struct freeze_fixture *fixture)
{
	return fixture->guest.host.virt;
}

static int try_freeze(const struct freeze_fixture *fixture, GError **error)
{
	g_autofree char *id = virt_freeze_id();

	return virt_guest_freeze(virt(fixture), FIXTURE_UUID, id, 60, error);
}

static int try_thaw(const struct freeze_fixture *fixture, GError **error)
{
	bool is_thawed;

	return virt_guest_thaw(virt(fixture), FIXTURE_UUID, &is_thawed, error);
}

static void assert_freeze_fails(const struct freeze_fixture *fixture, const char *words)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(try_freeze(fixture, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE);
	host_assert_message(error, words);
}

static void assert_thaw_fails(const struct freeze_fixture *fixture, const char *words)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(try_thaw(fixture, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE);
	host_assert_message(error, words);
}

static void freeze_guest(const struct freeze_fixture *fixture)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(try_freeze(fixture, &error), ==, 0);
	g_assert_no_error(error);
}

/* Waits until the watchdog was told that word; "": its pipe ended. */
static void assert_told(const struct freeze_fixture *fixture, const char *word)
{
	g_autofree char *wanted = g_strdup_printf("told %s\n", word);
	g_autofree char *text = NULL;

	for (unsigned i = 0; i < 500 && g_strcmp0(text, wanted) != 0; i++) {
		(void)poll(NULL, 0, 10);
		g_free(text);
		text = NULL;
		(void)g_file_get_contents(fixture->told, &text, NULL, NULL);
	}
	g_assert_cmpstr(text, ==, wanted);
}

static void test_frozen_and_thawed(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze_guest(fixture);
	assert_freeze_fails(fixture, "already frozen");
	g_assert_cmpuint(fake.freezes, ==, 1);
	g_assert_cmpint(try_thaw(fixture, NULL), ==, 0);
	assert_told(fixture, "done");
	g_assert_cmpuint(fake.thaws, ==, 1);
	freeze_guest(fixture);
	g_assert_cmpint(try_thaw(fixture, NULL), ==, 0);
}

static void roll_back(const struct freeze_fixture *fixture, const char *undo)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(
		virt_guest_rollback_step(virt(fixture), FIXTURE_UUID, "freeze", undo, &error), ==,
		0);
	g_assert_no_error(error);
}

/* A freeze that an earlier novasnapd left is rolled back late: one of this process is not thawed by
 * that. */
static void test_frozen_again_since(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	roll_back(fixture, "{}");
	g_assert_cmpuint(fake.thaws, ==, 1);
	freeze_guest(fixture);
	roll_back(fixture, "{}");
	roll_back(fixture, "{\"id\":\"1\"}");
	g_assert_cmpuint(fake.thaws, ==, 1);
	assert_freeze_fails(fixture, "already frozen");
	g_assert_cmpint(try_thaw(fixture, NULL), ==, 0);
	assert_told(fixture, "done");
	roll_back(fixture, "{\"id\":\"1\"}");
	g_assert_cmpuint(fake.thaws, ==, 3);
	g_assert_cmpint(fake.frozen, ==, 0);
}

static void test_no_watchdog(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture->guest.host.config.thaw_program = "/none/such";
	assert_freeze_fails(fixture, "cannot start the watchdog");
	fixture->guest.host.config.thaw_program = "/bin/true";
	assert_freeze_fails(fixture, "was not ready");
	g_assert_cmpuint(fake.freezes + fake.thaws, ==, 0);
}

static void test_guest_does_not_run(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainSuspend(fixture->guest.host.domain), ==, 0);
	assert_freeze_fails(fixture, "is not running");
	g_assert_cmpint(virDomainResume(fixture->guest.host.domain), ==, 0);
	g_assert_cmpuint(fake.freezes, ==, 0);
}

/* A part of the guest may be frozen. */
static void test_freeze_fails(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.freeze_code = VIR_ERR_AGENT_UNRESPONSIVE;
	assert_freeze_fails(fixture, "freezing");
	g_assert_cmpuint(fake.thaws, ==, 1);
	assert_told(fixture, "done");
	(void)g_unlink(fixture->told);
	/* The guest is paused before it is thawed. */
	fake.thaw_code = VIR_ERR_OPERATION_INVALID;
	assert_freeze_fails(fixture, "freezing");
	assert_told(fixture, "");
	(void)g_unlink(fixture->told);
	/* The agent was not asked: nothing is frozen. */
	fake.thaws = 0;
	fake.freeze_code = VIR_ERR_ARGUMENT_UNSUPPORTED;
	assert_freeze_fails(fixture, "freezing");
	assert_told(fixture, "done");
	g_assert_cmpuint(fake.thaws, ==, 0);
}

/* The watchdog of an earlier freeze, perhaps of a dead process, would thaw a new freeze. */
static void test_earlier_freeze_is_not_ended(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	assert_freeze_fails(fixture, "an earlier freeze");
	g_assert_cmpuint(fake.freezes + fake.thaws, ==, 0);
}

/* Recovery of a freeze whose guest is paused: the watchdog thaws the guest when it is resumed. */
static void test_recovered_while_paused(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainSuspend(fixture->guest.host.domain), ==, 0);
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*when it is resumed*");
	roll_back(fixture, "{\"id\":\"1\"}");
	g_test_assert_expected_messages();
	g_assert_cmpuint(fake.thaws, ==, 0);
	assert_told(fixture, "");
}

/* A paused guest stays frozen when it is unquiesced: the watchdog keeps trying. */
static void test_thawed_while_paused(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze_guest(fixture);
	g_assert_cmpint(virDomainSuspend(fixture->guest.host.domain), ==, 0);
	assert_thaw_fails(fixture, "the guest is paused");
	assert_told(fixture, "");
	g_assert_cmpuint(fake.thaws, ==, 0);
}

/* After the watchdog has ended a freeze, the guest can be frozen again. */
static void test_frozen_again_after_its_time(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze_guest(fixture);
	(void)poll(NULL, 0, 1000);
	freeze_guest(fixture);
	g_assert_cmpuint(fake.freezes, ==, 2);
	g_assert_cmpint(try_thaw(fixture, NULL), ==, 0);
}

/* The agent may be slow, and have frozen the guest: the watchdog goes on. */
static void test_agent_is_silent(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.freeze_code = fake.thaw_code = VIR_ERR_AGENT_UNRESPONSIVE;
	assert_freeze_fails(fixture, "freezing");
	assert_told(fixture, "");
}

static void test_thaw_fails(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze_guest(fixture);
	fake.thaw_code = VIR_ERR_AGENT_UNRESPONSIVE;
	assert_thaw_fails(fixture, "keeps trying");
	assert_told(fixture, "");
	/* It can be asked for again. */
	assert_thaw_fails(fixture, "thawing");
	fake.thaw_code = 0;
	g_assert_cmpint(try_thaw(fixture, NULL), ==, 0);
	g_assert_cmpuint(fake.thaws, ==, 3);
}

static void test_thawed_before_its_time(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze_guest(fixture);
	(void)poll(NULL, 0, 1000);
	assert_thaw_fails(fixture, "were thawed earlier");
	assert_told(fixture, "done");
}

/* A watchdog that does not end is killed. */
static void test_watchdog_stays(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze_guest(fixture);
	host_real_sleep = false;
	g_assert_cmpint(try_thaw(fixture, NULL), ==, 0);
	g_assert_cmpint(host_clock_us / G_USEC_PER_SEC, >=, 4);
}

/* A guest that was shut down is not frozen: its watchdog has nothing to do. */
static void test_stopped_guest(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze_guest(fixture);
	g_assert_cmpint(virDomainDestroy(fixture->guest.host.domain), ==, 0);
	fake.thaw_code = VIR_ERR_OPERATION_INVALID;
	g_assert_cmpint(try_thaw(fixture, NULL), ==, 0);
	assert_told(fixture, "done");
}

/* Whether the guest runs is unknown: the watchdog is not dismissed. */
static void test_libvirt_is_gone(struct freeze_fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	freeze_guest(fixture);
	host_real_sleep = false;
	host_lose_libvirt();
	g_assert_cmpint(try_thaw(fixture, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED);
	assert_told(fixture, "");
	g_clear_error(&error);
	g_assert_cmpint(try_freeze(fixture, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED);
	g_assert_cmpuint(fake.freezes, ==, 1);
	host_find_libvirt();
}

/* A guest that is frozen when the process ends. */
static void test_frozen_at_the_end(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze_guest(fixture);
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*are still frozen: thawing them");
	virt_host_close(virt(fixture));
	g_test_assert_expected_messages();
	fixture->guest.host.virt = NULL;
	assert_told(fixture, "done");
}

static void test_frozen_after_the_end(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	freeze_guest(fixture);
	fake.thaw_code = VIR_ERR_AGENT_UNRESPONSIVE;
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*are still frozen: thawing them");
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*keeps trying*");
	virt_host_close(virt(fixture));
	g_test_assert_expected_messages();
	fixture->guest.host.virt = NULL;
	assert_told(fixture, "");
}

static void begin_snapshot(struct freeze_fixture *fixture, bool require)
{
	fixture_begin(&fixture->guest, "rebase");
	g_string_truncate(fixture->guest.steps, 0);
	fixture->guest.snapshot->guest_agent = true;
	fixture->guest.snapshot->require_quiesce = require;
}

static void test_snapshot(struct freeze_fixture *fixture, gconstpointer unused)
{
	(void)unused;
	begin_snapshot(fixture, true);
	g_assert_cmpint(quiesce_begin(fixture->guest.snapshot, NULL), ==, 0);
	assert_freeze_fails(fixture, "already frozen");
	g_assert_cmpint(quiesce_end(fixture->guest.snapshot, NULL), ==, 0);
	assert_told(fixture, "done");
	g_assert_cmpstr(fixture->guest.steps->str, ==, "freeze thaw -freeze ");
	g_assert_cmpuint(fake.freezes, ==, 1);
	g_assert_cmpuint(fake.thaws, ==, 1);
}

/* The guest wrote before the snapshot was taken: that fails only where the image requires it. */
static void test_snapshot_expires(struct freeze_fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	begin_snapshot(fixture, false);
	g_assert_cmpint(quiesce_begin(fixture->guest.snapshot, NULL), ==, 0);
	(void)poll(NULL, 0, 1000);
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*were thawed before*");
	g_assert_cmpint(quiesce_end(fixture->guest.snapshot, NULL), ==, 0);
	g_test_assert_expected_messages();
	begin_snapshot(fixture, true);
	g_assert_cmpint(quiesce_begin(fixture->guest.snapshot, NULL), ==, 0);
	(void)poll(NULL, 0, 1000);
	g_assert_cmpint(quiesce_end(fixture->guest.snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE);
	/* The guest is thawed in both cases. */
	g_assert_cmpstr(fixture->guest.steps->str, ==, "freeze thaw -freeze ");
}

/* It is left to the watchdog, and to recovery. */
static void test_snapshot_is_not_thawed(struct freeze_fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	begin_snapshot(fixture, true);
	g_assert_cmpint(quiesce_begin(fixture->guest.snapshot, NULL), ==, 0);
	fake.thaw_code = VIR_ERR_AGENT_UNRESPONSIVE;
	g_assert_cmpint(quiesce_end(fixture->guest.snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE);
	assert_told(fixture, "");
	g_assert_cmpuint(fake.thaws, ==, 1);
	g_assert_cmpstr(fixture->guest.steps->str, ==, "freeze thaw ");
}

static void test_snapshot_is_not_frozen(struct freeze_fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	fake.freeze_code = VIR_ERR_OPERATION_FAILED;
	begin_snapshot(fixture, true);
	g_assert_cmpint(quiesce_begin(fixture->guest.snapshot, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE);
	g_assert_cmpstr(fixture->guest.steps->str, ==, "freeze -freeze ");
	assert_told(fixture, "done");
	(void)g_unlink(fixture->told);
	begin_snapshot(fixture, false);
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE, "*thawing after a failed freeze*");
	g_test_expect_message("virt", G_LOG_LEVEL_MESSAGE,
			      "*without freezing the guest's filesystems*");
	fake.thaw_code = VIR_ERR_OPERATION_FAILED;
	g_assert_cmpint(quiesce_begin(fixture->guest.snapshot, NULL), ==, 0);
	g_test_assert_expected_messages();
	/* The agent refused to thaw: the watchdog tries again. */
	assert_told(fixture, "");
}

#define TEST(name, script)                                                                         \
	g_test_add("/freeze/" #name, struct freeze_fixture, script, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	/* As novasnapd does. */
	(void)signal(SIGPIPE, SIG_IGN);
	g_test_init(&argc, &argv, NULL);
	TEST(frozen_and_thawed, WAITS);
	TEST(frozen_again_since, WAITS);
	TEST(no_watchdog, WAITS);
	TEST(guest_does_not_run, WAITS);
	TEST(freeze_fails, WAITS);
	TEST(earlier_freeze_is_not_ended, IS_BUSY);
	TEST(recovered_while_paused, WAITS);
	TEST(thawed_while_paused, WAITS);
	TEST(frozen_again_after_its_time, EXPIRES);
	TEST(agent_is_silent, WAITS);
	TEST(thaw_fails, WAITS);
	TEST(thawed_before_its_time, EXPIRES);
	TEST(watchdog_stays, STAYS);
	TEST(stopped_guest, WAITS);
	TEST(libvirt_is_gone, WAITS);
	TEST(frozen_at_the_end, WAITS);
	TEST(frozen_after_the_end, WAITS);
	TEST(snapshot, WAITS);
	TEST(snapshot_expires, EXPIRES);
	TEST(snapshot_is_not_thawed, WAITS);
	TEST(snapshot_is_not_frozen, WAITS);
	return g_test_run();
}
