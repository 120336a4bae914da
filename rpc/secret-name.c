/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words in the names of secrets.
 */
#include "rpc/secret-name.h"

#include <glib.h>
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

/* nova stores a guest's password in the system metadata, encrypted with its owner's key. Replaying
 * a message without it would lose the password. */
static bool is_encrypted_password(const char *folded)
{
	static const char name[] = "password_";

	return g_str_has_prefix(folded, name) && g_ascii_isdigit(folded[strlen(name)]) &&
	       !folded[strlen(name) + 1];
}

static bool word_matches_at(const char *at, const char *word)
{
	for (; *word; word++) {
		if (*at == *word || (*word == '_' && *at == '-'))
			at++;
		else if (*word != '_')
			return false;
	}
	return true;
}

bool secret_name_matches(const char *name)
{
	g_autofree char *folded = g_ascii_strdown(name, -1);

	if (is_encrypted_password(folded))
		return false;
	/* For example new_pass, an argument of set_admin_password. */
	if (g_str_has_suffix(folded, "_pass") || g_str_equal(folded, "pass"))
		return true;
	for (const char *at = folded; *at; at++) {
		for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
			if (word_matches_at(at, words[i]))
				return true;
		}
	}
	return false;
}

bool secret_name_may_be_in(const char *text)
{
	g_autofree char *folded = g_ascii_strdown(text, -1);

	for (size_t i = 0; i < G_N_ELEMENTS(hints); i++) {
		if (strstr(folded, hints[i]))
			return true;
	}
	return false;
}

char *secret_name_pattern(void)
{
	GString *pattern = g_string_new("_pass");

	for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
		g_string_append_c(pattern, '|');
		for (const char *at = words[i]; *at; at++)
			g_string_append(pattern, *at == '_' ? "[_-]?" : (const char[]){*at, '\0'});
	}
	return g_string_free(pattern, FALSE);
}
