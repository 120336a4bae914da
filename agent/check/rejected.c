/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the messages that novasnapd could not use.
 */
#include "agent/check/rejected.h"

#include "rpc/rpc.h"

void check_rejected(struct check *check)
{
	const char *folder = check->config->rpc.rejected_dir;
	struct rpc_rejected_summary summary;

	rpc_rejected_summarize(folder, &summary);
	if (summary.unreadable > 0)
		check_report(
			check, CHECK_WARN, "unreadable messages",
			"%u in %s; the last one: %s. Set "
			"[oslo_messaging_rabbit]kombu_compression of the services that send "
			"to this host to gzip, bzip2, lzma, zstd or brotli, or remove it; then "
			"delete the files",
			summary.unreadable, folder, summary.unreadable_reason);
	if (summary.readable > 0)
		check_report(check, CHECK_WARN, "rejected messages",
			     "%u in %s; the last one: %s. Show the files with novasnap decode, "
			     "then delete them",
			     summary.readable, folder,
			     summary.readable_reason ? summary.readable_reason : "unknown");
	rpc_rejected_summary_clear(&summary);
}
