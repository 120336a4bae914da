/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration of novasnapd and novasnap. Files are read as oslo.config reads them, and a
 * later file overrides an earlier one. nova's keys mean what they mean to nova-compute; the section
 * [novasnap] has the rest. It is read once, passed on as const, and freed at the end.
 *
 * load.c          config_load and config_free; it uses:
 * ini.c           reads files into settings
 * table.c         the table of all keys: type, default, limits, old names, member of struct config
 * fill.c          fills struct config by the table
 * key.c           finds the setting of a key that counts
 * substitution.c  replaces $name in values
 * value.c         makes bools, numbers and lists from texts
 * rules.c         applies the rules that need more than one key
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

/* Strings and lists belong to the configuration. */
struct config {
	struct rpc_config rpc;
	struct virt_config virt;
	struct image_config image;
	struct cinder_config volume;
	struct nova_notify_config notify;

	bool debug;			   /* [DEFAULT]debug */
	const char *log_file;		   /* [DEFAULT]log_file; NULL: standard error */
	unsigned max_concurrent_snapshots; /* [DEFAULT]max_concurrent_snapshots; 0: no limit */
	bool control;	       /* [novasnap]control: true for conductor, false for none */
	const char *state_dir; /* [novasnap]state_dir, absolute */
	const char *run_dir;   /* [novasnap]run_dir, absolute */
	/* [novasnap]shutdown_grace: how long running jobs may go on after SIGTERM. */
	unsigned shutdown_grace_s;
	bool ephemeral_encryption; /* [ephemeral_storage_encryption]enabled */

	unsigned shutdown_timeout_s;	    /* [DEFAULT]shutdown_timeout */
	unsigned shutdown_retry_interval_s; /* [compute]shutdown_retry_interval */
	unsigned quiesce_timeout_s;	    /* [novasnap]quiesce_timeout */
	const char *audit_period;	    /* [DEFAULT]instance_usage_audit_period */
	bool report_state;		    /* [novasnap]report_state */
	unsigned report_interval_s;	    /* [DEFAULT]report_interval */
	unsigned journal_days;		    /* [novasnap]journal_days */
	unsigned image_poll_interval_s;	    /* [novasnap]image_poll_interval */
	bool snapshot_compression;	    /* [libvirt]snapshot_compression: of a qcow2 image */
	bool compress_zstd;		    /* [novasnap]compression_type is zstd, not zlib */
	bool scan_zeroes;		    /* [novasnap]detect_zeroes is scan, not extents */
	const char *hash_algo; /* [novasnap]hash_algo; NULL: the one of the guest's own image */
};

/*
 * Reads the files in order. With NULL or an empty list it reads /etc/nova/nova.conf and
 * /etc/novasnap/novasnap.conf; one of the two may be missing. Returns NULL with a CONFIG_ERROR. The
 * caller frees the result by config_free.
 */
struct config *config_load(const char *const *files, GError **error);
void config_free(struct config *config); /* NULL is allowed */
typedef struct config config_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(config_t, config_free)

#endif
