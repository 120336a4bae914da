/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mode of the forwarding thread, when the requests are given back while the state files are
 * read. The test simulates rpc/forward.c.
 */
#include <glib.h>
#include <glib/gstdio.h>

#include "agent/daemon/beside-mode.h"

#define MARKER "0123456789abcdef0123456789abcdef"

struct rpc_forward_control {
	const char *type;
};

static struct config config;
static struct beside_mode *mode;
static enum rpc_forward_mode current;
static bool gives_back; /* the next read of the files is overtaken by a giving back */
static bool ends;	/* which has ended when the read ends */
static enum rpc_forward_mode answered;

bool __wrap_rpc_forward_set_mode(struct rpc *rpc, enum rpc_forward_mode wanted);
enum rpc_forward_mode __wrap_rpc_forward_get_mode(struct rpc *rpc);
void __wrap_rpc_forward_answer(struct rpc *rpc, struct rpc_forward_control *control,
			       enum rpc_forward_mode wanted);
const char *__wrap_rpc_forward_control_type(const struct rpc_forward_control *control);
const char *__wrap_rpc_forward_control_id(const struct rpc_forward_control *control);
bool __real_beside_is_intercepting(const char *state_dir, const struct beside_state *state);
bool __wrap_beside_is_intercepting(const char *state_dir, const struct beside_state *state);

bool __wrap_rpc_forward_set_mode(struct rpc *rpc, enum rpc_forward_mode wanted)
{
	(void)rpc;
	current = wanted;
	return true;
}

enum rpc_forward_mode __wrap_rpc_forward_get_mode(struct rpc *rpc)
{
	(void)rpc;
	return current;
}

void __wrap_rpc_forward_answer(struct rpc *rpc, struct rpc_forward_control *control,
			       enum rpc_forward_mode wanted)
{
	(void)rpc;
	(void)control;
	current = answered = wanted;
}

const char *__wrap_rpc_forward_control_type(const struct rpc_forward_control *control)
{
	return control->type;
}

const char *__wrap_rpc_forward_control_id(const struct rpc_forward_control *control)
{
	(void)control;
	return MARKER;
}

/* The last thing that is read. */
bool __wrap_beside_is_intercepting(const char *state_dir, const struct beside_state *state)
{
	bool is_intercepting = __real_beside_is_intercepting(state_dir, state);

	if (gives_back)
		beside_mode_begin_give_back(mode);
	if (gives_back && ends)
		beside_mode_end_give_back(mode);
	gives_back = false;
	return is_intercepting;
}

static void set_up(void)
{
	const struct beside_state state = {.stage = BESIDE_ENABLED, .marker = MARKER};
	g_autofree char *folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	g_autofree char *journal = g_build_filename(folder, "journal", NULL);

	g_assert_cmpint(g_mkdir(journal, 0700), ==, 0);
	config.state_dir = g_steal_pointer(&folder);
	g_assert_cmpint(beside_state_write(config.state_dir, &state, NULL), ==, 0);
	g_assert_cmpint(beside_intercepting_write(config.state_dir, MARKER, NULL), ==, 0);
	mode = beside_mode_new(&config, NULL);
	current = RPC_FORWARD_OFF;
}

static void tear_down(void)
{
	const struct beside_state off = {.stage = BESIDE_OFF};
	g_autofree char *journal = g_build_filename(config.state_dir, "journal", NULL);

	beside_mode_free(mode);
	g_assert_cmpint(beside_state_write(config.state_dir, &off, NULL), ==, 0);
	g_assert_cmpint(g_rmdir(journal), ==, 0);
	g_assert_cmpint(g_rmdir(config.state_dir), ==, 0);
	g_free((char *)config.state_dir);
}

static void test_intercepts(void)
{
	struct beside_state state;

	set_up();
	beside_mode_update(mode);
	g_assert_cmpint(current, ==, RPC_FORWARD_INTERCEPT);
	beside_mode_get_state(mode, &state);
	g_assert_cmpint(state.stage, ==, BESIDE_ENABLED);
	beside_mode_begin_give_back(mode);
	g_assert_cmpint(current, ==, RPC_FORWARD_PASS);
	beside_mode_update(mode);
	g_assert_cmpint(current, ==, RPC_FORWARD_PASS);
	beside_mode_end_give_back(mode);
	beside_mode_update(mode);
	g_assert_cmpint(current, ==, RPC_FORWARD_INTERCEPT);
	tear_down();
}

static void test_given_back_while_the_files_are_read(void)
{
	for (int i = 0; i < 2; i++) {
		set_up();
		gives_back = true;
		ends = i;
		beside_mode_update(mode);
		g_assert_cmpint(current, ==, RPC_FORWARD_PASS);
		tear_down();
	}
}

static void test_given_back_while_a_marker_is_handled(void)
{
	struct rpc_forward_control control = {RPC_BESIDE_TYPE_INTERCEPT};

	set_up();
	beside_mode_handle_control(mode, &control);
	g_assert_cmpint(answered, ==, RPC_FORWARD_INTERCEPT);
	gives_back = true;
	beside_mode_handle_control(mode, &control);
	g_assert_cmpint(answered, ==, RPC_FORWARD_PASS);
	tear_down();
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/beside-mode/intercepts", test_intercepts);
	g_test_add_func("/beside-mode/given-back-while-files-are-read",
			test_given_back_while_the_files_are_read);
	g_test_add_func("/beside-mode/given-back-while-a-marker-is-handled",
			test_given_back_while_a_marker_is_handled);
	return g_test_run();
}
