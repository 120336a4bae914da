/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words in the names of secrets.
 */
#include "rpc/secret-name.h"

#include <glib.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

/* In lower case. An underscore stands for itself, a hyphen, or nothing. */
static const char *const words[] = {
	/* oslo.utils */
	"admin_pass",
	"password",
	"new_pass",
	"secret",
	"sys_pswd",
	"token",
	"configdrive",
	"encrypted_key",
	"private_key",
	"fernet_key",
	"ssl_key",
	"passphrase",
	"cephclusterfsid",
	"octaviaheartbeatkey",
	"rabbitcookie",
	"cephmanilaclientkey",
	"pacemakerremoteauthkey",
	"designaterndckey",
	"cephadminkey",
	"heatauthencryptionkey",
	"cephclientkey",
	"keystonecredential",
	"barbicansimplecryptokek",
	"cephrgwkey",
	"swifthashsuffix",
	"migrationsshkey",
	"cephmdskey",
	"cephmonkey",
	/* nova: what users put into their servers, CellMapping, Ceph's keys in connection_info */
	"user_data",
	"key_data",
	"injected_files",
	"trust_id",
	"passwd",
	"transport_url",
	"database_connection",
	"keyring",
};

/* Parts of every word above, and of what secret_text_redact finds without a name. */
static const char *const hints[] = {"pass",	  "pswd",	 "secret", "token",  "key",
				    "data",	  "configdrive", "fsid",   "cookie", "credential",
				    "kek",	  "hashsuffix",	 "files",  "trust",  "transport",
				    "connection", "gaaaaa",	 "eyj",	   "://"};

/* A set of words, for a search in one pass over a text. */
struct word_set {
	const char *const *words;
	uint64_t by_first_byte[256]; /* bit I: words[I] begins with that byte, in lower case */
};

static void word_set_init(struct word_set *set, const char *const *list, size_t count)
{
	g_assert(count <= 64);
	set->words = list;
	for (size_t i = 0; i < count; i++)
		set->by_first_byte[(unsigned char)list[i][0]] |= UINT64_C(1) << i;
}

static bool word_matches_at(const char *at, const char *word)
{
	for (; *word; word++) {
		if (g_ascii_tolower(*at) == *word || (*word == '_' && *at == '-'))
			at++;
		else if (*word != '_')
			return false;
	}
	return true;
}

static bool word_set_matches(const struct word_set *set, const char *text)
{
	for (; *text; text++) {
		uint64_t candidates = set->by_first_byte[(unsigned char)g_ascii_tolower(*text)];

		for (; candidates; candidates &= candidates - 1) {
			if (word_matches_at(text, set->words[__builtin_ctzll(candidates)]))
				return true;
		}
	}
	return false;
}

static struct word_set sets[2];

static void init_sets(void)
{
	word_set_init(&sets[0], words, G_N_ELEMENTS(words));
	word_set_init(&sets[1], hints, G_N_ELEMENTS(hints));
}

static const struct word_set *word_sets(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, init_sets);
	return sets;
}

/* nova stores a guest's password in the system metadata, encrypted with its owner's key. Replaying
 * a message without it would lose the password. */
static bool is_encrypted_password(const char *name)
{
	static const char start[] = "password_";

	return g_ascii_strncasecmp(name, start, strlen(start)) == 0 &&
	       g_ascii_isdigit(name[strlen(start)]) && !name[strlen(start) + 1];
}

bool secret_name_matches(const char *name)
{
	size_t length = strlen(name);

	if (is_encrypted_password(name))
		return false;
	/* For example new_pass, an argument of set_admin_password. */
	if (length >= 4 && g_ascii_strcasecmp(name + length - 4, "pass") == 0 &&
	    (length == 4 || name[length - 5] == '_'))
		return true;
	return word_set_matches(&word_sets()[0], name);
}

bool secret_name_may_be_in(const char *text)
{
	return word_set_matches(&word_sets()[1], text);
}

char *secret_name_pattern(void)
{
	GString *pattern = g_string_new("_pass");

	for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
		g_string_append_c(pattern, '|');
		for (const char *at = words[i]; *at; at++) {
			if (*at == '_')
				g_string_append(pattern, "[_-]?");
			else
				g_string_append_c(pattern, *at);
		}
	}
	return g_string_free(pattern, FALSE);
}
