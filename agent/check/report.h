/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The results of `novasnap check`: one line of standard output each.
 */
#ifndef NOVASNAP_AGENT_CHECK_REPORT_H
#define NOVASNAP_AGENT_CHECK_REPORT_H

#include <glib.h>

#include "agent/config/config.h"

enum check_result { CHECK_OK, CHECK_WARN, CHECK_FAIL };

/* A run of all checks. */
struct check {
	const struct config *config;
	struct virt_config virt; /* what `host` was opened with: shorter limits than config->virt */
	struct virt_host *host;	 /* NULL: libvirt cannot be reached */
	unsigned failed;	 /* how many results were CHECK_FAIL */
	unsigned warned;	 /* how many were CHECK_WARN */
};

/* Prints a result and counts it. `subject` is what was checked, the format says what was found, and
 * what to do about it. Line breaks in it are replaced by spaces. */
void check_report(struct check *check, enum check_result result, const char *subject,
		  const char *format, ...) G_GNUC_PRINTF(4, 5);

#endif
