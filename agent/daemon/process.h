/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the programs do to their own process.
 */
#ifndef NOVASNAP_AGENT_PROCESS_H
#define NOVASNAP_AGENT_PROCESS_H

/* Tokens and passwords are in its memory: there is to be no core file of it, nor anybody but root
 * who reads it. */
void process_keep_secrets(void);

#endif
