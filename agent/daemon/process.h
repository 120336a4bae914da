/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Settings of this process.
 */
#ifndef NOVASNAP_AGENT_PROCESS_H
#define NOVASNAP_AGENT_PROCESS_H

/* The process's memory contains tokens and passwords: forbids core files, and prevents users other
 * than root from reading the memory. */
void process_keep_secrets(void);

#endif
