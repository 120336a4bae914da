/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The errors of the configuration. Each message names the file and the line where there is one.
 */
#ifndef NOVASNAP_AGENT_CONFIG_ERROR_H
#define NOVASNAP_AGENT_CONFIG_ERROR_H

#include <glib.h>

#define CONFIG_ERROR config_error_quark()
GQuark config_error_quark(void);

enum config_error {
	CONFIG_ERROR_FILE,  /* a file cannot be read, or a line breaks the rules of ini.h */
	CONFIG_ERROR_KEY,   /* a key of [novasnap] that does not exist */
	CONFIG_ERROR_VALUE, /* a value that is malformed, out of range, or cannot work */
};

#endif
