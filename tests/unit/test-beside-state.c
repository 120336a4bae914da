/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state file, the marker and the lock of `novasnap beside`.
 */
#include <glib.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "agent/beside/state.h"
#include "agent/config/config.h"

#define MARKER "0123456789abcdef0123456789abcdef"
#define OTHER "ffffffffffffffffffffffffffffffff"

static char *new_folder(void)
{
	char *folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	g_autofree char *journal = g_build_filename(folder, "journal", NULL);

	g_assert_cmpint(g_mkdir(journal, 0700), ==, 0);
	return folder;
}

static void remove_folder(char *folder)
{
	static const char *const names[] = {"journal/beside.json", "journal/beside-intercepting",
					    "journal/beside.lock", "journal", ""};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *path = g_build_filename(folder, names[i], NULL);

		(void)g_remove(path);
	}
	g_free(folder);
}

static void test_round_trip(void)
{
	char *folder = new_folder();
	g_autofree char *path = g_build_filename(folder, "journal/beside.json", NULL);
	struct beside_state state;
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(beside_state_read(folder, &state, NULL), ==, 0);
	g_assert_cmpint(state.stage, ==, BESIDE_OFF);
	for (int stage = BESIDE_ENABLING; stage <= BESIDE_REMOVING; stage++) {
		struct beside_state written = {.stage = stage,
					       .given_back = stage % 2 == 0,
					       .marker = MARKER,
					       .exchange = "nova"};

		g_assert_cmpint(beside_state_write(folder, &written, NULL), ==, 0);
		g_assert_cmpint(beside_state_read(folder, &state, NULL), ==, 0);
		g_assert_cmpint(state.stage, ==, stage);
		g_assert_cmpint(state.given_back, ==, stage % 2 == 0);
		g_assert_cmpstr(state.marker, ==, MARKER);
		g_assert_cmpstr(state.exchange, ==, "nova");
	}
	state.stage = BESIDE_OFF;
	g_assert_cmpint(beside_state_write(folder, &state, NULL), ==, 0);
	g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
	g_assert_true(g_file_set_contents(path, "{\"stage\": \"enab", -1, NULL));
	g_assert_cmpint(beside_state_read(folder, &state, &error), ==, -1);
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL);
	remove_folder(folder);
}

/* Only the marker of the last take counts, and only while the requests are taken. */
static void test_intercepting(void)
{
	char *folder = new_folder();
	struct beside_state state = {.stage = BESIDE_ENABLING, .marker = MARKER};

	g_assert_false(beside_is_intercepting(folder, &state));
	g_assert_cmpint(beside_intercepting_write(folder, OTHER, NULL), ==, 0);
	g_assert_false(beside_is_intercepting(folder, &state));
	g_assert_cmpint(beside_intercepting_write(folder, MARKER, NULL), ==, 0);
	for (int stage = BESIDE_OFF; stage <= BESIDE_REMOVING; stage++) {
		state.stage = stage;
		g_assert_cmpint(beside_is_intercepting(folder, &state), ==,
				stage == BESIDE_ENABLING || stage == BESIDE_ENABLED);
	}
	state.stage = BESIDE_ENABLED;
	state.given_back = true;
	g_assert_false(beside_is_intercepting(folder, &state));
	state.given_back = false;
	g_assert_cmpint(beside_intercepting_write(folder, NULL, NULL), ==, 0);
	g_assert_false(beside_is_intercepting(folder, &state));
	/* No marker was ever sent. */
	g_assert_cmpint(beside_intercepting_write(folder, "", NULL), ==, 0);
	state.marker[0] = '\0';
	g_assert_false(beside_is_intercepting(folder, &state));
	remove_folder(folder);
}

static void test_lock(void)
{
	char *folder = new_folder();
	g_autoptr(GError) error = NULL;
	g_autoptr(GError) missing = NULL;
	int lock = beside_lock(folder, 0, NULL);

	g_assert_cmpint(lock, >=, 0);
	g_assert_cmpint(beside_lock(folder, 0, &error), ==, -1);
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_AGAIN);
	beside_unlock(lock);
	lock = beside_lock(folder, 0, NULL);
	g_assert_cmpint(lock, >=, 0);
	beside_unlock(lock);
	g_assert_cmpint(beside_lock("/nonexistent", 0, &missing), ==, -1);
	g_assert_error(missing, G_FILE_ERROR, G_FILE_ERROR_NOENT);
	remove_folder(folder);
}

/* nova-compute's own exchange in the shared nova.conf is not that of the other services. */
static void test_exchange(void)
{
	static const struct {
		const char *value, *expected;
		bool own;
	} cases[] = {{"nova.node1", "nova", true},
		     {"nova", "nova", false},
		     {"cell.nova.node1", "cell.nova", true},
		     {"node1", "node1", false},
		     {"nova.node2", "nova.node2", false}};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *path = NULL;
		g_autofree char *text =
			g_strdup_printf("[DEFAULT]\nhost = node1\ncontrol_exchange = %s\n"
					"transport_url = rabbit://a/\n"
					"[oslo_messaging_notifications]\ndriver = messagingv2\n"
					"transport_url = rabbit://b/\n",
					cases[i].value);
		const char *paths[] = {NULL, NULL};
		g_autoptr(config_t) config = NULL;
		int fd = g_file_open_tmp("novasnap-test-XXXXXX.conf", &path, NULL);

		g_assert_cmpint(fd, >=, 0);
		g_close(fd, NULL);
		g_assert_true(g_file_set_contents(path, text, -1, NULL));
		paths[0] = path;
		config = config_load(paths, NULL);
		g_unlink(path);
		g_assert_nonnull(config);
		g_assert_cmpstr(config->rpc.control_exchange, ==, cases[i].expected);
		g_assert_cmpstr(config->rpc.notifications->control_exchange, ==, cases[i].expected);
		g_assert_cmpint(config->nova_has_exchange, ==, cases[i].own);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/beside-state/round-trip", test_round_trip);
	g_test_add_func("/beside-state/intercepting", test_intercepting);
	g_test_add_func("/beside-state/lock", test_lock);
	g_test_add_func("/beside-state/exchange", test_exchange);
	return g_test_run();
}
