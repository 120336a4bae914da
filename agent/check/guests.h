/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the guests of this host.
 */
#ifndef NOVASNAP_AGENT_CHECK_GUESTS_H
#define NOVASNAP_AGENT_CHECK_GUESTS_H

#include "agent/check/report.h"

/* Warns of running guests that [novasnap]live_method = stream cannot take. Needs check->host. */
void check_guests(struct check *check);

#endif
