/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the messages that novasnapd could not use.
 */
#ifndef NOVASNAP_AGENT_CHECK_REJECTED_H
#define NOVASNAP_AGENT_CHECK_REJECTED_H

#include "agent/check/report.h"

/* Warns of messages in state_dir/rejected. */
void check_rejected(struct check *check);

#endif
