/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The folder of rejected messages (rpc_config.rejected_dir). A message that could not be used is
 * kept there for an operator: one file per message, with the reason in its first line.
 */
#ifndef NOVASNAP_RPC_REJECTED_H
#define NOVASNAP_RPC_REJECTED_H

#include "rpc/rpc.h"

/* Writes the body of a rejected message to a new file, with its secrets redacted and with the
 * reason. A body of more than RPC_MAX_KEPT_BYTES is truncated. The oldest files are removed if
 * there are more than rejected_max_files, or more than rejected_max_bytes in total. Logs a warning
 * if the message cannot be kept. Does nothing if no folder is configured. */
void rejected_keep(const struct rpc_config *config, const char *body, size_t length,
		   const char *reason);

#endif
