/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the folders of the configuration.
 */
#ifndef NOVASNAP_AGENT_CHECK_FOLDERS_H
#define NOVASNAP_AGENT_CHECK_FOLDERS_H

#include "agent/check/report.h"

/* Whether each folder exists or can be created, is writable for this user but not for everybody,
 * has enough free space, and can be reached by QEMU's user where that is needed. Without
 * check->host the last one is not checked. */
void check_folders(struct check *check);

#endif
