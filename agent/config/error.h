/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Configuration errors. Each message names the file and the line, if known.
 */
#ifndef NOVASNAP_AGENT_CONFIG_ERROR_H
#define NOVASNAP_AGENT_CONFIG_ERROR_H

#include <glib.h>

#define CONFIG_ERROR config_error_quark()
GQuark config_error_quark(void);

enum config_error {
	CONFIG_ERROR_FILE,  /* a file cannot be read, or violates the rules in ini.h */
	CONFIG_ERROR_KEY,   /* an unknown key in [novasnap] */
	CONFIG_ERROR_VALUE, /* a value that is malformed, out of range, or unusable */
};

#endif
