/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which names stand for secrets: those of oslo_utils.strutils.mask_password (_SANITIZE_KEYS, the
 * names in oslo.utils 6 to 10), and what nova masks or treats as sensitive otherwise.
 */
#ifndef NOVASNAP_RPC_SECRET_NAME_H
#define NOVASNAP_RPC_SECRET_NAME_H

#include <stdbool.h>

/* Whether a member of that name is a secret. As in oslo, a name is one that contains such a word in
 * any case. */
bool secret_name_matches(const char *name);

/* Whether the text contains any such word, a token of Keystone, or a URL with a password. A quick
 * check before secret_text_redact. */
bool secret_name_may_be_in(const char *text);

/* The words as alternatives of a regular expression, which ignores case. The caller frees it. */
char *secret_name_pattern(void);

#endif
