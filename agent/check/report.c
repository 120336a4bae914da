/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The results of `novasnap check`.
 */
#include "agent/check/report.h"

#include <stdarg.h>

#include "rpc/rpc.h"

void check_report(struct check *check, enum check_result result, const char *subject,
		  const char *format, ...)
{
	g_autofree char *full_text = NULL;
	g_autofree char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	full_text = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	text = rpc_log_redact(full_text);
	if (!text)
		text = g_steal_pointer(&full_text);
	/* A server's error message may consist of several lines. */
	g_strdelimit(text, "\r\n", ' ');
	check->print(result, subject, text, check->print_opaque);
	check->failed += result == CHECK_FAIL;
	check->warned += result == CHECK_WARN;
}
