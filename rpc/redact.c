/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Redacts texts with regular expressions, and parsed messages by walking through them, also through
 * JSON in strings. Prepares a redacted message for replay.
 */
#include "rpc/redact.h"

#include <pthread.h>
#include <string.h>

#include "rpc/json.h"
#include "rpc/rpc.h"
#include "rpc/secret-name.h"

#define REDACTED RPC_REDACTED
/* JSON in a string in JSON in a string... Text at a deeper level is redacted without parsing it. */
#define NESTED_MAX 8

/* The value after a secret's name: up to the quote that opened it (which may be escaped), or to the
 * end of the text if it was cut off; a list or an object to the end of the text; or a word. */
#define VALUE(bare)                                                                                \
	"(?:(\\\\*[\"'])(?:[^\\\\\"']++|(?!\\2)\\\\++[\"']?|(?!\\2)[\"'])*+(?:\\2)?|" bare         \
	"[^\"'\\\\\\s,}&]++)"
#define LIST_OR_OBJECT "[\\[{].*|"

/* What to replace. %s is secret_name_pattern(). The number of characters between name and value is
 * limited, because a text may consist of nothing but names. */
static const struct rule {
	const char *pattern;
	const char *replacement;
	bool for_logs; /* else only for texts that are not JSON */
} rules[] = {
	/* name: value, "name": value, name=value, 'name': u'value' */
	{"((?:%s)[a-z0-9_-]{0,64}+\\\\{0,64}+[\"']?\\s{0,64}+[:=]\\s{0,64}+[ub]?)" VALUE(
		 LIST_OR_OBJECT),
	 "\\1\"" REDACTED "\"", false},
	/* Logs have texts like "no token: REASON", so there, as in oslo, a name without quotes must
	 * be followed by a sign of equality. */
	{"((?:%s)[a-z0-9_-]{0,64}+(?:\\\\{0,64}+[\"']\\s{0,64}+:|\\s{0,64}+=)\\s{0,64}+[ub]?"
	 ")" VALUE(""),
	 "\\1\"" REDACTED "\"", true},
	/* "key": "name", "value": value */
	{"([\"']key\\\\{0,64}+[\"']\\s{0,64}+:\\s{0,64}+\\\\{0,64}+[\"'][^\"'\\\\]{0,64}?(?:%s)"
	 "[^\"'\\\\]{0,64}+\\\\{0,64}+[\"']\\s{0,64}+,\\s{0,64}+\\\\{0,64}+[\"']value\\\\{0,64}+["
	 "\"']"
	 "\\s{0,64}+:\\s{0,64}+)" VALUE(LIST_OR_OBJECT),
	 "\\1\"" REDACTED "\"", true},
	/* --name value, name "value" */
	{"((?:--[a-z0-9_-]{0,64}?(?:%s)[a-z0-9_-]{0,64}+\\s{1,64}+|"
	 "(?:%s)[a-z0-9_-]{0,64}+\\s{1,64}+(?=\\\\*[\"'])))" VALUE(""),
	 "\\1\"" REDACTED "\"", true},
	/* <name>value</name> */
	{"(<[a-z0-9_:-]{0,64}?(?:%s)[a-z0-9_-]{0,64}+(?:\\s[^<>]{0,1024}+)?>)[^<]++",
	 "\\1" REDACTED, true},
	/* scheme://user:password@host */
	{"([a-z][a-z0-9+.-]{0,30}+://[^\\s/:@\"'\\\\]{0,255}+:)[^\\s/\"'\\\\]{1,1024}@",
	 "\\1" REDACTED "@", true},
	/* Keystone's Fernet and JWS tokens */
	{"(?-i:gAAAAA[A-Za-z0-9_=-]++)", REDACTED, true},
	{"(?-i:eyJ[A-Za-z0-9_-]++\\.[A-Za-z0-9_-]++\\.[A-Za-z0-9_-]++)", REDACTED, true},
	{"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END|$)", REDACTED, true},
};

static GRegex *compiled[G_N_ELEMENTS(rules)];

static void compile_rules(void)
{
	g_autofree char *names = secret_name_pattern();

	for (size_t i = 0; i < G_N_ELEMENTS(rules); i++) {
		g_auto(GStrv) parts = g_strsplit(rules[i].pattern, "%s", -1);
		g_autofree char *pattern = g_strjoinv(names, parts);
		g_autoptr(GError) error = NULL;

		/* Without G_REGEX_OPTIMIZE, which compiles to machine code: the systemd unit
		 * forbids that, and GLib would log so, in the midst of a log line. By bytes (RAW),
		 * since otherwise PCRE checks the encoding of the whole text again for each match.
		 * Every match begins and ends with an ASCII character or at one, so no other
		 * character is cut. */
		compiled[i] = g_regex_new(pattern, G_REGEX_CASELESS | G_REGEX_DOTALL | G_REGEX_RAW,
					  0, &error);
		if (!compiled[i])
			g_error("%s", error->message);
	}
}

/* `text` is UTF-8. If a search fails, the result shows nothing rather than a secret. */
static char *apply_rules(const char *text, bool only_for_logs)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	char *result = g_strdup(text);

	(void)pthread_once(&once, compile_rules);
	for (size_t i = 0; i < G_N_ELEMENTS(rules) && result; i++) {
		char *before = result;

		if (only_for_logs && !rules[i].for_logs)
			continue;
		result = g_regex_replace(compiled[i], before, -1, 0, rules[i].replacement, 0, NULL);
		g_free(before);
	}
	return result ? result : g_strdup(REDACTED);
}

char *rpc_text_redact(const char *text, size_t length)
{
	g_autofree char *valid = g_utf8_make_valid(text, (gssize)length);

	return apply_rules(valid, false);
}

char *rpc_log_redact(const char *text)
{
	g_autofree char *valid = NULL;

	if (!secret_name_may_be_in(text))
		return NULL;
	valid = g_utf8_make_valid(text, -1);
	return apply_rules(valid, true);
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

static bool redact_value(cJSON *item, unsigned nested);

/* Like the other functions, returns whether anything was replaced. */
static bool replace_if_changed(cJSON *item, const char *text)
{
	if (g_str_equal(item->valuestring, text))
		return false;
	replace_with_string(item, text);
	return true;
}

static bool looks_like_json(const char *text)
{
	text += strspn(text, " \t\r\n");
	return *text && strchr("{[\"", *text);
}

static bool redact_json_text(cJSON *item, unsigned nested)
{
	size_t length = strlen(item->valuestring);
	cJSON *inner = nested < NESTED_MAX ? json_parse(item->valuestring, length, NULL) : NULL;
	g_autofree char *redacted = NULL;
	bool changed;
	char *text;

	if (!inner) {
		redacted = rpc_text_redact(item->valuestring, length);
		return replace_if_changed(item, redacted);
	}
	changed = redact_value(inner, nested + 1);
	if (changed) {
		text = json_print(inner);
		replace_with_string(item, text);
		cJSON_free(text);
	}
	cJSON_Delete(inner);
	return changed;
}

static bool redact_string(cJSON *item, unsigned nested)
{
	g_autofree char *redacted = NULL;

	if (!secret_name_may_be_in(item->valuestring))
		return false;
	if (looks_like_json(item->valuestring) || g_strcmp0(item->string, "oslo.message") == 0)
		return redact_json_text(item, nested);
	redacted = apply_rules(item->valuestring, true);
	return replace_if_changed(item, redacted);
}

/* A string that json_parse keeps as JSON text. Redacted text might not be JSON. */
static bool redact_raw_string(cJSON *item)
{
	g_autofree char *redacted = NULL;

	if (!secret_name_may_be_in(item->valuestring))
		return false;
	redacted = rpc_text_redact(item->valuestring, strlen(item->valuestring));
	if (g_str_equal(redacted, item->valuestring))
		return false;
	replace_with_string(item, REDACTED);
	return true;
}

/* The value of a pair {"key": NAME, "value": VALUE}, the form of Grizzly's metadata. */
static bool redact_pair(cJSON *item)
{
	const char *name = json_string(item, "key");
	cJSON *value = cJSON_GetObjectItemCaseSensitive(item, "value");

	if (!name || !value || !secret_name_matches(name))
		return false;
	replace_with_string(value, REDACTED);
	return true;
}

static bool redact_value(cJSON *item, unsigned nested)
{
	bool changed = false;
	cJSON *child;

	if (item->string && secret_name_matches(item->string) && !cJSON_IsNull(item) &&
	    !cJSON_IsBool(item)) {
		replace_with_string(item, REDACTED);
		return true;
	}
	if (cJSON_IsString(item))
		return redact_string(item, nested);
	if (cJSON_IsRaw(item) && item->valuestring[0] == '"')
		return redact_raw_string(item);
	if (cJSON_IsObject(item))
		changed = redact_pair(item);
	cJSON_ArrayForEach (child, item)
		changed = redact_value(child, nested) || changed;
	return changed;
}

void rpc_body_redact(cJSON *message)
{
	if (message)
		(void)redact_value(message, 0);
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
