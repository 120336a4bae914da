/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of all keys that novasnap knows: nova's and its own.
 */
#ifndef NOVASNAP_AGENT_CONFIG_TABLE_H
#define NOVASNAP_AGENT_CONFIG_TABLE_H

#include "agent/config/config.h"
#include "agent/config/key.h"

/* Options of a credential that are not in struct keystone_config. */
struct config_credential {
	const char *auth_type;
	const char *auth_section;
	const char *default_domain_name;
	const char *default_domain_id;
};

/* The target of the table: the configuration, and values from which rules.c sets parts of it. */
struct config_inputs {
	struct config config; /* first, because config_free casts from it */

	const char *virt_type;
	const char *images_type;
	bool use_cow_images;
	const char *log_dir;
	const char *notification_format;
	const char *const *notification_drivers;
	const char *notification_transport_url;
	bool use_queue_manager;
	const char *queue_manager_host;	   /* hostname */
	const char *queue_manager_process; /* processname */
	struct rpc_config notifications;   /* what config.rpc.notifications points to */
	struct config_credential auth;	   /* [keystone_authtoken] */
	struct config_credential service;  /* [service_user] */
	/* Used only in references from other keys. */
	const char *state_path;
	const char *instances_path;

	struct ini *ini;
	GPtrArray *memory; /* what the configuration's pointers point to */
};

/* Offsets refer to struct config_inputs. */
extern const struct config_key config_table[];
extern const size_t config_table_size;

/* The section of novasnap's own keys. */
#define CONFIG_OWN_SECTION "novasnap"

#endif
