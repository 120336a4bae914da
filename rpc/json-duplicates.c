/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drops all but the last member of each key.
 */
#include "rpc/json-duplicates.h"

#include <glib.h>
#include <string.h>

/* Objects of up to so many members are searched without a hash table. */
#define FEW_MEMBERS 128

/* Puts `later` in the place of `earlier`, which is freed. */
static void replace_member(cJSON *object, cJSON *earlier, cJSON *later)
{
	cJSON_DetachItemViaPointer(object, later);
	cJSON_ReplaceItemViaPointer(object, earlier, later);
}

/* The members of an object that were passed. The keys of two members can only be the same when
 * their hashes are, and a hash is one byte, so that memchr finds it. */
struct passed {
	unsigned count;
	unsigned char hashes[FEW_MEMBERS];
	cJSON *members[FEW_MEMBERS];
	GHashTable *table; /* key -> member, once there are more of them; NULL until then */
};

static unsigned char hash_key(const char *key)
{
	size_t length = strlen(key);

	return (unsigned char)(length * 37 + (unsigned char)key[0] * 5 +
			       (unsigned char)key[length / 2] * 11 +
			       (length > 0 ? (unsigned char)key[length - 1] : 0));
}

/* Returns the index of the member with that key, or `count`. */
static unsigned find_passed(const struct passed *passed, const char *key, unsigned char hash)
{
	const unsigned char *at = passed->hashes;
	const unsigned char *end = passed->hashes + passed->count;

	while ((at = memchr(at, hash, (size_t)(end - at)))) {
		unsigned index = (unsigned)(at - passed->hashes);

		if (strcmp(passed->members[index]->string, key) == 0)
			return index;
		at++;
	}
	return passed->count;
}

/* Adds a member. Returns the earlier one of the same key, whose place it takes; or NULL. */
static cJSON *add_to_array(struct passed *passed, cJSON *member)
{
	unsigned char hash = hash_key(member->string);
	unsigned index = find_passed(passed, member->string, hash);
	cJSON *earlier = index < passed->count ? passed->members[index] : NULL;

	if (!earlier)
		passed->count++;
	passed->hashes[index] = hash;
	passed->members[index] = member;
	return earlier;
}

/* The same for an object with many members. */
static cJSON *add_to_table(struct passed *passed, cJSON *member)
{
	cJSON *earlier;

	if (!passed->table) {
		passed->table = g_hash_table_new(g_str_hash, g_str_equal);
		for (unsigned i = 0; i < passed->count; i++)
			g_hash_table_insert(passed->table, passed->members[i]->string,
					    passed->members[i]);
	}
	earlier = g_hash_table_lookup(passed->table, member->string);
	/* It also replaces the key, which is a string of the earlier member. */
	g_hash_table_replace(passed->table, member->string, member);
	return earlier;
}

static void drop_duplicate_members(cJSON *object)
{
	struct passed passed;
	cJSON *next;

	passed.count = 0;
	passed.table = NULL;
	for (cJSON *child = object->child; child; child = next) {
		cJSON *earlier;

		next = child->next;
		json_drop_duplicates(child);
		earlier = passed.count < FEW_MEMBERS && !passed.table
				  ? add_to_array(&passed, child)
				  : add_to_table(&passed, child);
		if (earlier)
			replace_member(object, earlier, child);
	}
	if (passed.table)
		g_hash_table_unref(passed.table);
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
