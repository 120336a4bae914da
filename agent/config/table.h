/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of every key that novasnap knows, nova's and its own.
 */
#ifndef NOVASNAP_AGENT_CONFIG_TABLE_H
#define NOVASNAP_AGENT_CONFIG_TABLE_H

#include "agent/config/config.h"
#include "agent/config/key.h"

/* What the table fills: the configuration, and values that rules.c turns into parts of it. */
struct config_inputs {
	struct config config; /* first: config_free finds the whole by it */

	const char *virt_type;
	const char *images_type;
	bool use_cow_images;
	const char *notification_format;
	const char *const *notification_drivers;
	const char *notification_transport_url;
	/* Only other keys refer to these. */
	const char *state_path;
	const char *instances_path;

	struct ini *ini;
	GPtrArray *memory; /* what the configuration's pointers point to */
};

/* Offsets are those in struct config_inputs. */
extern const struct config_key config_table[];
extern const size_t config_table_size;

/* The section of the keys that are novasnap's own. */
#define CONFIG_OWN_SECTION "novasnap"

#endif
