/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the disks of the guests of this host.
 */
#ifndef NOVASNAP_AGENT_CHECK_GUEST_DISKS_H
#define NOVASNAP_AGENT_CHECK_GUEST_DISKS_H

#include "agent/check/report.h"

/* Warns of the guests whose snapshots would be refused because of their disks. Does nothing without
 * check->host. */
void check_guest_disks(struct check *check);

#endif
