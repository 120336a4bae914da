/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The options of oslo.messaging: the queries of transport URLs, which override
 * [oslo_messaging_rabbit]; the broker for notifications; and the options that novasnap does not
 * implement.
 */
#ifndef NOVASNAP_AGENT_CONFIG_MESSAGING_H
#define NOVASNAP_AGENT_CONFIG_MESSAGING_H

#include "agent/config/table.h"

/* An option of oslo.messaging that novasnap does not implement. */
struct config_ignored_option {
	const char *section;
	const char *name;
	const char *old_name;  /* "name" or "section.name"; NULL: none */
	enum config_type type; /* CONFIG_BOOL, CONFIG_UINT (may be negative), or CONFIG_STRING */
	/* The values that can be used, in lower case; any other one is an error. NULL: all. */
	const char *const *accepted;
	const char *why; /* why it has no effect, or what the accepted values have in common */
};

/* In alphabetical order of sections and names. conf/docs/messaging-options.md has the same table,
 * and tests/integration/test-config-oslo.py compares both with what oslo.messaging registers. */
extern const struct config_ignored_option config_ignored_options[];
extern const size_t config_ignored_option_count;

/* Checks the options that are not implemented, applies the queries of the transport URLs to
 * config.rpc, and sets config.rpc.notifications where notifications have a broker of their own. The
 * table must have been loaded. Returns 0, or -1 with CONFIG_ERROR_VALUE. */
int config_messaging_load(struct config_inputs *inputs, GError **error);

#endif
