/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of the guests that this process has frozen.
 */
#include "virt/domain/frozen-table.h"

#include <pthread.h>
#include <sys/wait.h>

struct freeze {
	char *id;
	struct thaw_process *watchdog;
};

struct frozen_table {
	pthread_mutex_t lock;
	/* Guarded by the lock. */
	GHashTable *guests;   /* uuid -> struct freeze */
	GArray *left_running; /* GPid: watchdogs that still have to thaw their guest */
};

struct frozen_table *frozen_table_new(void)
{
	struct frozen_table *table = g_new0(struct frozen_table, 1);

	pthread_mutex_init(&table->lock, NULL);
	table->guests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	table->left_running = g_array_new(FALSE, FALSE, sizeof(GPid));
	return table;
}

void frozen_table_free(struct frozen_table *table)
{
	g_hash_table_unref(table->guests);
	g_array_unref(table->left_running);
	pthread_mutex_destroy(&table->lock);
	g_free(table);
}

void frozen_table_reap(struct frozen_table *table)
{
	pthread_mutex_lock(&table->lock);
	for (guint i = table->left_running->len; i > 0; i--) {
		if (waitpid(g_array_index(table->left_running, GPid, i - 1), NULL, WNOHANG) != 0)
			g_array_remove_index_fast(table->left_running, i - 1);
	}
	pthread_mutex_unlock(&table->lock);
}

void frozen_table_hand_over(struct frozen_table *table, struct thaw_process *watchdog)
{
	GPid pid = thaw_process_abandon(watchdog);

	pthread_mutex_lock(&table->lock);
	g_array_append_val(table->left_running, pid);
	pthread_mutex_unlock(&table->lock);
}

bool frozen_table_add(struct frozen_table *table, const char *uuid, const char *id,
		      struct thaw_process *watchdog)
{
	struct freeze *freeze;
	bool is_new;

	pthread_mutex_lock(&table->lock);
	is_new = !g_hash_table_contains(table->guests, uuid);
	if (is_new) {
		freeze = g_new0(struct freeze, 1);
		freeze->id = g_strdup(id);
		freeze->watchdog = watchdog;
		g_hash_table_insert(table->guests, g_strdup(uuid), freeze);
	}
	pthread_mutex_unlock(&table->lock);
	return is_new;
}

/* Whether the freeze is the one that is looked for. */
static bool is_freeze(const struct freeze *freeze, const char *id)
{
	return g_strcmp0(id, FREEZE_QUIESCE_PREFIX) == 0
		       ? g_str_has_prefix(freeze->id, FREEZE_QUIESCE_PREFIX)
		       : g_strcmp0(freeze->id, id) == 0;
}

/* With the lock held. Returns the watchdog. */
static struct thaw_process *remove_entry(struct frozen_table *table, const char *uuid,
					 struct freeze *freeze)
{
	struct thaw_process *watchdog = freeze->watchdog;

	(void)g_hash_table_remove(table->guests, uuid);
	g_free(freeze->id);
	g_free(freeze);
	return watchdog;
}

enum freeze_owner frozen_table_find(struct frozen_table *table, const char *uuid, const char *id,
				    struct thaw_process **ret_watchdog)
{
	enum freeze_owner owner = FREEZE_NONE;
	struct freeze *freeze;

	pthread_mutex_lock(&table->lock);
	freeze = g_hash_table_lookup(table->guests, uuid);
	if (freeze)
		owner = is_freeze(freeze, id) ? FREEZE_OURS : FREEZE_OTHERS;
	if (owner == FREEZE_OURS && ret_watchdog)
		*ret_watchdog = remove_entry(table, uuid, freeze);
	pthread_mutex_unlock(&table->lock);
	return owner;
}

bool frozen_table_has_expired(struct frozen_table *table, const char *uuid, const char *id)
{
	const struct freeze *freeze;
	bool expired;

	pthread_mutex_lock(&table->lock);
	freeze = g_hash_table_lookup(table->guests, uuid);
	expired = !freeze || !is_freeze(freeze, id) || thaw_process_has_thawed(freeze->watchdog);
	pthread_mutex_unlock(&table->lock);
	return expired;
}

void frozen_table_forget_expired(struct frozen_table *table, const char *uuid)
{
	struct thaw_process *watchdog = NULL;
	struct freeze *freeze;

	pthread_mutex_lock(&table->lock);
	freeze = g_hash_table_lookup(table->guests, uuid);
	if (freeze && thaw_process_has_thawed(freeze->watchdog))
		watchdog = remove_entry(table, uuid, freeze);
	pthread_mutex_unlock(&table->lock);
	if (watchdog)
		thaw_process_dismiss(watchdog);
}

char *frozen_table_take_any(struct frozen_table *table, struct thaw_process **ret_watchdog)
{
	GHashTableIter iter;
	gpointer key, value;
	char *uuid = NULL;

	pthread_mutex_lock(&table->lock);
	g_hash_table_iter_init(&iter, table->guests);
	if (g_hash_table_iter_next(&iter, &key, &value)) {
		uuid = g_strdup(key);
		*ret_watchdog = remove_entry(table, uuid, value);
	}
	pthread_mutex_unlock(&table->lock);
	return uuid;
}
