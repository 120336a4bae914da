/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See error.h.
 */
#include "agent/metrics/error.h"

G_DEFINE_QUARK(metrics - error - quark, metrics_error)
