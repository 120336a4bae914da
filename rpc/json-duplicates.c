/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drops all but the last member with the same key.
 */
#include "rpc/json-duplicates.h"

#include <glib.h>
#include <string.h>

/* Objects with at most this many members are searched without a hash table. */
#define FEW_MEMBERS 128

/* Puts `later` in the place of `earlier`, which is freed. */
static void replace_member(cJSON *object, cJSON *earlier, cJSON *later)
{
	cJSON_DetachItemViaPointer(object, later);
	cJSON_ReplaceItemViaPointer(object, earlier, later);
}

/* The members of an object seen so far. Equal keys have equal hashes, and a hash is one byte, so
 * that memchr can find candidates. */
struct seen_members {
	unsigned count;
	unsigned char hashes[FEW_MEMBERS];
	cJSON *members[FEW_MEMBERS];
	GHashTable *table; /* key -> member, for objects with more members; NULL until then */
};

static unsigned char hash_key(const char *key)
{
	size_t length = strlen(key);

	return (unsigned char)(length * 37 + (unsigned char)key[0] * 5 +
			       (unsigned char)key[length / 2] * 11 +
			       (length > 0 ? (unsigned char)key[length - 1] : 0));
}

/* Returns the index of the member with that key, or `count`. */
static unsigned find_seen_member(const struct seen_members *seen, const char *key,
				 unsigned char hash)
{
	const unsigned char *at = seen->hashes;
	const unsigned char *end = seen->hashes + seen->count;

	while ((at = memchr(at, hash, (size_t)(end - at)))) {
		unsigned index = (unsigned)(at - seen->hashes);

		if (strcmp(seen->members[index]->string, key) == 0)
			return index;
		at++;
	}
	return seen->count;
}

/* Adds a member. Returns the earlier member with the same key, which it replaces; or NULL. */
static cJSON *add_to_array(struct seen_members *seen, cJSON *member)
{
	unsigned char hash = hash_key(member->string);
	unsigned index = find_seen_member(seen, member->string, hash);
	cJSON *earlier = index < seen->count ? seen->members[index] : NULL;

	if (!earlier)
		seen->count++;
	seen->hashes[index] = hash;
	seen->members[index] = member;
	return earlier;
}

/* As add_to_array, for an object with many members. */
static cJSON *add_to_table(struct seen_members *seen, cJSON *member)
{
	cJSON *earlier;

	if (!seen->table) {
		seen->table = g_hash_table_new(g_str_hash, g_str_equal);
		for (unsigned i = 0; i < seen->count; i++)
			g_hash_table_insert(seen->table, seen->members[i]->string,
					    seen->members[i]);
	}
	earlier = g_hash_table_lookup(seen->table, member->string);
	/* Also replaces the key, which is a string of the earlier member. */
	g_hash_table_replace(seen->table, member->string, member);
	return earlier;
}

static void drop_duplicate_members(cJSON *object)
{
	struct seen_members seen;
	cJSON *next;

	seen.count = 0;
	seen.table = NULL;
	for (cJSON *child = object->child; child; child = next) {
		cJSON *earlier;

		next = child->next;
		json_drop_duplicates(child);
		earlier = seen.count < FEW_MEMBERS && !seen.table ? add_to_array(&seen, child)
								  : add_to_table(&seen, child);
		if (earlier)
			replace_member(object, earlier, child);
	}
	if (seen.table)
		g_hash_table_unref(seen.table);
}

void json_drop_duplicates(cJSON *root)
{
	cJSON *child;

	if (cJSON_IsObject(root)) {
		drop_duplicate_members(root);
		return;
	}
	cJSON_ArrayForEach (child, root)
		json_drop_duplicates(child);
}
