/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All keys that novasnap knows. nova's keys have the defaults and old names of nova and its
 * libraries; most limits are novasnap's. conf/novasnap.conf documents each key, and
 * tests/unit/test-config.c compares the two.
 */
#include "agent/config/table.h"

#include <limits.h>

#define KEY_WEEK_S (7 * 24 * 3600)

/* The offset of a member. The comparison makes the compiler check the member's type. */
#define KEY_OFFSET(ctype, member)                                                                  \
	(offsetof(struct config_inputs, member) +                                                  \
	 0 * sizeof((ctype *)0 == &((struct config_inputs *)0)->member))

/* The arguments after the default are further members of struct config_key. */
#define KEY(section_, name_, type_, ctype, member, default_, ...)                                  \
	{                                                                                          \
		.section = section_, .name = name_, .type = type_,                                 \
		.offset = KEY_OFFSET(ctype, member), .default_text = default_, __VA_ARGS__         \
	}
#define KEY_BOOL(section, name, member, ...)                                                       \
	KEY(section, name, CONFIG_BOOL, bool, member, __VA_ARGS__)
#define KEY_STRING(section, name, member, ...)                                                     \
	KEY(section, name, CONFIG_STRING, const char *, member, __VA_ARGS__)
#define KEY_SECRET(section, name, member, ...)                                                     \
	KEY(section, name, CONFIG_STRING, const char *, member, __VA_ARGS__, .secret = true)
#define KEY_PATH(section, name, member, ...)                                                       \
	KEY(section, name, CONFIG_PATH, const char *, member, __VA_ARGS__)
#define KEY_LIST(section, name, member, ...)                                                       \
	KEY(section, name, CONFIG_LIST, const char *const *, member, __VA_ARGS__)
#define KEY_CHOICE(section, name, member, default_, ...)                                           \
	KEY(section, name, CONFIG_CHOICE, const char *, member, default_,                          \
	    .choices = (const char *const[]){__VA_ARGS__, NULL})
#define KEY_SWITCH(section, name, member, default_, off, on)                                       \
	KEY(section, name, CONFIG_SWITCH, bool, member, default_,                                  \
	    .choices = (const char *const[]){off, on, NULL})
#define KEY_UINT(section, name, member, default_, unit_, min_, max_, ...)                          \
	KEY(section, name, CONFIG_UINT, unsigned, member, default_, .unit = unit_, .min = min_,    \
	    .max = max_, __VA_ARGS__)
#define KEY_INT64(section, name, member, ...)                                                      \
	KEY(section, name, CONFIG_INT64, int64_t, member, __VA_ARGS__)
#define KEY_SECONDS(section, name, member, default_, min_, ...)                                    \
	KEY_UINT(section, name, member, default_, "seconds", min_, KEY_WEEK_S, __VA_ARGS__)
#define KEY_OLD(...) .old_names = {__VA_ARGS__}

/* NOLINTBEGIN(bugprone-macro-parentheses): parentheses around a member do not compile. */
/* A service's credential in Keystone: the options of keystoneauth1's types password, token,
 * v3password, v3token and v3applicationcredential. `more` is a struct config_credential. */
#define KEY_CREDENTIAL(section, member, more)                                                      \
	KEY_STRING(section, "auth_type", more.auth_type, NULL, KEY_OLD("auth_plugin")),            \
		KEY_STRING(section, "auth_section", more.auth_section, NULL),                      \
		KEY_STRING(section, "auth_url", member.auth_url, NULL),                            \
		KEY_STRING(section, "username", member.username, NULL,                             \
			   KEY_OLD("user-name", "user_name")),                                     \
		KEY_STRING(section, "user_id", member.user_id, NULL),                              \
		KEY(section, "password", CONFIG_TEXT, const char *, member.password, NULL,         \
		    .secret = true),                                                               \
		KEY_STRING(section, "user_domain_name", member.user_domain_name, NULL),            \
		KEY_STRING(section, "user_domain_id", member.user_domain_id, NULL),                \
		KEY_STRING(section, "application_credential_id", member.application_credential_id, \
			   NULL),                                                                  \
		KEY_STRING(section, "application_credential_name",                                 \
			   member.application_credential_name, NULL),                              \
		KEY_SECRET(section, "application_credential_secret",                               \
			   member.application_credential_secret, NULL),                            \
		KEY_SECRET(section, "token", member.token, NULL),                                  \
		KEY_STRING(section, "project_name", member.project_name, NULL,                     \
			   KEY_OLD("tenant-name", "tenant_name")),                                 \
		KEY_STRING(section, "project_id", member.project_id, NULL,                         \
			   KEY_OLD("tenant-id", "tenant_id")),                                     \
		KEY_STRING(section, "project_domain_name", member.project_domain_name, NULL),      \
		KEY_STRING(section, "project_domain_id", member.project_domain_id, NULL),          \
		KEY_STRING(section, "default_domain_name", more.default_domain_name, NULL),        \
		KEY_STRING(section, "default_domain_id", more.default_domain_id, NULL),            \
		KEY_STRING(section, "domain_name", member.domain_name, NULL),                      \
		KEY_STRING(section, "domain_id", member.domain_id, NULL),                          \
		KEY_STRING(section, "trust_id", member.trust_id, NULL),                            \
		KEY_STRING(section, "system_scope", member.system_scope, NULL)

/* The TLS options for a service (keystoneauth1.loading.session). */
#define KEY_TLS(section, member)                                                                   \
	KEY_STRING(section, "cafile", member.cafile, NULL),                                        \
		KEY_STRING(section, "certfile", member.certfile, NULL),                            \
		KEY_STRING(section, "keyfile", member.keyfile, NULL),                              \
		KEY_BOOL(section, "insecure", member.insecure, "false")

/* NOLINTEND(bugprone-macro-parentheses) */

#define KEY_RABBIT "oslo_messaging_rabbit"
#define KEY_NOTIFICATIONS "oslo_messaging_notifications"
#define KEY_OWN CONFIG_OWN_SECTION

const struct config_key config_table[] = {
	KEY_SECRET("DEFAULT", "transport_url", config.rpc.transport_url, "rabbit://"),
	KEY_STRING("DEFAULT", "control_exchange", config.rpc.control_exchange, "nova"),
	KEY("DEFAULT", "host", CONFIG_HOST, const char *, config.rpc.host, NULL),
	KEY_SECONDS("DEFAULT", "rpc_response_timeout", config.rpc.response_timeout_s, "60", 1),
	KEY_BOOL("DEFAULT", "debug", config.debug, "false", .mutable = true),
	KEY_STRING("DEFAULT", "log_file", config.log_file, NULL, KEY_OLD("logfile")),
	KEY_STRING("DEFAULT", "log_dir", log_dir, NULL, KEY_OLD("logdir")),
	KEY_UINT("DEFAULT", "max_concurrent_snapshots", config.max_concurrent_snapshots, "5", NULL,
		 0, 1000),
	KEY_SECONDS("DEFAULT", "shutdown_timeout", config.shutdown_timeout_s, "60", 0),
	KEY_STRING("DEFAULT", "instance_usage_audit_period", config.audit_period, "month",
		   .pattern = "^(hour|month|day|year)(@([0-9]+))?$"),
	KEY_SECONDS("DEFAULT", "report_interval", config.report_interval_s, "10", 1),
	KEY_BOOL("DEFAULT", "use_cow_images", use_cow_images, "true"),
	KEY_STRING("DEFAULT", "state_path", state_path, "/var/lib/nova"),
	KEY_STRING("DEFAULT", "instances_path", instances_path, "$state_path/instances"),

	KEY_STRING("compute", "topic", config.rpc.topic, "compute"),
	KEY_SECONDS("compute", "shutdown_retry_interval", config.shutdown_retry_interval_s, "10",
		    1),

	KEY_BOOL(KEY_RABBIT, "amqp_durable_queues", config.rpc.durable, "false"),
	KEY_BOOL(KEY_RABBIT, "rabbit_quorum_queue", config.rpc.quorum, "false"),
	KEY_BOOL(KEY_RABBIT, "rabbit_transient_quorum_queue", config.rpc.transient_quorum, "false"),
	KEY_BOOL(KEY_RABBIT, "rabbit_stream_fanout", config.rpc.stream_fanout, "false"),
	KEY_INT64(KEY_RABBIT, "rabbit_quorum_delivery_limit", config.rpc.quorum_delivery_limit,
		  "0"),
	KEY_INT64(KEY_RABBIT, "rabbit_quorum_max_memory_length",
		  config.rpc.quorum_max_memory_length, "0",
		  KEY_OLD("rabbit_quroum_max_memory_length")),
	KEY_INT64(KEY_RABBIT, "rabbit_quorum_max_memory_bytes", config.rpc.quorum_max_memory_bytes,
		  "0", KEY_OLD("rabbit_quroum_max_memory_bytes")),
	KEY_BOOL(KEY_RABBIT, "rabbit_ha_queues", config.rpc.ha_queues, "false",
		 KEY_OLD("DEFAULT.rabbit_ha_queues")),
	KEY_BOOL(KEY_RABBIT, "enable_cancel_on_failover", config.rpc.cancel_on_failover, "false"),
	KEY_BOOL(KEY_RABBIT, "use_queue_manager", use_queue_manager, "false"),
	KEY_STRING(KEY_RABBIT, "hostname", queue_manager_host, NULL),
	KEY_STRING(KEY_RABBIT, "processname", queue_manager_process, NULL),
	KEY_BOOL(KEY_RABBIT, "amqp_auto_delete", config.rpc.auto_delete, "false",
		 KEY_OLD("DEFAULT.amqp_auto_delete")),
	KEY_SECONDS(KEY_RABBIT, "heartbeat_timeout_threshold", config.rpc.heartbeat_s, "60", 0),
	KEY_SECONDS(KEY_RABBIT, "rabbit_retry_interval", config.rpc.retry_interval_s, "1", 1),
	KEY_SECONDS(KEY_RABBIT, "rabbit_retry_backoff", config.rpc.retry_backoff_s, "2", 0,
		    KEY_OLD("DEFAULT.rabbit_retry_backoff")),
	KEY_SECONDS(KEY_RABBIT, "rabbit_interval_max", config.rpc.interval_max_s, "30", 1),
	KEY_UINT(KEY_RABBIT, "rabbit_transient_queues_ttl", config.rpc.queue_ttl_s, "1800",
		 "seconds", 0, INT_MAX),
	KEY_UINT(KEY_RABBIT, "rabbit_qos_prefetch_count", config.rpc.prefetch, "0", NULL, 0, 65535),
	KEY_BOOL(KEY_RABBIT, "ssl", config.rpc.ssl, "false", KEY_OLD("rabbit_use_ssl")),
	KEY_STRING(KEY_RABBIT, "ssl_ca_file", config.rpc.ssl_ca_file, NULL,
		   KEY_OLD("kombu_ssl_ca_certs")),
	KEY_STRING(KEY_RABBIT, "ssl_cert_file", config.rpc.ssl_cert_file, NULL,
		   KEY_OLD("kombu_ssl_certfile")),
	KEY_STRING(KEY_RABBIT, "ssl_key_file", config.rpc.ssl_key_file, NULL,
		   KEY_OLD("kombu_ssl_keyfile")),

	KEY(KEY_NOTIFICATIONS, "driver", CONFIG_MULTI, const char *const *, notification_drivers,
	    NULL, KEY_OLD("DEFAULT.notification_driver")),
	KEY_LIST(KEY_NOTIFICATIONS, "topics", config.notify.topics, "notifications",
		 KEY_OLD("rpc_notifier2.topics", "DEFAULT.notification_topics")),
	KEY_SECRET(KEY_NOTIFICATIONS, "transport_url", notification_transport_url, NULL,
		   KEY_OLD("DEFAULT.notification_transport_url")),
	KEY("notifications", "notification_format", CONFIG_CHOICE, const char *,
	    notification_format, "unversioned", KEY_OLD("DEFAULT.notification_format"),
	    .choices = (const char *const[]){"unversioned", "versioned", "both", NULL}),
	KEY_BOOL("notifications", "include_share_mapping", config.notify.shares, "false"),
	KEY_LIST("notifications", "versioned_notifications_topics", config.notify.versioned_topics,
		 "versioned_notifications"),

	KEY_CHOICE("libvirt", "virt_type", virt_type, "kvm", "kvm", "lxc", "qemu", "parallels",
		   "uml", "xen"),
	KEY_CHOICE("libvirt", "images_type", images_type, "default", "raw", "flat", "qcow2", "lvm",
		   "rbd", "ploop", "default"),
	KEY_STRING("libvirt", "connection_uri", config.virt.connection_uri, NULL),
	KEY_PATH("libvirt", "snapshots_directory", config.virt.snapshots_directory,
		 "$instances_path/snapshots"),
	KEY_CHOICE("libvirt", "snapshot_image_format", config.virt.snapshot_image_format, NULL,
		   "raw", "qcow2", "vmdk", "vdi"),
	KEY_BOOL("libvirt", "snapshot_compression", config.snapshot_compression, "false"),
	KEY_STRING("libvirt", "images_rbd_pool", config.rbd_pool, "rbd"),
	KEY_STRING("libvirt", "images_rbd_ceph_conf", config.virt.rbd_conf, NULL),
	KEY_STRING("libvirt", "images_rbd_glance_store_name", config.rbd_glance_store_name, NULL),
	KEY_STRING("libvirt", "rbd_user", config.virt.rbd_user, NULL),
	KEY_BOOL("workarounds", "disable_libvirt_livesnapshot", config.virt.disable_livesnapshot,
		 "false"),
	KEY_BOOL("ephemeral_storage_encryption", "enabled", config.ephemeral_encryption, "false"),

	KEY_LIST("glance", "api_servers", config.image.api_servers, NULL),
	KEY_STRING("glance", "endpoint_override", config.image.endpoint_override, NULL),
	KEY_STRING("glance", "region_name", config.image.region_name, NULL),
	KEY_LIST("glance", "valid_interfaces", config.image.valid_interfaces, "internal,public"),
	KEY_UINT("glance", "num_retries", config.image.num_retries, "3", NULL, 0, 100),
	KEY_STRING("glance", "cafile", config.image.cafile, NULL, KEY_OLD("ssl.ca_file")),
	KEY_STRING("glance", "certfile", config.image.certfile, NULL, KEY_OLD("ssl.cert_file")),
	KEY_STRING("glance", "keyfile", config.image.keyfile, NULL, KEY_OLD("ssl.key_file")),
	KEY_BOOL("glance", "insecure", config.image.insecure, "false", KEY_OLD("api_insecure")),

	KEY_STRING("cinder", "endpoint_template", config.volume.endpoint_template, NULL),
	KEY_STRING("cinder", "catalog_info", config.volume.catalog_info, "volumev3::publicURL",
		   .pattern = "^\\w+:\\w*:.*$"),
	KEY_STRING("cinder", "os_region_name", config.volume.region_name, NULL),
	KEY_TLS("cinder", config.volume),

	KEY_CREDENTIAL("keystone_authtoken", config.image.auth, auth),
	KEY_TLS("keystone_authtoken", config.image.auth),
	KEY_CREDENTIAL("service_user", config.image.service, service),
	KEY_TLS("service_user", config.image.service),
	KEY_BOOL("service_user", "send_service_user_token", config.image.send_service_user_token,
		 "false"),

	KEY_PATH(KEY_OWN, "state_dir", config.state_dir, "/var/lib/novasnap"),
	KEY_PATH(KEY_OWN, "run_dir", config.run_dir, "/run/novasnap"),
	KEY_SWITCH(KEY_OWN, "control", config.control, "conductor", "none", "conductor"),
	KEY_SWITCH(KEY_OWN, "mode", config.beside, "beside", "exclusive", "beside"),
	KEY_LIST(KEY_OWN, "beside_methods", config.beside_methods,
		 "snapshot_instance, backup_instance"),
	KEY_SECONDS(KEY_OWN, "beside_patience", config.beside_patience_s, "5", 2),
	KEY_SWITCH(KEY_OWN, "images", config.image.directory, "glance", "glance", "directory"),
	KEY_PATH(KEY_OWN, "images_dir", config.image.images_dir, NULL),
	KEY_STRING(KEY_OWN, "live_method", config.virt.live_method, "stream"),
	KEY_STRING(KEY_OWN, "cold_method", config.virt.cold_method, "stream"),
	KEY_SWITCH(KEY_OWN, "compression_type", config.compress_zstd, "zlib", "zlib", "zstd"),
	KEY_SWITCH(KEY_OWN, "detect_zeroes", config.scan_zeroes, "extents", "extents", "scan"),
	KEY_STRING(KEY_OWN, "hash_algo", config.hash_algo, NULL),
	KEY_PATH(KEY_OWN, "scratch_dir", config.virt.scratch_dir, NULL),
	KEY_UINT(KEY_OWN, "scratch_percent", config.virt.scratch_percent, "10", "percent", 0, 100),
	KEY_UINT(KEY_OWN, "scratch_reserve", config.virt.scratch_reserve_mib, "256", "MiB", 1,
		 1000000),
	KEY_LIST(KEY_OWN, "backing_dirs", config.virt.backing_dirs, "$instances_path"),
	KEY_SWITCH(KEY_OWN, "rbd_flatten", config.virt.rbd_flatten_by_manager, "client", "client",
		   "mgr"),
	KEY_UINT(KEY_OWN, "upload_bytes_per_second", config.image.upload_bytes_per_second, "0",
		 "bytes per second", 0, UINT_MAX),
	KEY_UINT(KEY_OWN, "read_ahead", config.image.read_ahead_mib, "8", "MiB", 2, 1024),
	KEY_UINT(KEY_OWN, "journal_days", config.journal_days, "30", "days", 1, 36500),
	KEY_CHOICE(KEY_OWN, "log_format", config.log_format, "auto", "auto", "journal", "nova"),
	KEY_PATH(KEY_OWN, "metrics_file", config.metrics_file, NULL),
	KEY_SECONDS(KEY_OWN, "metrics_interval", config.metrics_interval_s, "15", 1),
	KEY_STRING(KEY_OWN, "metrics_listen", config.metrics_listen, NULL),
	KEY_UINT(KEY_OWN, "outbox_max", config.rpc.outbox_max, "1000", "messages", 10, 1000000),
	KEY_UINT(KEY_OWN, "rejected_max_files", config.rpc.rejected_max_files, "100", "files", 0,
		 100000),
	KEY_BOOL(KEY_OWN, "report_state", config.report_state, NULL),
	KEY_BOOL(KEY_OWN, "report_progress", config.report_progress, "false"),
	KEY_PATH(KEY_OWN, "thaw_program", config.virt.thaw_program, NULL),
	KEY_PATH(KEY_OWN, "rbd_program", config.virt.rbd_program, NULL),
	KEY_SECONDS(KEY_OWN, "beside_away", config.beside_away_s, "60", 10),
	KEY_SECONDS(KEY_OWN, "shutdown_grace", config.shutdown_grace_s, "60", 0),
	KEY_SECONDS(KEY_OWN, "connect_timeout", config.image.connect_timeout_s, "10", 1),
	KEY_SECONDS(KEY_OWN, "request_timeout", config.image.request_timeout_s, "60", 1),
	KEY_SECONDS(KEY_OWN, "stall_timeout", config.image.stall_timeout_s, "120", 1),
	KEY_SECONDS(KEY_OWN, "saving_timeout", config.image.saving_timeout_s, "120", 0),
	KEY_SECONDS(KEY_OWN, "finishing_timeout", config.finishing_timeout_s, "14400", 0),
	KEY_SECONDS(KEY_OWN, "image_poll_interval", config.image_poll_interval_s, "10", 1),
	KEY_SECONDS(KEY_OWN, "job_timeout", config.virt.job_timeout_s, "300", 1),
	KEY_SECONDS(KEY_OWN, "save_timeout", config.virt.save_timeout_s, "3600", 1),
	KEY_SECONDS(KEY_OWN, "nbd_timeout", config.virt.nbd_timeout_s, "60", 1),
	KEY_SECONDS(KEY_OWN, "rbd_timeout", config.virt.rbd_timeout_s, "30", 1),
	KEY_SECONDS(KEY_OWN, "libvirt_connect_timeout", config.virt.connect_timeout_s, "10", 1),
	KEY_SECONDS(KEY_OWN, "libvirt_call_timeout", config.virt.call_timeout_s, "300", 1),
	KEY_SECONDS(KEY_OWN, "libvirt_keepalive", config.virt.keepalive_s, "5", 0),
	KEY_SECONDS(KEY_OWN, "agent_timeout", config.virt.agent_timeout_s, "60", 1),
	KEY_SECONDS(KEY_OWN, "freeze_timeout", config.virt.freeze_timeout_s, "30", 1),
	KEY_SECONDS(KEY_OWN, "quiesce_timeout", config.quiesce_timeout_s, "300", 1),
};

const size_t config_table_size = G_N_ELEMENTS(config_table);
