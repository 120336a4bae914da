/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freezing and thawing a guest's filesystems.
 */
#include "virt/domain/freeze.h"

#include <pthread.h>
#include <sys/wait.h>

#include "virt/domain/guest-agent.h"
#include "virt/domain/guest-query.h"
#include "virt/domain/thaw-process.h"

/* Ids of freezes requested by quiesce_instance begin with this. */
#define QUIESCE_PREFIX "quiesce-"
/* For recovery's thaw of a paused guest: the watchdog begins at once. */
#define NO_LIMIT_S 1

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

/* Reaps the watchdogs that have ended. */
static void reap_watchdogs(struct frozen_table *table)
{
	pthread_mutex_lock(&table->lock);
	for (guint i = table->left_running->len; i > 0; i--) {
		if (waitpid(g_array_index(table->left_running, GPid, i - 1), NULL, WNOHANG) != 0)
			g_array_remove_index_fast(table->left_running, i - 1);
	}
	pthread_mutex_unlock(&table->lock);
}

static void hand_over_to_watchdog(struct frozen_table *table, struct thaw_process *watchdog)
{
	GPid pid = thaw_process_abandon(watchdog);

	pthread_mutex_lock(&table->lock);
	g_array_append_val(table->left_running, pid);
	pthread_mutex_unlock(&table->lock);
}

/* False if the table has an entry for the guest already. */
static bool add_frozen(struct frozen_table *table, const char *uuid, const char *id,
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

enum freeze_owner {
	FREEZE_NONE,
	FREEZE_OURS,   /* by the freeze that was asked for */
	FREEZE_OTHERS, /* by another one */
};

/* Whether the freeze is the one that is asked for: that of an id (NULL: none), or QUIESCE_PREFIX
 * for any freeze of quiesce_instance. */
static bool is_freeze(const struct freeze *freeze, const char *id)
{
	return g_strcmp0(id, QUIESCE_PREFIX) == 0 ? g_str_has_prefix(freeze->id, QUIESCE_PREFIX)
						  : g_strcmp0(freeze->id, id) == 0;
}

/* Who froze the guest, according to the table. If `ret_watchdog` is not NULL and the freeze is the
 * one that is asked for, the entry is removed and its watchdog returned. */
static enum freeze_owner find_frozen(struct frozen_table *table, const char *uuid, const char *id,
				     struct thaw_process **ret_watchdog)
{
	enum freeze_owner owner = FREEZE_NONE;
	struct freeze *freeze;

	pthread_mutex_lock(&table->lock);
	freeze = g_hash_table_lookup(table->guests, uuid);
	if (freeze)
		owner = is_freeze(freeze, id) ? FREEZE_OURS : FREEZE_OTHERS;
	if (owner == FREEZE_OURS && ret_watchdog) {
		(void)g_hash_table_remove(table->guests, uuid);
		*ret_watchdog = freeze->watchdog;
		g_free(freeze->id);
		g_free(freeze);
	}
	pthread_mutex_unlock(&table->lock);
	return owner;
}

/* Whether the watchdog has ended the guest's freeze. Its entry is then removed from the table. */
static void forget_expired_freeze(struct frozen_table *table, const char *uuid)
{
	struct thaw_process *watchdog = NULL;
	struct freeze *freeze;

	pthread_mutex_lock(&table->lock);
	freeze = g_hash_table_lookup(table->guests, uuid);
	if (freeze && thaw_process_has_thawed(freeze->watchdog)) {
		(void)g_hash_table_remove(table->guests, uuid);
		watchdog = freeze->watchdog;
		g_free(freeze->id);
		g_free(freeze);
	}
	pthread_mutex_unlock(&table->lock);
	if (watchdog)
		thaw_process_dismiss(watchdog);
}

/* Repeats the thaw on a new connection if the connection breaks. */
static enum agent_thaw thaw_guest(struct guest *guest, GError **error)
{
	for (int i = 1;; i++) {
		g_autoptr(GError) local = NULL;
		enum agent_thaw result = guest_agent_thaw(guest, &local);

		if (!local || i == GUEST_QUERY_CONNECTIONS || !guest->connection ||
		    guest_is_connected(guest)) {
			if (local)
				g_propagate_error(error, g_steal_pointer(&local));
			return result;
		}
	}
}

static bool is_over(enum agent_thaw result)
{
	return result == AGENT_THAWED || result == AGENT_THAW_OFF;
}

/* The freeze failed, but the guest may be frozen nevertheless: libvirt may have timed out while a
 * slow guest agent was still working. */
static void thaw_failed_freeze(struct guest *guest, struct thaw_process *watchdog)
{
	g_autoptr(GError) error = NULL;

	if (is_over(thaw_guest(guest, &error))) {
		thaw_process_dismiss(watchdog);
		return;
	}
	g_message("guest %s: thawing after a failed freeze: %s; the watchdog keeps trying",
		  guest->uuid, error->message);
	hand_over_to_watchdog(guest->host->frozen, watchdog);
}

static int refuse_second_freeze(GError **error)
{
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
			    "the guest's filesystems are already frozen");
	return -1;
}

int guest_freeze(struct guest *guest, const char *id, unsigned limit_s, GError **error)
{
	struct frozen_table *table = guest->host->frozen;
	struct thaw_process *watchdog;
	g_autoptr(GError) local = NULL;
	bool may_be_frozen;

	forget_expired_freeze(table, guest->uuid);
	if (find_frozen(table, guest->uuid, id, NULL) != FREEZE_NONE)
		return refuse_second_freeze(error);
	if (guest_connect(guest, error) < 0)
		return -1;
	reap_watchdogs(table);
	watchdog = thaw_process_start(guest->host->config, guest->uuid, limit_s, &local);
	if (!watchdog) {
		local->code = VIRT_ERROR_FREEZE;
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (guest_agent_freeze(guest, &may_be_frozen, error) == 0) {
		thaw_process_note_frozen(watchdog);
		if (add_frozen(table, guest->uuid, id, watchdog))
			return 0;
		/* Another thread froze the guest in the meantime, and will thaw it. */
		thaw_process_dismiss(watchdog);
		return refuse_second_freeze(error);
	}
	if (may_be_frozen)
		thaw_failed_freeze(guest, watchdog);
	else
		thaw_process_dismiss(watchdog);
	return -1;
}

bool guest_freeze_has_expired(const struct guest *guest, const char *id)
{
	struct frozen_table *table = guest->host->frozen;
	const struct freeze *freeze;
	bool expired;

	pthread_mutex_lock(&table->lock);
	freeze = g_hash_table_lookup(table->guests, guest->uuid);
	expired = !freeze || g_strcmp0(freeze->id, id) != 0 ||
		  thaw_process_has_thawed(freeze->watchdog);
	pthread_mutex_unlock(&table->lock);
	return expired;
}

/* Thaws a guest whose watchdog was removed from the table. */
static int thaw_with_watchdog(struct guest *guest, struct thaw_process *watchdog, GError **error)
{
	g_autoptr(GError) local = NULL;

	/* Even if the freeze has expired: thawing twice is harmless. */
	if (is_over(thaw_guest(guest, &local)) || thaw_process_has_thawed(watchdog)) {
		thaw_process_dismiss(watchdog);
		return 0;
	}
	hand_over_to_watchdog(guest->host->frozen, watchdog);
	g_propagate_prefixed_error(error, g_steal_pointer(&local), "the watchdog keeps trying: ");
	return -1;
}

/* Leaves the thawing to a watchdog, which waits until the guest is resumed. */
static int thaw_when_resumed(struct guest *guest, GError **error)
{
	g_autoptr(GError) local = NULL;
	struct thaw_process *watchdog =
		thaw_process_start(guest->host->config, guest->uuid, NO_LIMIT_S, &local);

	if (watchdog)
		hand_over_to_watchdog(guest->host->frozen, watchdog);
	if (local && !g_error_matches(local, VIRT_ERROR, VIRT_ERROR_BUSY)) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	g_message("guest %s: it is paused and may be frozen: novasnap-thaw thaws its filesystems "
		  "when it is resumed",
		  guest->uuid);
	return 0;
}

/* Thaws a guest that this process has not frozen. */
static int thaw_without_watchdog(struct guest *guest, GError **error)
{
	g_autoptr(GError) local = NULL;
	enum agent_thaw result = thaw_guest(guest, &local);

	if (is_over(result))
		return 0;
	if (result == AGENT_THAW_PAUSED)
		return thaw_when_resumed(guest, error);
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}

int guest_thaw(struct guest *guest, const char *id, GError **error)
{
	struct thaw_process *watchdog = NULL;
	enum freeze_owner owner = find_frozen(guest->host->frozen, guest->uuid, id, &watchdog);

	if (owner == FREEZE_OTHERS)
		return 0;
	return watchdog ? thaw_with_watchdog(guest, watchdog, error)
			: thaw_without_watchdog(guest, error);
}

void frozen_table_free(struct virt_host *host)
{
	struct frozen_table *table = host->frozen;
	GHashTableIter iter;
	gpointer uuid, value;

	g_hash_table_iter_init(&iter, table->guests);
	while (g_hash_table_iter_next(&iter, &uuid, &value)) {
		struct freeze *freeze = value;
		g_autoptr(GError) error = NULL;
		struct guest guest;

		g_message("guest %s: its filesystems are still frozen: thawing them", (char *)uuid);
		guest_init(&guest, host, uuid);
		if (thaw_with_watchdog(&guest, freeze->watchdog, &error) < 0)
			g_warning("guest %s: %s", (char *)uuid, error->message);
		guest_close(&guest);
		g_free(freeze->id);
		g_free(freeze);
	}
	reap_watchdogs(table);
	g_hash_table_unref(table->guests);
	g_array_unref(table->left_running);
	pthread_mutex_destroy(&table->lock);
	g_free(table);
}

static int freeze_running(struct guest *guest, const char *id, unsigned limit_s, GError **error)
{
	int state = guest_state(guest, NULL, error);

	if (state < 0)
		return -1;
	if (state == VIR_DOMAIN_RUNNING)
		return guest_freeze(guest, id, limit_s, error);
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
			    "the guest is not running: its agent cannot answer");
	return -1;
}

char *virt_freeze_id(void)
{
	g_autofree char *uuid = g_uuid_string_random();

	return g_strdup_printf(QUIESCE_PREFIX "%.8s", uuid);
}

char *virt_freeze_undo(const char *id)
{
	return g_strdup_printf("{\"id\":\"%s\"}", id);
}

int virt_guest_freeze(struct virt_host *host, const char *uuid, const char *id, unsigned limit_s,
		      GError **error)
{
	struct guest guest;
	int rc;

	guest_init(&guest, host, uuid);
	rc = freeze_running(&guest, id, limit_s, error);
	guest_close(&guest);
	return rc;
}

int virt_guest_thaw(struct virt_host *host, const char *uuid, bool *ret_is_thawed, GError **error)
{
	struct thaw_process *watchdog = NULL;
	struct guest guest;
	bool expired;
	int rc;

	guest_init(&guest, host, uuid);
	(void)find_frozen(host->frozen, uuid, QUIESCE_PREFIX, &watchdog);
	expired = watchdog && thaw_process_has_thawed(watchdog);
	rc = watchdog ? thaw_with_watchdog(&guest, watchdog, error)
		      : thaw_without_watchdog(&guest, error);
	guest_close(&guest);
	*ret_is_thawed = rc == 0;
	if (rc < 0 || !expired)
		return rc;
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
			    "the guest's filesystems were thawed earlier, because the time limit "
			    "of the freeze was over");
	return -1;
}
