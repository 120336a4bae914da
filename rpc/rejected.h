/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The folder of rejected messages (rpc_config.rejected_dir). A message that could not be used is
 * kept there for an operator: one file per message, with the reason in its first line.
 */
#ifndef NOVASNAP_RPC_REJECTED_H
#define NOVASNAP_RPC_REJECTED_H

#include "rpc/amqp/delivery.h"
#include "rpc/rpc.h"

/* Writes the text of a rejected message to a new file, with its secrets redacted and with the
 * reason. A text of more than RPC_MAX_KEPT_BYTES is truncated. The oldest files are removed if
 * there are more than rejected_max_files, or more than rejected_max_bytes in total. Logs a warning
 * if the message cannot be kept. Does nothing if no folder is configured. */
void rejected_keep(const struct rpc_config *config, const char *text, size_t length,
		   const char *reason);

/* As rejected_keep, for a message whose body cannot be read. The file has its properties, but not
 * its body, since secrets cannot be found in it. */
void rejected_keep_unreadable(const struct rpc_config *config, const struct delivery *delivery,
			      const char *reason);

#endif
