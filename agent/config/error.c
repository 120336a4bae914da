/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error domain of the configuration.
 */
#include "agent/config/error.h"

G_DEFINE_QUARK(novasnap - config - error - quark, config_error)
