/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the configured folders.
 */
#ifndef NOVASNAP_AGENT_CHECK_FOLDERS_H
#define NOVASNAP_AGENT_CHECK_FOLDERS_H

#include "agent/check/report.h"

/* Checks that each folder exists or can be created, is writable for this user but not for
 * everybody, has enough free space, and can be accessed by QEMU's user if that is needed. The last
 * check needs check->host. */
void check_folders(struct check *check);

#endif
