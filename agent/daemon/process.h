/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Settings of this process.
 */
#ifndef NOVASNAP_AGENT_PROCESS_H
#define NOVASNAP_AGENT_PROCESS_H

/* Tokens and passwords are in the process's memory: forbids core files, and that anybody but root
 * reads the memory. */
void process_keep_secrets(void);

#endif
