/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hides the secrets of a message, parsed or not, and prepares a redacted message for replay.
 */
#include "rpc/redact.h"

#include <string.h>

#include "rpc/json.h"
#include "rpc/rpc.h"

#define REDACTED "***"
#define TOKEN_PREFIX "gAAAAA" /* of Keystone's Fernet tokens */

/* nova stores a guest's password in the system metadata, encrypted with its owner's key. Replaying
 * a message without it would lose the password. */
static bool is_encrypted_password(const char *folded)
{
	static const char name[] = "password_";

	return g_str_has_prefix(folded, name) && g_ascii_isdigit(folded[strlen(name)]) &&
	       !folded[strlen(name) + 1];
}

static bool is_secret_name(const char *name)
{
	static const char *const parts[] = {"token",  "password", "passwd",  "admin_pass",
					    "secret", "trust_id", "key_data"};
	g_autofree char *folded = g_ascii_strdown(name, -1);

	if (is_encrypted_password(folded))
		return false;
	/* For example new_pass, an argument of set_admin_password. */
	if (g_str_has_suffix(folded, "_pass"))
		return true;
	for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
		if (strstr(folded, parts[i]))
			return true;
	}
	return false;
}

/* Turns any item into a string, which keeps its name and place. */
static void replace_with_string(cJSON *item, const char *text)
{
	cJSON *replacement = cJSON_CreateString(text);

	cJSON_Delete(item->child);
	item->child = NULL;
	cJSON_free(item->valuestring);
	item->valuestring = replacement->valuestring;
	item->type = (item->type & ~0xff) | cJSON_String;
	replacement->valuestring = NULL;
	cJSON_Delete(replacement);
}

/* An envelope's message, which is JSON in a string. */
static void redact_inner_message(cJSON *item)
{
	size_t length = strlen(item->valuestring);
	cJSON *inner = json_parse(item->valuestring, length, NULL);
	char *text;

	if (!inner) {
		g_autofree char *redacted = rpc_text_redact(item->valuestring, length);

		replace_with_string(item, redacted);
		return;
	}
	rpc_body_redact(inner);
	text = json_print(inner);
	replace_with_string(item, text);
	cJSON_free(text);
	cJSON_Delete(inner);
}

void rpc_body_redact(cJSON *message)
{
	cJSON *item;

	cJSON_ArrayForEach (item, message) {
		bool is_text = cJSON_IsString(item);
		bool is_token = is_text && g_str_has_prefix(item->valuestring, TOKEN_PREFIX);
		bool has_secret = item->string && is_secret_name(item->string) &&
				  !cJSON_IsNull(item) && !cJSON_IsBool(item);

		if (is_token || has_secret)
			replace_with_string(item, REDACTED);
		else if (is_text && item->string && g_str_equal(item->string, "oslo.message"))
			redact_inner_message(item);
		else if (item->child)
			rpc_body_redact(item);
	}
}

void rpc_message_prepare_replay(cJSON *message)
{
	if (g_strcmp0(json_string(message, "_context_auth_token"), REDACTED) == 0)
		cJSON_ReplaceItemInObjectCaseSensitive(message, "_context_auth_token",
						       cJSON_CreateNull());
	cJSON_DeleteItemFromObjectCaseSensitive(message, "_msg_id");
	cJSON_DeleteItemFromObjectCaseSensitive(message, "_reply_q");
	cJSON_DeleteItemFromObjectCaseSensitive(message, "_timeout");
}

char *rpc_text_redact(const char *text, size_t length)
{
	/* The value after a secret's name is removed, up to the quote that opened it (which may be
	 * escaped) or, if the text is truncated, to the end. The number of characters between name
	 * and value is limited, because a text may consist of nothing but names. */
	g_autoptr(GRegex) secrets =
		g_regex_new("((?:token|password|passwd|_pass|secret|key_data)[a-z_]{0,64}+"
			    "\\\\{0,64}+[\"']?\\s{0,64}+[:=]\\s{0,64}+u?)"
			    "(?:(\\\\*[\"'])(?:[^\\\\\"']++|(?!\\2)\\\\++[\"']?|(?!\\2)[\"'])*+(?:"
			    "\\2)?|[^\"'\\\\\\s,}&]++)",
			    G_REGEX_CASELESS | G_REGEX_DOTALL | G_REGEX_OPTIMIZE, 0, NULL);
	g_autoptr(GRegex) tokens =
		g_regex_new(TOKEN_PREFIX "[A-Za-z0-9_=-]++", G_REGEX_OPTIMIZE, 0, NULL);
	g_autofree char *valid = g_utf8_make_valid(text, (gssize)length);
	g_autofree char *without_secrets =
		g_regex_replace(secrets, valid, -1, 0, "\\1\"" REDACTED "\"", 0, NULL);
	char *redacted =
		without_secrets ? g_regex_replace(tokens, without_secrets, -1, 0, REDACTED, 0, NULL)
				: NULL;

	/* If the search fails, show nothing rather than a secret. */
	return redacted ? redacted : g_strdup(REDACTED);
}
