/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration: oslo's INI files, the later file wins. nova's own keys mean here what they
 * mean there; what nova has no key for is in [novasnap]. Read once, handed down as const, freed at
 * the end.
 */
#ifndef NOVASNAP_AGENT_CONFIG_H
#define NOVASNAP_AGENT_CONFIG_H

#include <glib.h>
#include <stdbool.h>

#include "image/image.h"
#include "image/openstack/cinder.h"
#include "rpc/nova.h"
#include "rpc/rpc.h"
#include "virt/virt.h"

#define CONFIG_ERROR config_error_quark()
GQuark config_error_quark(void);

enum config_error {
	CONFIG_ERROR_FILE,  /* a file cannot be read, or a line is no INI */
	CONFIG_ERROR_KEY,   /* a key of [novasnap] that does not exist */
	CONFIG_ERROR_VALUE, /* a value that does not parse, or cannot work */
};

struct config {
	struct rpc_config rpc;
	struct virt_config virt;
	struct image_config image;
	struct nova_notify_config notify;

	bool debug;			   /* [DEFAULT]debug */
	const char *log_file;		   /* [DEFAULT]log_file; NULL: standard error */
	unsigned max_concurrent_snapshots; /* [DEFAULT]max_concurrent_snapshots; 0: no limit */
	bool control;			   /* [novasnap]control is conductor, not none */
	const char *state_dir;
	const char *run_dir;
	unsigned shutdown_grace_s; /* [novasnap]shutdown_grace: what is under way may take it to end
				    */
	bool ephemeral_encryption; /* [ephemeral_storage_encryption]enabled */
	struct cinder_config volume;

	unsigned shutdown_timeout_s;	    /* [DEFAULT]shutdown_timeout */
	unsigned shutdown_retry_interval_s; /* [compute]shutdown_retry_interval */
	unsigned quiesce_timeout_s; /* [novasnap]quiesce_timeout: of quiesce_instance's freeze */
	const char *audit_period;   /* [DEFAULT]instance_usage_audit_period */
	bool report_state;	    /* [novasnap]report_state */
	unsigned report_interval_s; /* [DEFAULT]report_interval */
	unsigned journal_days;	    /* [novasnap]journal_days */
	unsigned image_poll_interval_s; /* [novasnap]image_poll_interval */
	bool snapshot_compression;	/* [libvirt]snapshot_compression: of a qcow2 image */
	bool compress_zstd;		/* [novasnap]compression_type is zstd, not zlib */
	bool scan_zeroes;		/* [novasnap]detect_zeroes is scan, not extents */
	const char *hash_algo;		/* [novasnap]hash_algo; NULL: as the guest's own image */

	struct config_store *store; /* owns every string above */
};

/*
 * Reads the files in order. NULL or an empty list: /etc/nova/nova.conf and
 * /etc/novasnap/novasnap.conf, of which those that exist are read, and at least one must. Returns
 * NULL with a CONFIG_ERROR that names file and line.
 */
struct config *config_load(const char *const *files, GError **error);
void config_free(struct config *config);
typedef struct config config_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(config_t, config_free)

#endif
