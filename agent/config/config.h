/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration of novasnapd and novasnap. Files are read as oslo.config reads them; later
 * files override earlier ones. nova's keys have the same meaning as for nova-compute; all other
 * keys are in the section [novasnap]. It is read once, passed on as const, and freed at the end.
 * - load.c: config_load and config_free, which use all of the following;
 * - files.c: finds the files, and has the options --config-file and --config-dir;
 * - ini.c: reads files into settings;
 * - table.c: the table of all keys: type, default, limits, old names, member of struct config;
 * - fill.c: fills struct config according to the table;
 * - key.c: finds the effective setting of a key;
 * - substitution.c: replaces $name in values;
 * - value.c: converts texts to bools, numbers and lists;
 * - credentials.c: the credentials for Keystone, by keystoneauth1's rules;
 * - messaging.c: the queries of transport URLs, the broker for notifications, and the options of
 *   oslo.messaging in messaging-options.c that are not implemented;
 * - rules.c: applies the rules that involve several keys;
 * - compare.c: finds the keys that have changed.
 */
#ifndef NOVASNAP_AGENT_CONFIG_H
#define NOVASNAP_AGENT_CONFIG_H

#include <glib.h>
#include <stdbool.h>

#include "agent/config/error.h"
#include "image/cinder.h"
#include "image/image.h"
#include "rpc/nova.h"
#include "rpc/rpc.h"
#include "virt/virt.h"

/* What `mode = beside` without a conductor means, for the log and for `novasnap check`. */
#define CONFIG_BESIDE_NEEDS_CONDUCTOR                                                              \
	"only the conductor tells whether nova-compute has taken the same snapshot, so one may "   \
	"be made twice; set control = conductor, or mode = exclusive where no nova-compute runs"

/* The configuration owns all strings and lists. */
struct config {
	struct rpc_config rpc;
	struct virt_config virt;
	struct image_config image;
	struct cinder_config volume;
	struct nova_notify_config notify;

	const char *const *files; /* the files that were read, NULL-terminated */

	/* [DEFAULT]control_exchange is nova-compute's own, "nova.<host>": config.rpc has the one of
	 * the other services, "nova". */
	bool nova_has_exchange;
	/* [novasnap]beside_away: after this time without novasnapd nova-compute gets its requests
	 * back. */
	unsigned beside_away_s;

	bool debug;		/* [DEFAULT]debug */
	const char *log_file;	/* path by [DEFAULT]log_file and log_dir; NULL: standard error */
	const char *log_format; /* [novasnap]log_format: "auto", "journal" or "nova" */
	unsigned max_concurrent_snapshots; /* [DEFAULT]max_concurrent_snapshots; 0: no limit */
	bool control; /* [novasnap]control: true for conductor, false for none */
	bool beside;  /* [novasnap]mode: true for beside, false for exclusive */
	/* [novasnap]beside_methods: the methods that novasnapd serves beside nova-compute. */
	const char *const *beside_methods;
	/* [novasnap]beside_patience: after this time without progress of the forwarding thread
	 * nova-compute gets its requests back. */
	unsigned beside_patience_s;
	const char *metrics_file;    /* [novasnap]metrics_file, absolute; NULL: none */
	unsigned metrics_interval_s; /* [novasnap]metrics_interval */
	const char *metrics_listen;  /* [novasnap]metrics_listen, "address:port"; NULL: none */
	const char *state_dir;	     /* [novasnap]state_dir, absolute */
	const char *run_dir;	     /* [novasnap]run_dir, absolute */
	/* [novasnap]shutdown_grace: how long running jobs may continue after SIGTERM. */
	unsigned shutdown_grace_s;
	bool ephemeral_encryption; /* [ephemeral_storage_encryption]enabled */
	bool images_in_rbd;	   /* [libvirt]images_type = rbd */
	const char *rbd_pool;	   /* [libvirt]images_rbd_pool; a disk's pool is in its domain */
	/* [libvirt]images_rbd_glance_store_name: the store of Glance in that cluster; NULL: not
	 * known. */
	const char *rbd_glance_store_name;

	unsigned shutdown_timeout_s;	    /* [DEFAULT]shutdown_timeout */
	unsigned shutdown_retry_interval_s; /* [compute]shutdown_retry_interval */
	unsigned quiesce_timeout_s;	    /* [novasnap]quiesce_timeout */
	const char *audit_period;	    /* [DEFAULT]instance_usage_audit_period */
	/* [novasnap]report_state; by default true, unless `beside` or without `control`. */
	bool report_state;
	bool report_progress;		/* [novasnap]report_progress */
	unsigned report_interval_s;	/* [DEFAULT]report_interval */
	unsigned journal_days;		/* [novasnap]journal_days */
	unsigned image_poll_interval_s; /* [novasnap]image_poll_interval */
	/* [novasnap]finishing_timeout: how long the store is asked for an image after all data was
	 * sent. */
	unsigned finishing_timeout_s;
	bool snapshot_compression; /* [libvirt]snapshot_compression, for qcow2 images */
	bool compress_zstd;	   /* [novasnap]compression_type is zstd, not zlib */
	bool scan_zeroes;	   /* [novasnap]detect_zeroes is scan, not extents */
	const char *hash_algo;	   /* [novasnap]hash_algo; NULL: that of the guest's base image */
};

/*
 * Reads the default files and `paths`, as config_files_read does (files.h). Returns NULL with a
 * CONFIG_ERROR. The caller frees the result with config_free.
 */
struct config *config_load(const char *const *paths, GError **error);
void config_free(struct config *config); /* accepts NULL */

/* The keys that differ and cannot change while novasnapd runs (oslo.config's options that are not
 * mutable), as "[section]name, [section]name". NULL: none. Both configurations must come from
 * config_load. The caller frees the result. */
char *config_list_ignored_changes(const struct config *current, const struct config *changed);
typedef struct config config_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(config_t, config_free)

#endif
