/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hides the secrets of texts, and of messages before they are written to disk or shown. The
 * functions for messages, rpc_body_redact and rpc_message_prepare_replay, and rpc_log_redact are
 * declared in rpc.h.
 */
#ifndef NOVASNAP_RPC_REDACT_H
#define NOVASNAP_RPC_REDACT_H

#include <stddef.h>

/* Redacts a text that is not JSON, or truncated JSON. Replaces whatever follows the name of a
 * secret (secret-name.h), and anything that looks like a token, a private key or the password in a
 * URL, with "***". Bytes that are not UTF-8 become U+FFFD. Returns a new text, which the caller
 * frees; only "***" if the search fails. */
char *rpc_text_redact(const char *text, size_t length);

#endif
