/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the keys mean: a table of every key that is known, its type, its default and where it goes
 * in struct config; then the few rules that need more than one key.
 */
#include "agent/config/config.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "agent/config/ini.h"

G_DEFINE_QUARK(novasnap - config - error - quark, config_error)

enum key_type {
	KEY_STRING,   /* const char *: an empty text counts as not set */
	KEY_TEXT,     /* const char *: as it is, also empty */
	KEY_BOOL,     /* bool */
	KEY_SECONDS,  /* unsigned */
	KEY_COUNT,    /* unsigned */
	KEY_LIST,     /* const char *const *: separated by commas */
	KEY_RAW_LIST, /* the same, one text for each time the key is set */
};

struct key {
	const char *section;
	const char *name;
	enum key_type type;
	size_t offset;	      /* in struct config */
	const char *standard; /* the default's text; NULL: none */
	unsigned least;	      /* of a number */
	unsigned most;
};

#define AT(member) offsetof(struct config, member)
#define STRING(section, name, member, standard)                                                    \
	{                                                                                          \
		section, name, KEY_STRING, AT(member), standard, 0, 0                              \
	}
#define TEXT(section, name, member, standard)                                                      \
	{                                                                                          \
		section, name, KEY_TEXT, AT(member), standard, 0, 0                                \
	}
#define BOOL(section, name, member, standard)                                                      \
	{                                                                                          \
		section, name, KEY_BOOL, AT(member), standard, 0, 0                                \
	}
#define SECONDS(section, name, member, standard, least)                                            \
	{                                                                                          \
		section, name, KEY_SECONDS, AT(member), standard, least, 7 * 24 * 3600             \
	}
#define COUNT(section, name, member, standard, least, most)                                        \
	{                                                                                          \
		section, name, KEY_COUNT, AT(member), standard, least, most                        \
	}
#define LIST(section, name, member, standard)                                                      \
	{                                                                                          \
		section, name, KEY_LIST, AT(member), standard, 0, 0                                \
	}
/* keystoneauth's password options, the same in each section that has a service's user. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a member's path cannot stand in parentheses. */
#define KEYSTONE(section, member)                                                                  \
	STRING(section, "auth_url", member.auth_url, NULL),                                        \
		STRING(section, "username", member.username, NULL),                                \
		TEXT(section, "password", member.password, NULL),                                  \
		STRING(section, "user_domain_name", member.user_domain_name, NULL),                \
		STRING(section, "user_domain_id", member.user_domain_id, NULL),                    \
		STRING(section, "project_name", member.project_name, NULL),                        \
		STRING(section, "project_id", member.project_id, NULL),                            \
		STRING(section, "project_domain_name", member.project_domain_name, NULL),          \
		STRING(section, "project_domain_id", member.project_domain_id, NULL),              \
		STRING(section, "cafile", member.cafile, NULL),                                    \
		STRING(section, "certfile", member.certfile, NULL),                                \
		STRING(section, "keyfile", member.keyfile, NULL),                                  \
		BOOL(section, "insecure", member.insecure, "false")
/* NOLINTEND(bugprone-macro-parentheses) */

#define OURS "novasnap"
#define RABBIT "oslo_messaging_rabbit"

/* Values that go through a rule of their own before they land in struct config. */
struct texts {
	const char *control;
	const char *images;
	const char *virt_type;
	const char *images_type;
	bool use_cow_images;
	const char *thaw_program;
	const char *compression_type;
	const char *detect_zeroes;
	const char *connection_uri;
	const char *notification_format;
	const char *const *notification_drivers;
	const char *notification_transport_url;
	bool durable;
	bool quorum;
	unsigned prefetch;
};

static const struct key keys[] = {
	STRING("DEFAULT", "transport_url", rpc.transport_url, "rabbit://"),
	STRING("DEFAULT", "control_exchange", rpc.control_exchange, "nova"),
	STRING("DEFAULT", "host", rpc.host, NULL),
	SECONDS("DEFAULT", "rpc_response_timeout", rpc.response_timeout_s, "60", 1),
	BOOL("DEFAULT", "debug", debug, "false"),
	STRING("DEFAULT", "log_file", log_file, NULL),
	COUNT("DEFAULT", "max_concurrent_snapshots", max_concurrent_snapshots, "5", 0, 1000),
	STRING("compute", "topic", rpc.topic, "compute"),
	SECONDS("DEFAULT", "shutdown_timeout", shutdown_timeout_s, "60", 0),
	SECONDS("compute", "shutdown_retry_interval", shutdown_retry_interval_s, "10", 1),
	STRING("DEFAULT", "instance_usage_audit_period", audit_period, "month"),
	SECONDS("DEFAULT", "report_interval", report_interval_s, "10", 1),

	BOOL(RABBIT, "amqp_auto_delete", rpc.auto_delete, "false"),
	SECONDS(RABBIT, "heartbeat_timeout_threshold", rpc.heartbeat_s, "60", 0),
	SECONDS(RABBIT, "rabbit_retry_interval", rpc.retry_interval_s, "1", 1),
	SECONDS(RABBIT, "rabbit_retry_backoff", rpc.retry_backoff_s, "2", 0),
	SECONDS(RABBIT, "rabbit_interval_max", rpc.interval_max_s, "30", 1),
	SECONDS(RABBIT, "rabbit_transient_queues_ttl", rpc.queue_ttl_s, "1800", 1),
	BOOL(RABBIT, "ssl", rpc.ssl, "false"),
	STRING(RABBIT, "ssl_ca_file", rpc.ssl_ca_file, NULL),
	STRING(RABBIT, "ssl_cert_file", rpc.ssl_cert_file, NULL),
	STRING(RABBIT, "ssl_key_file", rpc.ssl_key_file, NULL),

	LIST("oslo_messaging_notifications", "topics", notify.topics, "notifications"),
	LIST("notifications", "versioned_notifications_topics", notify.versioned_topics,
	     "versioned_notifications"),

	STRING("libvirt", "snapshots_directory", virt.snapshots_directory,
	       "$instances_path/snapshots"),
	STRING("libvirt", "snapshot_image_format", virt.snapshot_image_format, NULL),
	BOOL("libvirt", "snapshot_compression", snapshot_compression, "false"),
	BOOL("workarounds", "disable_libvirt_livesnapshot", virt.disable_livesnapshot, "false"),
	BOOL("ephemeral_storage_encryption", "enabled", ephemeral_encryption, "false"),

	LIST("glance", "api_servers", image.api_servers, NULL),
	STRING("glance", "endpoint_override", image.endpoint_override, NULL),
	STRING("glance", "region_name", image.region_name, NULL),
	LIST("glance", "valid_interfaces", image.valid_interfaces, "internal,public"),
	COUNT("glance", "num_retries", image.num_retries, "3", 0, 100),
	STRING("glance", "cafile", image.cafile, NULL),
	STRING("glance", "certfile", image.certfile, NULL),
	STRING("glance", "keyfile", image.keyfile, NULL),
	BOOL("glance", "insecure", image.insecure, "false"),
	KEYSTONE("keystone_authtoken", image.auth),
	KEYSTONE("service_user", image.service),
	BOOL("service_user", "send_service_user_token", image.send_service_user_token, "false"),

	STRING("cinder", "endpoint_template", volume.endpoint_template, NULL),
	STRING("cinder", "os_region_name", volume.region_name, NULL),
	STRING("cinder", "catalog_info", volume.catalog_info, "volumev3::publicURL"),
	STRING("cinder", "cafile", volume.cafile, NULL),
	STRING("cinder", "certfile", volume.certfile, NULL),
	STRING("cinder", "keyfile", volume.keyfile, NULL),
	BOOL("cinder", "insecure", volume.insecure, "false"),

	STRING(OURS, "state_dir", state_dir, "/var/lib/novasnap"),
	STRING(OURS, "run_dir", run_dir, "/run/novasnap"),
	STRING(OURS, "images_dir", image.images_dir, NULL),
	STRING(OURS, "live_method", virt.live_method, "stream"),
	STRING(OURS, "cold_method", virt.cold_method, "stream"),
	SECONDS(OURS, "shutdown_grace", shutdown_grace_s, "60", 0),
	SECONDS(OURS, "connect_timeout", image.connect_timeout_s, "10", 1),
	SECONDS(OURS, "request_timeout", image.request_timeout_s, "60", 1),
	SECONDS(OURS, "stall_timeout", image.stall_timeout_s, "120", 1),
	SECONDS(OURS, "saving_timeout", image.saving_timeout_s, "120", 0),
	SECONDS(OURS, "job_timeout", virt.job_timeout_s, "300", 1),
	SECONDS(OURS, "libvirt_connect_timeout", virt.connect_timeout_s, "10", 1),
	SECONDS(OURS, "libvirt_call_timeout", virt.call_timeout_s, "300", 1),
	SECONDS(OURS, "save_timeout", virt.save_timeout_s, "3600", 1),
	SECONDS(OURS, "libvirt_keepalive", virt.keepalive_s, "5", 0),
	SECONDS(OURS, "agent_timeout", virt.agent_timeout_s, "10", 1),
	STRING(OURS, "scratch_dir", virt.scratch_dir, "$state_dir/scratch"),
	COUNT(OURS, "scratch_percent", virt.scratch_percent, "10", 0, 100),
	COUNT(OURS, "scratch_reserve", virt.scratch_reserve_mib, "256", 1, 1000000),
	SECONDS(OURS, "nbd_timeout", virt.nbd_timeout_s, "60", 1),
	LIST(OURS, "backing_dirs", virt.backing_dirs, "$instances_path"),
	STRING(OURS, "hash_algo", hash_algo, NULL),
	COUNT(OURS, "journal_days", journal_days, "30", 1, 36500),
	SECONDS(OURS, "image_poll_interval", image_poll_interval_s, "10", 1),
	COUNT(OURS, "upload_bytes_per_second", image.upload_bytes_per_second, "0", 0, UINT_MAX),
	SECONDS(OURS, "freeze_timeout", virt.freeze_timeout_s, "30", 1),
	SECONDS(OURS, "quiesce_timeout", quiesce_timeout_s, "300", 1),
	BOOL(OURS, "report_state", report_state, "false"),
	COUNT(OURS, "outbox_max", rpc.outbox_max, "1000", 10, 1000000),
	COUNT(OURS, "rejected_max_files", rpc.rejected_max_files, "100", 0, 100000),
};

#define TEXTS_AT(member) offsetof(struct texts, member)
static const struct key rule_keys[] = {
	{OURS, "control", KEY_STRING, TEXTS_AT(control), "conductor", 0, 0},
	{OURS, "images", KEY_STRING, TEXTS_AT(images), "glance", 0, 0},
	{OURS, "compression_type", KEY_STRING, TEXTS_AT(compression_type), "zlib", 0, 0},
	{OURS, "detect_zeroes", KEY_STRING, TEXTS_AT(detect_zeroes), "extents", 0, 0},
	{OURS, "thaw_program", KEY_STRING, TEXTS_AT(thaw_program), NULL, 0, 0},
	{"libvirt", "virt_type", KEY_STRING, TEXTS_AT(virt_type), "kvm", 0, 0},
	{"libvirt", "images_type", KEY_STRING, TEXTS_AT(images_type), "default", 0, 0},
	{"DEFAULT", "use_cow_images", KEY_BOOL, TEXTS_AT(use_cow_images), "true", 0, 0},
	{"libvirt", "connection_uri", KEY_STRING, TEXTS_AT(connection_uri), NULL, 0, 0},
	{"notifications", "notification_format", KEY_STRING, TEXTS_AT(notification_format),
	 "unversioned", 0, 0},
	{"oslo_messaging_notifications", "driver", KEY_RAW_LIST, TEXTS_AT(notification_drivers),
	 NULL, 0, 0},
	{"oslo_messaging_notifications", "transport_url", KEY_STRING,
	 TEXTS_AT(notification_transport_url), NULL, 0, 0},
	{RABBIT, "amqp_durable_queues", KEY_BOOL, TEXTS_AT(durable), "false", 0, 0},
	{RABBIT, "rabbit_quorum_queue", KEY_BOOL, TEXTS_AT(quorum), "false", 0, 0},
	{RABBIT, "rabbit_qos_prefetch_count", KEY_COUNT, TEXTS_AT(prefetch), "0", 0, 65535},
};

/* Keys that only other keys refer to. */
static const struct {
	const char *name;
	const char *standard;
} references[] = {
	{"state_path", "/var/lib/nova"},
	{"instances_path", "$state_path/instances"},
};

static const char *default_text(const char *section, const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(references); i++) {
		if (g_str_equal(references[i].name, name))
			return references[i].standard;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
		if (g_str_equal(keys[i].name, name) && (g_str_equal(keys[i].section, section) ||
							g_str_equal(keys[i].section, "DEFAULT")))
			return keys[i].standard;
	}
	return NULL;
}

/* The names that keys had before, which oslo.messaging still takes. */
static const struct {
	const char *section;
	const char *name;
	const char *old;
} old_names[] = {
	{RABBIT, "ssl", "rabbit_use_ssl"},
	{RABBIT, "ssl_ca_file", "kombu_ssl_ca_certs"},
	{RABBIT, "ssl_cert_file", "kombu_ssl_certfile"},
	{RABBIT, "ssl_key_file", "kombu_ssl_keyfile"},
};

static const struct config_value *find_value(struct config_store *store, const struct key *key)
{
	const struct config_value *value = config_store_get(store, key->section, key->name);

	for (size_t i = 0; !value && i < G_N_ELEMENTS(old_names); i++) {
		if (g_str_equal(old_names[i].section, key->section) &&
		    g_str_equal(old_names[i].name, key->name))
			value = config_store_get(store, key->section, old_names[i].old);
	}
	return value;
}

/* Its text is in no message. */
static bool is_secret(const struct key *key)
{
	return g_str_equal(key->name, "password") || g_str_equal(key->name, "transport_url");
}

static int bad_value(const struct key *key, const struct config_value *value, const char *why,
		     GError **error)
{
	if (value)
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_VALUE, "%s:%d: [%s]%s: %s",
			    value->file, value->line, key->section, key->name, why);
	else
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_VALUE, "[%s]%s: %s", key->section,
			    key->name, why);
	return -1;
}

/* oslo.config's words for true and false. */
static int parse_bool(const char *text, bool *ret)
{
	static const char *const yes[] = {"true", "1", "on", "yes", NULL};
	static const char *const no[] = {"false", "0", "off", "no", NULL};
	g_autofree char *folded = g_ascii_strdown(text, -1);

	*ret = g_strv_contains(yes, folded);
	return *ret || g_strv_contains(no, folded) ? 0 : -1;
}

static const char *const *split_list(struct config_store *store, const char *text)
{
	g_auto(GStrv) parts = g_strsplit(text, ",", -1);
	g_autoptr(GPtrArray) list = g_ptr_array_new();
	void *kept;

	for (char **part = parts; *part; part++) {
		g_strstrip(*part);
		if (**part)
			g_ptr_array_add(list, (void *)config_store_keep(store, g_strdup(*part)));
	}
	g_ptr_array_add(list, NULL);
	kept = g_memdup2(list->pdata, list->len * sizeof(char *));
	return (const char *const *)(const void *)config_store_keep(store, kept);
}

static int set_key(struct config_store *store, const struct key *key, void *base, GError **error)
{
	const struct config_value *value = find_value(store, key);
	const char *text =
		value ? g_ptr_array_index(value->texts, value->texts->len - 1) : key->standard;
	void *target = (char *)base + key->offset;
	const char *unknown;

	if (key->type == KEY_STRING && text && !*text)
		text = key->standard;
	if (!text) {
		if (key->type == KEY_LIST || key->type == KEY_RAW_LIST)
			*(const char *const **)target = split_list(store, "");
		return 0;
	}
	text = config_store_expand(store, key->section, text, default_text, &unknown);
	if (!text) {
		g_autofree char *why = g_strdup_printf(
			"refers to %s%s, which is not set (write $$ for a dollar sign)",
			is_secret(key) ? "another key with a dollar sign" : "$",
			is_secret(key) ? "" : unknown);

		return bad_value(key, value, why, error);
	}

	switch (key->type) {
	case KEY_TEXT:
		*(const char **)target = text;
		return 0;
	case KEY_STRING:
		if (!*text && key->standard)
			return bad_value(key, value, "comes to nothing", error);
		*(const char **)target = *text ? text : NULL;
		return 0;
	case KEY_BOOL:
		if (parse_bool(text, target) < 0)
			return bad_value(key, value, "must be true or false", error);
		return 0;
	case KEY_SECONDS:
	case KEY_COUNT: {
		guint64 number;

		if (!g_ascii_string_to_unsigned(text, 10, key->least, key->most, &number, NULL)) {
			g_autofree char *why =
				g_strdup_printf("must be a whole number%s from %u to %u",
						key->type == KEY_SECONDS ? " of seconds" : "",
						key->least, key->most);
			return bad_value(key, value, why, error);
		}
		*(unsigned *)target = (unsigned)number;
		return 0;
	}
	case KEY_LIST:
		*(const char *const **)target = split_list(store, text);
		return 0;
	case KEY_RAW_LIST: {
		g_autoptr(GString) all = g_string_new(NULL);

		for (guint i = 0; value && i < value->texts->len; i++)
			g_string_append_printf(all, "%s,",
					       (char *)g_ptr_array_index(value->texts, i));
		*(const char *const **)target = split_list(store, all->str);
		return 0;
	}
	}
	return 0;
}

static const struct key *find_key(const char *section, const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
		if (g_str_equal(keys[i].section, section) && g_str_equal(keys[i].name, name))
			return &keys[i];
	}
	for (size_t i = 0; i < G_N_ELEMENTS(rule_keys); i++) {
		if (g_str_equal(rule_keys[i].section, section) &&
		    g_str_equal(rule_keys[i].name, name))
			return &rule_keys[i];
	}
	return NULL;
}

static void check_known(const struct config_value *value, void *opaque)
{
	GError **error = opaque;

	if (*error || !g_str_equal(value->section, OURS) || find_key(OURS, value->name))
		return;
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_KEY, "%s:%d: [%s] has no key \"%s\"",
		    value->file, value->line, OURS, value->name);
}

static int choose(struct config_store *store, const char *section, const char *name,
		  const char *text, const char *const *words, GError **error)
{
	g_autofree char *all = NULL;
	g_autofree char *why = NULL;

	for (int i = 0; words[i]; i++) {
		if (g_str_equal(words[i], text))
			return i;
	}
	all = g_strjoinv(", ", (char **)words);
	why = g_strdup_printf("is \"%s\", must be one of: %s", text, all);
	return bad_value(find_key(section, name), config_store_get(store, section, name), why,
			 error);
}

/* nova's own choice of the URI by virt_type (nova.virt.libvirt.driver.LibvirtDriver._uri). */
static const char *default_uri(const char *virt_type)
{
	if (g_str_equal(virt_type, "lxc"))
		return "lxc:///";
	if (g_str_equal(virt_type, "parallels"))
		return "parallels:///system";
	return "qemu:///system";
}

static int check_directory(struct config_store *store, const char *section, const char *name,
			   const char *path, GError **error)
{
	if (g_path_is_absolute(path))
		return 0;
	return bad_value(find_key(section, name), config_store_get(store, section, name),
			 "must be an absolute path", error);
}

/* nova.virt.libvirt.imagebackend.Backend: what a disk is that nothing else says it of. */
static const char *container_format(const struct texts *texts)
{
	if (g_str_equal(texts->images_type, "default"))
		return texts->use_cow_images ? "qcow2" : "raw";
	return g_str_equal(texts->images_type, "qcow2") ? "qcow2" : "raw";
}

/* It is installed beside us. */
static const char *find_thaw_program(struct config_store *store, const char *told)
{
	g_autofree char *self = told ? NULL : g_file_read_link("/proc/self/exe", NULL);
	g_autofree char *folder = self ? g_path_get_dirname(self) : NULL;

	if (told || !folder)
		return told ? told : "novasnap-thaw";
	return config_store_keep(store, g_build_filename(folder, "novasnap-thaw", NULL));
}

static int apply_rules(struct config *config, const struct texts *texts, GError **error)
{
	static const char *const controls[] = {"none", "conductor", NULL};
	static const char *const stores[] = {"glance", "directory", NULL};
	static const char *const formats[] = {"unversioned", "versioned", "both", NULL};
	static const char *const compressions[] = {"zlib", "zstd", NULL};
	static const char *const detections[] = {"extents", "scan", NULL};
	static const char *const image_formats[] = {"raw", "qcow2", "vmdk", "vdi", NULL};
	struct config_store *store = config->store;
	int control = choose(store, OURS, "control", texts->control, controls, error);
	int images, format, compression, zeroes;

	if (control < 0)
		return -1;
	images = choose(store, OURS, "images", texts->images, stores, error);
	if (images < 0)
		return -1;
	format = choose(store, "notifications", "notification_format", texts->notification_format,
			formats, error);
	if (format < 0)
		return -1;
	if (config->virt.snapshot_image_format &&
	    choose(store, "libvirt", "snapshot_image_format", config->virt.snapshot_image_format,
		   image_formats, error) < 0)
		return -1;
	compression = choose(store, OURS, "compression_type", texts->compression_type, compressions,
			     error);
	if (compression < 0)
		return -1;
	zeroes = choose(store, OURS, "detect_zeroes", texts->detect_zeroes, detections, error);
	if (zeroes < 0)
		return -1;
	config->compress_zstd = compression == 1;
	config->scan_zeroes = zeroes == 1;
	config->control = control == 1;
	config->image.directory = images == 1;
	if (config->image.directory && !config->image.images_dir)
		return bad_value(find_key(OURS, "images_dir"), NULL,
				 "must be set when images = directory", error);
	if (check_directory(store, OURS, "state_dir", config->state_dir, error) < 0 ||
	    check_directory(store, OURS, "run_dir", config->run_dir, error) < 0 ||
	    check_directory(store, OURS, "scratch_dir", config->virt.scratch_dir, error) < 0 ||
	    check_directory(store, "libvirt", "snapshots_directory",
			    config->virt.snapshots_directory, error) < 0)
		return -1;
	if (config->report_state && !config->control)
		return bad_value(find_key(OURS, "report_state"),
				 config_store_get(store, OURS, "report_state"),
				 "needs control = conductor: there is nobody to report to", error);
	if (texts->thaw_program &&
	    check_directory(store, OURS, "thaw_program", texts->thaw_program, error) < 0)
		return -1;
	if (config->image.images_dir &&
	    check_directory(store, OURS, "images_dir", config->image.images_dir, error) < 0)
		return -1;

	if (!config->rpc.host) {
		char name[256] = "";

		(void)gethostname(name, sizeof(name) - 1);
		config->rpc.host = config_store_keep(store, g_strdup(name));
	}
	config->notify.host = config->rpc.host;
	config->notify.legacy = format != 1;
	config->notify.versioned = format != 0;
	config->notify.enabled = g_strv_contains(texts->notification_drivers, "messagingv2") ||
				 g_strv_contains(texts->notification_drivers, "messaging");
	if (texts->notification_transport_url &&
	    !g_str_equal(texts->notification_transport_url, config->rpc.transport_url))
		return bad_value(
			find_key("oslo_messaging_notifications", "transport_url"),
			config_store_get(store, "oslo_messaging_notifications", "transport_url"),
			"a broker of their own for notifications is not supported; "
			"set it in a later file to the value of [DEFAULT]transport_url",
			error);

	config->rpc.quorum = texts->quorum;
	config->rpc.durable = texts->durable || texts->quorum;
	/* oslo takes all there is; what waits here is not acked, so it needs a bound. */
	config->rpc.prefetch = texts->prefetch > 0 ? texts->prefetch : 100;
	config->rpc.rejected_dir =
		config_store_keep(store, g_build_filename(config->state_dir, "rejected", NULL));
	config->rpc.rejected_max_bytes = 64 * 1024 * 1024;
	config->virt.connection_uri =
		texts->connection_uri ? texts->connection_uri : default_uri(texts->virt_type);
	config->virt.run_dir = config->run_dir;
	config->virt.container_format = container_format(texts);
	config->virt.thaw_program = find_thaw_program(store, texts->thaw_program);
	/* nova takes such disks cold, for a block copy would write them unencrypted. */
	config->virt.disable_livesnapshot |= config->ephemeral_encryption;
	return 0;
}

static int read_files(struct config_store *store, const char *const *files, GError **error)
{
	static const char *const usual[] = {"/etc/nova/nova.conf", "/etc/novasnap/novasnap.conf",
					    NULL};
	unsigned found = 0;

	if (files && *files) {
		for (; *files; files++) {
			if (config_store_read(store, *files, error) < 0)
				return -1;
		}
		return 0;
	}
	for (files = usual; *files; files++) {
		if (access(*files, F_OK) != 0)
			continue;
		found++;
		if (config_store_read(store, *files, error) < 0)
			return -1;
	}
	if (found > 0)
		return 0;
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE,
		    "no configuration: neither %s nor %s exists; name one with --config-file",
		    usual[0], usual[1]);
	return -1;
}

struct config *config_load(const char *const *files, GError **error)
{
	g_autoptr(config_t) config = g_new0(struct config, 1);
	struct texts texts = {0};
	GError *unknown = NULL;

	config->store = config_store_new();
	if (read_files(config->store, files, error) < 0)
		return NULL;
	config_store_foreach(config->store, check_known, &unknown);
	if (unknown) {
		g_propagate_error(error, unknown);
		return NULL;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
		if (set_key(config->store, &keys[i], config, error) < 0)
			return NULL;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(rule_keys); i++) {
		if (set_key(config->store, &rule_keys[i], &texts, error) < 0)
			return NULL;
	}
	if (apply_rules(config, &texts, error) < 0)
		return NULL;
	return g_steal_pointer(&config);
}

void config_free(struct config *config)
{
	if (!config)
		return;
	config_store_free(config->store);
	g_free(config);
}
