/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading oslo's INI files.
 */
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/config/config.h"

#define MAX_FILES 3

struct files {
	char *paths[MAX_FILES + 1];
};

static void write_files(struct files *files, const char *const *texts)
{
	memset(files, 0, sizeof(*files));
	for (int i = 0; texts[i]; i++) {
		int fd = g_file_open_tmp("novasnap-test-XXXXXX.conf", &files->paths[i], NULL);

		g_assert_cmpint(fd, >=, 0);
		g_assert_cmpint(write(fd, texts[i], strlen(texts[i])), ==,
				(gssize)strlen(texts[i]));
		close(fd);
	}
}

static struct config *load(const char *const *texts, GError **error)
{
	struct files files;
	struct config *config;

	write_files(&files, texts);
	config = config_load((const char *const *)files.paths, error);
	for (int i = 0; files.paths[i]; i++) {
		g_unlink(files.paths[i]);
		g_free(files.paths[i]);
	}
	return config;
}

static void expect_error(const char *text, const char *words)
{
	const char *texts[] = {text, NULL};
	g_autoptr(GError) error = NULL;
	struct config *config = load(texts, &error);

	g_assert_null(config);
	g_assert_nonnull(error);
	if (!strstr(error->message, words))
		g_error("\"%s\" does not say \"%s\"", error->message, words);
}

static void test_defaults(void)
{
	const char *texts[] = {"[DEFAULT]\nhost = h\n", NULL};
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) config = load(texts, &error);

	g_assert_no_error(error);
	g_assert_cmpstr(config->rpc.control_exchange, ==, "nova");
	g_assert_cmpstr(config->virt.snapshots_directory, ==, "/var/lib/nova/instances/snapshots");
	g_assert_cmpstr(config->virt.connection_uri, ==, "qemu:///system");
	g_assert_cmpuint(config->max_concurrent_snapshots, ==, 5);
	g_assert_true(config->control);
	g_assert_false(config->notify.enabled);
	g_assert_true(config->notify.legacy);
	g_assert_false(config->notify.versioned);
	g_assert_cmpstr(config->notify.topics[0], ==, "notifications");
	g_assert_null(config->notify.topics[1]);
}

static void test_old_names(void)
{
	const char *texts[] = {"[oslo_messaging_rabbit]\nrabbit_use_ssl = true\n"
			       "kombu_ssl_ca_certs = /old-ca\nkombu_ssl_certfile = /old-cert\n"
			       "kombu_ssl_keyfile = /old-key\nssl_cert_file = /new-cert\n",
			       NULL};
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) config = load(texts, &error);

	g_assert_no_error(error);
	g_assert_true(config->rpc.ssl);
	g_assert_cmpstr(config->rpc.ssl_ca_file, ==, "/old-ca");
	g_assert_cmpstr(config->rpc.ssl_cert_file, ==, "/new-cert");
	g_assert_cmpstr(config->rpc.ssl_key_file, ==, "/old-key");
}

static void test_later_file_wins(void)
{
	const char *texts[] = {
		"[DEFAULT]\nhost = first\ndebug=true\n[oslo_messaging_notifications]\n"
		"driver = messagingv2\ndriver = log\n",
		"[DEFAULT]\nhost = second\n[notifications]\n"
		"notification_format = both\n",
		NULL};
	g_autoptr(config_t) config = load(texts, NULL);

	g_assert_cmpstr(config->rpc.host, ==, "second");
	g_assert_true(config->debug);
	g_assert_true(config->notify.enabled);
	g_assert_true(config->notify.versioned);
}

static void test_long_lines_and_semicolons(void)
{
	g_autofree char *password = g_strnfill(900, 'x');
	g_autofree char *text =
		g_strdup_printf("# [comment]\n[keystone_authtoken]\n"
				"password = %s ; not a comment\n"
				"[glance]\napi_servers = http://a:1,\n  http://b:2\n",
				password);
	g_autofree char *expected = g_strconcat(password, " ; not a comment", NULL);
	const char *texts[] = {text, NULL};
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) config = load(texts, &error);

	g_assert_no_error(error);
	g_assert_cmpstr(config->image.auth.password, ==, expected);
	g_assert_cmpstr(config->image.api_servers[0], ==, "http://a:1");
	g_assert_cmpstr(config->image.api_servers[1], ==, "http://b:2");
	g_assert_null(config->image.api_servers[2]);
}

static void test_substitution(void)
{
	const char *texts[] = {
		"[DEFAULT]\nstate_path = /srv/nova\nmy_ip = 10.0.0.1\nhost = c-${my_ip}\n"
		"[service_user]\npassword = a$$b\n",
		NULL};
	g_autoptr(config_t) config = load(texts, NULL);

	g_assert_cmpstr(config->virt.snapshots_directory, ==, "/srv/nova/instances/snapshots");
	g_assert_cmpstr(config->rpc.host, ==, "c-10.0.0.1");
	g_assert_cmpstr(config->image.service.password, ==, "a$b");
}

/* An empty text counts as not set: what has a default has it. */
static void test_empty(void)
{
	const char *texts[] = {"[DEFAULT]\ntransport_url =\ncontrol_exchange =\n"
			       "[libvirt]\nimages_type =\nvirt_type =\nsnapshots_directory =\n"
			       "[novasnap]\nstate_dir =\nrun_dir =\nlive_method =\ncontrol =\n"
			       "compression_type =\n[notifications]\nnotification_format =\n",
			       NULL};
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) config = load(texts, &error);

	g_assert_no_error(error);
	g_assert_cmpstr(config->rpc.control_exchange, ==, "nova");
	g_assert_cmpstr(config->state_dir, ==, "/var/lib/novasnap");
	g_assert_cmpstr(config->virt.live_method, ==, "stream");
	g_assert_cmpstr(config->virt.container_format, ==, "qcow2");
	expect_error("[DEFAULT]\nmy =\n[libvirt]\nimages_type = $my\n",
		     ":4: [libvirt]images_type: comes to nothing");
}

static void test_errors(void)
{
	expect_error("[novasnap]\nstate_dri = /x\n", ":2: [novasnap] has no key \"state_dri\"");
	expect_error("[novasnap]\ncontrol = maybe\n", ":2: [novasnap]control: is \"maybe\"");
	expect_error("[DEFAULT]\nmax_concurrent_snapshots = -1\n", "must be a whole number");
	expect_error("[DEFAULT]\ndebug = perhaps\n", ":2: [DEFAULT]debug: must be true or false");
	expect_error("[DEFAULT]\nhost = $nothing\n", "refers to $nothing");
	/* What may be a part of a password is not said. */
	expect_error("[keystone_authtoken]\npassword = a$secret\n",
		     "another key with a dollar sign");
	expect_error("[DEFAULT]\ntransport_url = rabbit://u:a$secret@h/\n",
		     "another key with a dollar sign");
	expect_error("[DEFAULT]\nhost = ${host}\n", "refers to $host");
	expect_error("[novasnap]\nimages = directory\n", "images_dir: must be set");
	expect_error("[novasnap]\nstate_dir = relative\n", "must be an absolute path");
	expect_error("[DEFAULT]\nhost = h\nnonsense\n", ":3: neither");
	expect_error("[oslo_messaging_notifications]\ntransport_url = rabbit://other/\n",
		     "is not supported");
}

static void test_missing_file(void)
{
	const char *const files[] = {"/nonexistent/novasnap.conf", NULL};
	g_autoptr(GError) error = NULL;

	g_assert_null(config_load(files, &error));
	g_assert_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/config/defaults", test_defaults);
	g_test_add_func("/config/old-names", test_old_names);
	g_test_add_func("/config/later-file-wins", test_later_file_wins);
	g_test_add_func("/config/long-lines", test_long_lines_and_semicolons);
	g_test_add_func("/config/substitution", test_substitution);
	g_test_add_func("/config/empty", test_empty);
	g_test_add_func("/config/errors", test_errors);
	g_test_add_func("/config/missing-file", test_missing_file);
	return g_test_run();
}
