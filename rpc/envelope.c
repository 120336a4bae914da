/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bodies on the wire: oslo.messaging's envelope 2.0, or the bare message of version 1.0
 * (oslo_messaging._drivers.common serialize_msg, deserialize_msg), and hiding secrets in them.
 */
#include <string.h>

#include "rpc/internal.h"
#include "rpc/json.h"

#define HIDDEN "***"
#define TOKEN "gAAAAA" /* how a Fernet token of Keystone begins */

cJSON *rpc_body_decode(const char *body, size_t length, GError **error)
{
	const cJSON *version, *message;
	cJSON *outer, *inner;

	if (length > MAX_BODY) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "a body of %zu bytes is over the limit of %zu", length, MAX_BODY);
		return NULL;
	}
	outer = json_parse(body, length, error);
	if (!outer)
		return NULL;
	if (!cJSON_IsObject(outer)) {
		cJSON_Delete(outer);
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE, "no JSON object");
		return NULL;
	}
	version = cJSON_GetObjectItemCaseSensitive(outer, "oslo.version");
	message = cJSON_GetObjectItemCaseSensitive(outer, "oslo.message");
	/* As oslo: without both it is a bare message. */
	if (!version || !message)
		return outer;
	if (!cJSON_IsString(version) || !cJSON_IsString(message)) {
		cJSON_Delete(outer);
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "an envelope whose oslo.version or oslo.message is no text");
		return NULL;
	}
	/* oslo: the major version must be the same, the minor at most ours. */
	if (!g_str_equal(version->valuestring, "2.0")) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE, "envelope version %.20s, not 2.0",
			    version->valuestring);
		cJSON_Delete(outer);
		return NULL;
	}
	inner = json_parse(message->valuestring, strlen(message->valuestring), error);
	cJSON_Delete(outer);
	if (inner && !cJSON_IsObject(inner)) {
		cJSON_Delete(inner);
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "the envelope's message is no JSON object");
		return NULL;
	}
	if (!inner)
		g_prefix_error(error, "the envelope's message: ");
	return inner;
}

char *rpc_body_encode(const cJSON *message)
{
	char *text = json_print(message);
	cJSON *envelope = cJSON_CreateObject();
	char *body;

	cJSON_AddStringToObject(envelope, "oslo.version", "2.0");
	cJSON_AddStringToObject(envelope, "oslo.message", text);
	cJSON_free(text);
	body = json_print(envelope);
	cJSON_Delete(envelope);
	return body;
}

/* What nova keeps of a guest's password in its system metadata is encrypted for its owner, and
 * would be lost when a message that was kept is served again. */
static bool is_encrypted_password(const char *folded)
{
	static const char name[] = "password_";

	return g_str_has_prefix(folded, name) && g_ascii_isdigit(folded[strlen(name)]) &&
	       !folded[strlen(name) + 1];
}

static bool is_secret(const char *name)
{
	static const char *const parts[] = {"token",  "password", "passwd",  "admin_pass",
					    "secret", "trust_id", "key_data"};
	g_autofree char *folded = g_ascii_strdown(name, -1);

	if (is_encrypted_password(folded))
		return false;
	/* set_admin_password calls it new_pass. */
	if (g_str_has_suffix(folded, "_pass"))
		return true;
	for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
		if (strstr(folded, parts[i]))
			return true;
	}
	return false;
}

static void set_text(cJSON *item, const char *text)
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

void rpc_body_redact(cJSON *message)
{
	cJSON *item;

	cJSON_ArrayForEach (item, message) {
		bool token = cJSON_IsString(item) && g_str_has_prefix(item->valuestring, TOKEN);

		if (token || (item->string && is_secret(item->string) && !cJSON_IsNull(item) &&
			      !cJSON_IsBool(item))) {
			set_text(item, HIDDEN);
		} else if (item->string && cJSON_IsString(item) &&
			   g_str_equal(item->string, "oslo.message")) {
			cJSON *inner =
				json_parse(item->valuestring, strlen(item->valuestring), NULL);
			char *text;

			if (!inner) {
				g_autofree char *cut = rpc_text_redact(item->valuestring,
								       strlen(item->valuestring));

				set_text(item, cut);
				continue;
			}
			rpc_body_redact(inner);
			text = json_print(inner);
			set_text(item, text);
			cJSON_free(text);
			cJSON_Delete(inner);
		} else if (item->child) {
			rpc_body_redact(item);
		}
	}
}

void rpc_message_prepare_replay(cJSON *message)
{
	if (g_strcmp0(json_string(message, "_context_auth_token"), HIDDEN) == 0)
		cJSON_ReplaceItemInObjectCaseSensitive(message, "_context_auth_token",
						       cJSON_CreateNull());
	cJSON_DeleteItemFromObjectCaseSensitive(message, "_msg_id");
	cJSON_DeleteItemFromObjectCaseSensitive(message, "_reply_q");
	cJSON_DeleteItemFromObjectCaseSensitive(message, "_timeout");
}

char *rpc_text_redact(const char *text, size_t length)
{
	/* Of a body that is no JSON only what looks like a name can be known: the value that
	 * follows a secret's name goes, up to the quote that opened it (which may be escaped) or,
	 * where it is cut, to the end; and whatever looks like a token of Keystone's goes. What
	 * stands between name and value has a bound, for a text may be made of nothing but names.
	 */
	g_autoptr(GRegex) regex =
		g_regex_new("((?:token|password|passwd|_pass|secret|key_data)[a-z_]{0,64}+"
			    "\\\\{0,64}+[\"']?\\s{0,64}+[:=]\\s{0,64}+u?)"
			    "(?:(\\\\*[\"'])(?:[^\\\\\"']++|(?!\\2)\\\\++[\"']?|(?!\\2)[\"'])*+(?:"
			    "\\2)?|[^\"'\\\\\\s,}&]++)",
			    G_REGEX_CASELESS | G_REGEX_DOTALL | G_REGEX_OPTIMIZE, 0, NULL);
	g_autoptr(GRegex) tokens = g_regex_new("gAAAAA[A-Za-z0-9_=-]++", G_REGEX_OPTIMIZE, 0, NULL);
	g_autofree char *valid = g_utf8_make_valid(text, (gssize)length);
	g_autofree char *named = g_regex_replace(regex, valid, -1, 0, "\\1\"" HIDDEN "\"", 0, NULL);
	char *all = named ? g_regex_replace(tokens, named, -1, 0, HIDDEN, 0, NULL) : NULL;

	/* The expression gave up: rather nothing than a secret. */
	return all ? all : g_strdup(HIDDEN);
}
