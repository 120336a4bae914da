/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the brokers, and what novasnapd declares there.
 */
#ifndef NOVASNAP_AGENT_CHECK_RABBITMQ_H
#define NOVASNAP_AGENT_CHECK_RABBITMQ_H

#include "agent/check/report.h"

/* Whether the brokers accept a login, for RPC and, if it is another one, for notifications; and
 * whether exchanges and queues are, or can be, as configured. */
void check_rabbitmq(struct check *check);

#endif
