/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The results of `novasnap check`.
 */
#ifndef NOVASNAP_AGENT_CHECK_REPORT_H
#define NOVASNAP_AGENT_CHECK_REPORT_H

#include <glib.h>

#include "agent/config/config.h"

enum check_result { CHECK_OK, CHECK_WARN, CHECK_FAIL };

/* A run of all checks. */
struct check {
	const struct config *config;
	struct virt_config virt; /* used to open `host`: with shorter limits than config->virt */
	struct virt_host *host;	 /* NULL: libvirt cannot be reached */
	/* Gets each result; `text` is one line without secrets. */
	void (*print)(enum check_result result, const char *subject, const char *text,
		      void *opaque);
	void *print_opaque;
	/* The name of a folder of the method stream that failed; NULL: none did. */
	const char *bad_stream_folder;
	unsigned failed; /* number of CHECK_FAIL results */
	unsigned warned; /* number of CHECK_WARN results */
};

/* Has a result printed, and counts it. `subject` is the thing that was checked; the format
 * describes the result and what to do about it. Line breaks are replaced by spaces. */
void check_report(struct check *check, enum check_result result, const char *subject,
		  const char *format, ...) G_GNUC_PRINTF(4, 5);

#endif
