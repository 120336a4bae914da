/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: what the mode means for the host.
 */
#ifndef NOVASNAP_AGENT_CHECK_MODE_H
#define NOVASNAP_AGENT_CHECK_MODE_H

#include "agent/check/report.h"

/* Names the mode, and warns of an exclusive one in which nova considers the host down. */
void check_mode(struct check *check);

#endif
