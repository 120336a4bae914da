/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration: how files are read, errors and where they point, the rules between keys, and
 * the sample. tests/integration/test-config-oslo.py compares the reader with oslo.config.
 */
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/config/config.h"
#include "agent/config/table.h"

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
	g_autofree char *password = g_strnfill(100000, 'x');
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

/* oslo.config removes the dot at the end of a name. Novas before Newton take any text. */
static void test_host(void)
{
	const char *const cases[][2] = {{"node_1.example.", "node_1.example"},
					{"'node'", "node"},
					{"a\\$b", "a$b"},
					{"a b.", "a b."},
					{"-a.", "-a."}};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = g_strdup_printf("[DEFAULT]\nhost = %s\n", cases[i][0]);
		const char *texts[] = {text, NULL};
		g_autoptr(config_t) config = load(texts, NULL);

		g_assert_cmpstr(config->rpc.host, ==, cases[i][1]);
	}
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

/* An empty text counts as not set: a key with a default has it. */
static void test_empty(void)
{
	const char *texts[] = {"[DEFAULT]\ntransport_url =\ncontrol_exchange =\nreport_interval =\n"
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
	g_assert_cmpuint(config->report_interval_s, ==, 10);
	expect_error("[DEFAULT]\nmy =\n[libvirt]\nimages_type = $my\n",
		     ":4: [libvirt]images_type: is empty after its references were replaced");
}

/* All settings of a multi-valued key count, those of every file. */
static void test_multi(void)
{
	const char *texts[] = {"[oslo_messaging_notifications]\ndriver = log\n",
			       "[DEFAULT]\nnotification_driver = messagingv2\n", NULL};
	g_autoptr(config_t) config = load(texts, NULL);

	g_assert_true(config->notify.enabled);
}

static void test_rules(void)
{
	const char *texts[] = {"[DEFAULT]\nuse_cow_images = no\n[libvirt]\nvirt_type = lxc\n"
			       "[oslo_messaging_rabbit]\nrabbit_quorum_queue = on\n"
			       "[ephemeral_storage_encryption]\nenabled = yes\n",
			       NULL};
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) config = load(texts, &error);

	g_assert_no_error(error);
	g_assert_cmpstr(config->virt.connection_uri, ==, "lxc:///");
	g_assert_cmpstr(config->virt.container_format, ==, "raw");
	g_assert_true(config->virt.disable_livesnapshot);
	g_assert_true(config->rpc.durable);
	g_assert_cmpuint(config->rpc.prefetch, ==, 100);
	g_assert_cmpstr(config->rpc.rejected_dir, ==, "/var/lib/novasnap/rejected");
	g_assert_true(g_path_is_absolute(config->virt.thaw_program));
	g_assert_cmpstr(config->rpc.host, !=, "");
	g_assert_cmpstr(config->notify.host, ==, config->rpc.host);
}

static void test_rbd(void)
{
	const char *defaults[] = {"", NULL};
	const char *texts[] = {"[libvirt]\nimages_type = rbd\nimages_rbd_pool = vms\n"
			       "images_rbd_ceph_conf = /etc/ceph/two.conf\nrbd_user = cinder\n"
			       "images_rbd_glance_store_name = fast\n"
			       "[novasnap]\nrbd_flatten = mgr\nrbd_timeout = 7\n"
			       "rbd_program = /x/novasnap-rbd\n",
			       NULL};
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) none = load(defaults, NULL);
	g_autoptr(config_t) config = load(texts, &error);

	g_assert_no_error(error);
	g_assert_true(config->images_in_rbd);
	g_assert_cmpstr(config->rbd_pool, ==, "vms");
	g_assert_cmpstr(config->rbd_glance_store_name, ==, "fast");
	g_assert_cmpstr(config->virt.rbd_conf, ==, "/etc/ceph/two.conf");
	g_assert_cmpstr(config->virt.rbd_user, ==, "cinder");
	g_assert_true(config->virt.rbd_flatten_by_manager);
	g_assert_cmpuint(config->virt.rbd_timeout_s, ==, 7);
	g_assert_cmpstr(config->virt.rbd_program, ==, "/x/novasnap-rbd");

	g_assert_false(none->images_in_rbd);
	g_assert_cmpstr(none->rbd_pool, ==, "rbd");
	g_assert_null(none->rbd_glance_store_name);
	g_assert_null(none->virt.rbd_conf);
	g_assert_null(none->virt.rbd_user);
	g_assert_false(none->virt.rbd_flatten_by_manager);
	g_assert_true(g_path_is_absolute(none->virt.rbd_program));
	g_assert_true(g_str_has_suffix(none->virt.rbd_program, "/novasnap-rbd"));
	expect_error("[novasnap]\nrbd_flatten = manager\n",
		     ":2: [novasnap]rbd_flatten: is \"manager\", must be one of: client, mgr");
}

/* As oslo_log.log._get_log_file_path. */
static void test_log_path(void)
{
	static const struct {
		const char *text;
		const char *path;
	} cases[] = {
		{"", NULL},
		{"log_file = a.log\n", "a.log"},
		{"log_file = /x/a.log\n", "/x/a.log"},
		{"log_dir = /var/log/nova\n", "/var/log/nova/novasnapd.log"},
		{"logdir = /var/log/nova/\n", "/var/log/nova/novasnapd.log"},
		{"log_dir = /var/log/nova\nlog_file = a.log\n", "/var/log/nova/a.log"},
		{"log_dir = /var/log/nova\nlogfile = b/a.log\n", "/var/log/nova/b/a.log"},
		{"log_dir = /var/log/nova\nlog_file = /x/a.log\n", "/x/a.log"},
		{"log_dir =\nlog_file = a.log\n", "a.log"},
		{"log_dir = /x\nlog_file =\n", "/x/novasnapd.log"},
		{"log_dir =\nlog_file =\n", NULL},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = g_strconcat("[DEFAULT]\n", cases[i].text, NULL);
		const char *texts[] = {text, NULL};
		g_autoptr(GError) error = NULL;
		g_autoptr(config_t) config = load(texts, &error);

		g_assert_no_error(error);
		g_assert_cmpstr(config->log_file, ==, cases[i].path);
	}
}

static void test_value_errors(void)
{
	expect_error("[novasnap]\nstate_dri = /x\n", ":2: [novasnap] has no key \"state_dri\"");
	expect_error("[NovaSnap]\nstate_dri = /x\n", ":2: [novasnap] has no key \"state_dri\"");
	expect_error("[novasnap]\ncontrol = maybe\n",
		     ":2: [novasnap]control: is \"maybe\", must be one of: none, conductor");
	expect_error("[libvirt]\nsnapshot_image_format = tar\n",
		     ":2: [libvirt]snapshot_image_format: is \"tar\"");
	expect_error("[DEFAULT]\nmax_concurrent_snapshots = -1\n",
		     "must be a whole number from 0 to 1000");
	expect_error("[novasnap]\nscratch_reserve = 0\n",
		     "must be a whole number of MiB from 1 to 1000000");
	expect_error("[novasnap]\nagent_timeout = 18446744073709551617\n",
		     "must be a whole number of seconds from 1 to 604800");
	expect_error("[DEFAULT]\ndebug = perhaps\n", ":2: [DEFAULT]debug: must be true or false");
	expect_error("[novasnap]\nimages = directory\n", "images_dir: must be set");
	expect_error("[novasnap]\nstate_dir = relative\n",
		     ":2: [novasnap]state_dir: must be an absolute path");
	expect_error("[DEFAULT]\nstate_path = relative\n",
		     "[libvirt]snapshots_directory: must be an absolute path");
	expect_error("[novasnap]\nbeside_methods = snapshot_instance, reboot_instance\n",
		     ":2: [novasnap]beside_methods: has \"reboot_instance\", must have only: "
		     "snapshot_instance");
	expect_error("[novasnap]\nmode = exclusive\ncontrol = none\nreport_state = true\n",
		     ":4: [novasnap]report_state: requires control = conductor");
	expect_error("[novasnap]\nmode = beside\nreport_state = true\n",
		     ":3: [novasnap]report_state: is for mode = exclusive");
	expect_error("[novasnap]\ncontrol = none\nreport_progress = true\n",
		     ":3: [novasnap]report_progress: requires control = conductor");
	expect_error("[novasnap]\nmode = both\n",
		     ":2: [novasnap]mode: is \"both\", must be one of: exclusive, beside");
}

/* What depends on the mode. */
static void test_modes(void)
{
	static const struct {
		const char *text;
		bool report_state;
		const char *unhandled_queue;
	} modes[] = {
		{"[DEFAULT]\nhost = h\n[novasnap]\nmode = exclusive\n", true,
		 "novasnap.unhandled.h"},
		{"[DEFAULT]\nhost = h\n[novasnap]\nmode = exclusive\nreport_state = no\n", false,
		 "novasnap.unhandled.h"},
		{"[DEFAULT]\nhost = h\n[novasnap]\nmode = exclusive\ncontrol = none\n", false,
		 "novasnap.unhandled.h"},
		{"[DEFAULT]\nhost = h\n[novasnap]\nmode = beside\n", false, NULL},
		{"[DEFAULT]\nhost = h\n", false, NULL},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
		const char *const texts[] = {modes[i].text, NULL};
		g_autoptr(GError) error = NULL;
		g_autoptr(config_t) config = load(texts, &error);

		g_assert_no_error(error);
		g_assert_cmpint(config->report_state, ==, modes[i].report_state);
		g_assert_cmpstr(config->rpc.unhandled_queue, ==, modes[i].unhandled_queue);
	}
}

/* Options in the query of a transport URL, and the broker for notifications. */
static void test_transport_urls(void)
{
	const char *texts[] = {
		"[DEFAULT]\ntransport_url = rabbit://h/?ssl=0&amqp_durable_queues=1\n"
		"[oslo_messaging_rabbit]\nssl = true\nssl_ca_file = /ca\n"
		"[oslo_messaging_notifications]\ndriver = messagingv2\n"
		"transport_url = rabbit://other/\n",
		NULL};
	const char *same[] = {"[DEFAULT]\ntransport_url = rabbit://guest:guest@h\n"
			      "[oslo_messaging_notifications]\ndriver = messaging\n"
			      "transport_url = rabbit://h:5672/\n",
			      NULL};
	const char *unused[] = {"[oslo_messaging_notifications]\ndriver = noop\n"
				"transport_url = kafka://other/\n",
				NULL};
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) config = load(texts, &error);
	g_autoptr(config_t) shared = load(same, NULL);
	g_autoptr(config_t) none = load(unused, NULL);

	g_assert_no_error(error);
	g_assert_false(config->rpc.ssl);
	g_assert_true(config->rpc.durable);
	g_assert_nonnull(config->rpc.notifications);
	g_assert_true(config->rpc.notifications->ssl);
	g_assert_false(config->rpc.notifications->durable);
	g_assert_cmpstr(config->rpc.notifications->transport_url, ==, "rabbit://other/");
	g_assert_null(shared->rpc.notifications);
	g_assert_cmpint(shared->rpc.notification_format, ==, RPC_NOTIFICATION_BARE);
	g_assert_cmpint(config->rpc.notification_format, ==, RPC_NOTIFICATION_ENVELOPE);
	g_assert_null(none->rpc.notifications);
	expect_error("[DEFAULT]\ntransport_url = rabbit://u:hidden@h/?ssl=x\n",
		     "the query of [DEFAULT]transport_url: [oslo_messaging_rabbit]ssl: must be");
	expect_error("[DEFAULT]\ntransport_url = rabbit://u:hidden@h/?sssl=1\n",
		     ":2: [DEFAULT]transport_url: its query's sssl");
	expect_error("[DEFAULT]\ntransport_url = amqp://u:hidden@h/\n",
		     ":2: [DEFAULT]transport_url: amqp:// is AMQP 1.0");
	expect_error("[oslo_messaging_rabbit]\nrabbit_login_method = EXTERNAL\n",
		     ":2: [oslo_messaging_rabbit]rabbit_login_method: is \"EXTERNAL\"");
}

static void test_credentials(void)
{
	const char *texts[] = {
		"[keystone_authtoken]\nauth_section = Elsewhere\nauth_url = http://a\n"
		"username = wrong\ncafile = /ca\n"
		"[elsewhere]\nauth_type = v3applicationcredential\nauth_url = http://k\n"
		"application_credential_id = i\napplication_credential_secret = s\n"
		"[service_user]\nauth_type = v3oidcpassword\n",
		NULL};
	const char *plain[] = {"[keystone_authtoken]\nauth_url = http://k\nuser_id = u\n", NULL};
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) config = load(texts, &error);
	g_autoptr(config_t) by_default = load(plain, NULL);

	g_assert_no_error(error);
	g_assert_cmpint(config->image.auth.method, ==, KEYSTONE_APPLICATION_CREDENTIAL);
	g_assert_cmpstr(config->image.auth.section, ==, "elsewhere");
	g_assert_cmpstr(config->image.auth.auth_url, ==, "http://k");
	g_assert_null(config->image.auth.username);
	g_assert_cmpstr(config->image.auth.cafile, ==, "/ca");
	g_assert_cmpint(config->image.service.method, ==, KEYSTONE_NONE);
	g_assert_cmpint(by_default->image.auth.method, ==, KEYSTONE_PASSWORD);
	expect_error("[service_user]\nsend_service_user_token = true\nauth_type = v3oidcpassword\n",
		     ":3: [service_user]auth_type: is \"v3oidcpassword\"");
	expect_error("[keystone_authtoken]\nauth_section = x\n[x]\nauth_type = password\n",
		     "[x]auth_url: must be set");
	expect_error("[keystone_authtoken]\nauth_type = token\nauth_url = http://k\n",
		     "[keystone_authtoken]token: must be set");
	expect_error("[keystone_authtoken]\nauth_type = v3password\nauth_url = http://k/v2.0\n",
		     "API v2.0");
}

static void test_reference_errors(void)
{
	expect_error("[DEFAULT]\nhost = $nothing\n",
		     ":2: [DEFAULT]host: refers to $nothing, which is not set (write $$");
	expect_error("[DEFAULT]\nhost = ${host}\n", "refers to $host, which refers to itself");
	expect_error("[DEFAULT]\nhost = $a\na = $b$b\nb = $a\n", "which refers to itself");
	expect_error("[DEFAULT]\nhost = ${notifications.versioned_notifications_topics}\n",
		     "refers to $notifications.versioned_notifications_topics, which is a list");
	/* It may be part of a password: it is in no message. */
	expect_error("[keystone_authtoken]\npassword = a$secret\n",
		     "password: refers to another key with a dollar sign, which is not set");
	expect_error("[DEFAULT]\ntransport_url = rabbit://u:a$secret@h/\n",
		     "another key with a dollar sign");
}

/* A few lines that would come to billions of references. */
static void test_reference_limit(void)
{
	g_autoptr(GString) text = g_string_new("[DEFAULT]\nhost = $a0\n");

	for (int i = 0; i < 30; i++)
		g_string_append_printf(text, "a%d = $a%d$a%d$a%d\n", i, i + 1, i + 1, i + 1);
	g_string_append(text, "a30 = x\n");
	expect_error(text->str, ":2: [DEFAULT]host: refers to $");
}

static void test_line_errors(void)
{
	expect_error("[DEFAULT]\nhost = h\nnonsense\n", ":3: not a [section]");
	expect_error("[DEFAULT]\r\nhost = h\rnonsense\n", ":3: not a [section]");
	expect_error("[DEFAULT\nhost = h\n", ":1: a line that begins with [ must end with ]");
	expect_error("[]\n", ":1: the section has no name");
	expect_error("host = h\n", ":1: a key before the first [section]");
	expect_error("[DEFAULT]\n= h\n", ":2: the key has no name");
	expect_error("[DEFAULT]\n\n  host = h\n", ":3: the line is indented");
	expect_error("[DEFAULT]\n# \xff\n", ":2: the line is not UTF-8");
}

static void expect_file_error(const char *path, const char *words)
{
	const char *const files[] = {path, NULL};
	g_autoptr(GError) error = NULL;

	g_assert_null(config_load(files, &error));
	g_assert_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE);
	if (!strstr(error->message, words) || !strstr(error->message, path))
		g_error("\"%s\" does not say \"%s\"", error->message, words);
}

static void test_unreadable_files(void)
{
	expect_file_error("/nonexistent/novasnap.conf", "No such file");
	expect_file_error("/etc", "Is a directory");
	expect_file_error("/nonexistent/", "No such file");
	expect_file_error("/dev/zero", "is larger than");
}

/* What the sample says of the section's keys: from "#name = default" lines to the text above. */
struct sample_key {
	char *default_text;
	char *comment;
};

static void sample_key_free(gpointer data)
{
	struct sample_key *key = data;

	g_free(key->default_text);
	g_free(key->comment);
	g_free(key);
}

/* "section name" -> struct sample_key. */
static GHashTable *read_sample(void)
{
	GHashTable *keys = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, sample_key_free);
	g_autoptr(GString) comment = g_string_new(NULL);
	g_autofree char *section = NULL;
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;

	g_assert_true(g_file_get_contents("conf/novasnap.conf", &text, NULL, NULL));
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		if (**line == '[') {
			g_free(section);
			section = g_strndup(*line + 1, strlen(*line) - 2);
		} else if (g_str_has_prefix(*line, "# ")) {
			g_string_append(comment, *line + 1);
			continue;
		} else if (**line == '#') {
			g_auto(GStrv) parts = g_strsplit(*line + 1, " =", 2);
			struct sample_key *key = g_new0(struct sample_key, 1);
			char *name;

			g_assert_nonnull(parts[1]);
			key->default_text = g_strdup(g_strstrip(parts[1]));
			key->comment = g_strdup(comment->str);
			name = g_strdup_printf("%s %s", section, parts[0]);
			if (!g_hash_table_insert(keys, name, key))
				g_error("the sample has a key twice: %s", name);
		} else if (**line != '\0') {
			g_error("the sample sets something: %s", *line);
		}
		g_string_truncate(comment, 0);
	}
	return keys;
}

static void test_sample(void)
{
	g_autoptr(GHashTable) documented = read_sample();
	GHashTableIter rest;
	gpointer name;

	for (size_t i = 0; i < config_table_size; i++) {
		const struct config_key *key = &config_table[i];
		g_autofree char *id = g_strdup_printf("%s %s", key->section, key->name);
		const struct sample_key *sample = g_hash_table_lookup(documented, id);
		const char *default_text = key->default_text ? key->default_text : "";

		if (!sample)
			g_error("the sample does not have [%s]%s", key->section, key->name);
		if (!g_str_equal(sample->default_text, default_text))
			g_error("[%s]%s has the default \"%s\", in the sample \"%s\"", key->section,
				key->name, default_text, sample->default_text);
		if (!*sample->comment || (key->unit && !strstr(sample->comment, key->unit)))
			g_error("the sample does not say what [%s]%s is, or its unit", key->section,
				key->name);
		for (int c = 0; key->choices && key->choices[c]; c++) {
			g_autofree char *quoted = g_strdup_printf("`%s`", key->choices[c]);

			if (!strstr(sample->comment, quoted))
				g_error("the sample does not say that [%s]%s may be %s",
					key->section, key->name, quoted);
		}
		g_hash_table_remove(documented, id);
	}
	g_hash_table_iter_init(&rest, documented);
	if (g_hash_table_iter_next(&rest, &name, NULL))
		g_error("the sample has a key that does not exist: %s", (const char *)name);
}

/* The sample with every key set to its default, and as it is. */
static void test_sample_loads(void)
{
	g_autofree char *text = NULL;
	g_autofree char *set = NULL;
	g_autoptr(GRegex) comment = g_regex_new("^#(\\w+ =)", G_REGEX_MULTILINE, 0, NULL);

	g_assert_true(g_file_get_contents("conf/novasnap.conf", &text, NULL, NULL));
	set = g_regex_replace(comment, text, -1, 0, "\\1", 0, NULL);
	for (int i = 0; i < 2; i++) {
		const char *texts[] = {i == 0 ? text : set, NULL};
		g_autoptr(GError) error = NULL;
		g_autoptr(config_t) config = load(texts, &error);

		g_assert_no_error(error);
		g_assert_cmpstr(config->virt.scratch_dir, ==,
				"/var/lib/nova/instances/novasnap-scratch");
	}
}

static void test_ignored_changes(void)
{
	const char *before[] = {"[DEFAULT]\nhost = h\nstate_path = /one\n[glance]\n"
				"valid_interfaces = internal\n",
				NULL};
	const char *same[] = {"[DEFAULT]\nhost = h\ndebug = true\nstate_path = /one\n[glance]\n"
			      "valid_interfaces = internal\nnum_retries = 3\n",
			      NULL};
	const char *after[] = {"[DEFAULT]\nhost = h\nstate_path = /two\nuse_cow_images = false\n"
			       "[glance]\nnum_retries = 4\n[keystone_authtoken]\npassword = "
			       "hidden\n",
			       NULL};
	g_autoptr(config_t) one = load(before, NULL), two = load(same, NULL),
			    three = load(after, NULL);
	g_autofree char *ignored = NULL;

	g_assert_null(config_list_ignored_changes(one, two));
	ignored = config_list_ignored_changes(one, three);
	/* Also keys that refer to a changed one. */
	g_assert_cmpstr(ignored, ==,
			"[DEFAULT]use_cow_images, [DEFAULT]state_path, [DEFAULT]instances_path, "
			"[libvirt]snapshots_directory, [glance]valid_interfaces, "
			"[glance]num_retries, [keystone_authtoken]password, "
			"[novasnap]scratch_dir, [novasnap]backing_dirs");
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/config/defaults", test_defaults);
	g_test_add_func("/config/modes", test_modes);
	g_test_add_func("/config/old-names", test_old_names);
	g_test_add_func("/config/later-file-wins", test_later_file_wins);
	g_test_add_func("/config/long-lines", test_long_lines_and_semicolons);
	g_test_add_func("/config/host", test_host);
	g_test_add_func("/config/substitution", test_substitution);
	g_test_add_func("/config/empty", test_empty);
	g_test_add_func("/config/multi", test_multi);
	g_test_add_func("/config/rules", test_rules);
	g_test_add_func("/config/rbd", test_rbd);
	g_test_add_func("/config/log-path", test_log_path);
	g_test_add_func("/config/value-errors", test_value_errors);
	g_test_add_func("/config/transport-urls", test_transport_urls);
	g_test_add_func("/config/credentials", test_credentials);
	g_test_add_func("/config/reference-errors", test_reference_errors);
	g_test_add_func("/config/reference-limit", test_reference_limit);
	g_test_add_func("/config/line-errors", test_line_errors);
	g_test_add_func("/config/unreadable-files", test_unreadable_files);
	g_test_add_func("/config/ignored-changes", test_ignored_changes);
	g_test_add_func("/config/sample", test_sample);
	g_test_add_func("/config/sample-loads", test_sample_loads);
	return g_test_run();
}
