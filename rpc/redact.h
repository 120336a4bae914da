/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hides the secrets of a message before it is written to disk or shown. rpc_body_redact, which
 * redacts a parsed message, and rpc_message_prepare_replay are declared in rpc.h.
 */
#ifndef NOVASNAP_RPC_REDACT_H
#define NOVASNAP_RPC_REDACT_H

#include <stddef.h>

/* Redacts a text that is not JSON, or truncated JSON. Replaces the values of secrets, and anything
 * that looks like a Keystone token, with "***". Bytes that are not UTF-8 become U+FFFD. Returns a
 * new text, which the caller frees; only "***" if the search fails. */
char *rpc_text_redact(const char *text, size_t length);

#endif
