/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hiding the secrets of a message before it is written to disk or shown. rpc_body_redact, which
 * redacts a parsed message, and rpc_message_prepare_replay stand in rpc.h.
 */
#ifndef NOVASNAP_RPC_REDACT_H
#define NOVASNAP_RPC_REDACT_H

#include <stddef.h>

/* Redacts a text that is not JSON, or only the beginning of some. Replaces what follows the name of
 * a secret, and whatever looks like a token of Keystone, with "***". Bytes that are not UTF-8
 * become U+FFFD. Returns a new text, which the caller frees; only "***" when the search gives up.
 */
char *rpc_text_redact(const char *text, size_t length);

#endif
