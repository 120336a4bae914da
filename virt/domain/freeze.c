/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freezing and thawing a guest's filesystems.
 */
#include "virt/domain/freeze.h"

#include <pthread.h>
#include <sys/wait.h>

#include "virt/domain/guest-query.h"
#include "virt/domain/thaw-process.h"

/* The id of freezes requested by quiesce_instance. */
#define QUIESCE_ID "quiesce_instance"

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
	FREEZE_OURS,   /* by a freeze of this id; never if the id is NULL */
	FREEZE_OTHERS, /* by a freeze with another id */
};

/* Who froze the guest, according to the table. If `ret_watchdog` is not NULL and the id matches,
 * the entry is removed and its watchdog returned. */
static enum freeze_owner find_frozen(struct frozen_table *table, const char *uuid, const char *id,
				     struct thaw_process **ret_watchdog)
{
	enum freeze_owner owner = FREEZE_NONE;
	struct freeze *freeze;

	pthread_mutex_lock(&table->lock);
	freeze = g_hash_table_lookup(table->guests, uuid);
	if (freeze)
		owner = g_strcmp0(freeze->id, id) == 0 ? FREEZE_OURS : FREEZE_OTHERS;
	if (owner == FREEZE_OURS && ret_watchdog) {
		(void)g_hash_table_remove(table->guests, uuid);
		*ret_watchdog = freeze->watchdog;
		g_free(freeze->id);
		g_free(freeze);
	}
	pthread_mutex_unlock(&table->lock);
	return owner;
}

static int thaw_domain(struct guest *guest, GError **error)
{
	g_autoptr(GError) local = NULL;

	if (guest_connect(guest, error) < 0)
		return -1;
	(void)virDomainAgentSetResponseTimeout(guest->domain,
					       (int)guest->host->config->agent_timeout_s, 0);
	if (virDomainFSThaw(guest->domain, NULL, 0, 0) >= 0)
		return 0;
	virt_set_error(&local, "thawing the guest's filesystems");
	local->code = VIRT_ERROR_FREEZE;
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}

/* The freeze failed, but the guest may be frozen nevertheless: libvirt may have timed out while a
 * slow guest agent was still working. */
static void thaw_failed_freeze(struct guest *guest, struct thaw_process *watchdog)
{
	bool may_be_frozen;

	if (virDomainFSThaw(guest->domain, NULL, 0, 0) >= 0) {
		thaw_process_dismiss(watchdog);
		return;
	}
	may_be_frozen = virGetLastErrorCode() == VIR_ERR_AGENT_UNRESPONSIVE;
	g_info("guest %s: thawing after a failed freeze: %s", guest->uuid,
	       virGetLastErrorMessage());
	if (may_be_frozen || !guest_is_connected(guest))
		hand_over_to_watchdog(guest->host->frozen, watchdog);
	else
		thaw_process_dismiss(watchdog);
}

static int refuse_second_freeze(GError **error)
{
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
			    "the guest's filesystems are already frozen");
	return -1;
}

int guest_freeze(struct guest *guest, const char *id, unsigned limit_s, GError **error)
{
	const struct virt_config *config = guest->host->config;
	struct frozen_table *table = guest->host->frozen;
	struct thaw_process *watchdog;
	g_autoptr(GError) local = NULL;

	if (find_frozen(table, guest->uuid, id, NULL) != FREEZE_NONE)
		return refuse_second_freeze(error);
	if (guest_connect(guest, error) < 0)
		return -1;
	reap_watchdogs(table);
	watchdog = thaw_process_start(config, guest->uuid, limit_s, error);
	if (!watchdog)
		return -1;
	(void)virDomainAgentSetResponseTimeout(guest->domain, (int)config->agent_timeout_s, 0);
	if (virDomainFSFreeze(guest->domain, NULL, 0, 0) >= 0) {
		if (add_frozen(table, guest->uuid, id, watchdog))
			return 0;
		/* Another thread froze the guest in the meantime, and will thaw it. */
		thaw_process_dismiss(watchdog);
		return refuse_second_freeze(error);
	}
	virt_set_error(&local, "freezing the guest's filesystems");
	local->code = VIRT_ERROR_FREEZE;
	g_propagate_error(error, g_steal_pointer(&local));
	thaw_failed_freeze(guest, watchdog);
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
	bool expired = thaw_process_has_thawed(watchdog);
	g_autoptr(GError) local = NULL;

	/* Even if the freeze has expired: thawing twice is harmless. A guest that is not running is
	 * not frozen. */
	if (thaw_domain(guest, &local) == 0 || expired ||
	    guest_is_active(guest, NULL) == GUEST_NO) {
		thaw_process_dismiss(watchdog);
		return 0;
	}
	hand_over_to_watchdog(guest->host->frozen, watchdog);
	g_propagate_prefixed_error(error, g_steal_pointer(&local), "the watchdog keeps trying: ");
	return -1;
}

/* The agent of a guest that is not running cannot answer. */
static int thaw_running(struct guest *guest, GError **error)
{
	g_autoptr(GError) local = NULL;
	int state = guest_state(guest, NULL, &local);

	if (state == VIR_DOMAIN_RUNNING)
		return thaw_domain(guest, error);
	if (state >= 0 || g_error_matches(local, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
		return 0;
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}

int guest_thaw(struct guest *guest, const char *id, GError **error)
{
	struct thaw_process *watchdog = NULL;
	enum freeze_owner owner = find_frozen(guest->host->frozen, guest->uuid, id, &watchdog);

	if (owner == FREEZE_OTHERS)
		return 0;
	return watchdog ? thaw_with_watchdog(guest, watchdog, error) : thaw_running(guest, error);
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

static int freeze_running(struct guest *guest, unsigned limit_s, GError **error)
{
	int state = guest_state(guest, NULL, error);

	if (state < 0)
		return -1;
	if (state == VIR_DOMAIN_RUNNING)
		return guest_freeze(guest, QUIESCE_ID, limit_s, error);
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
			    "the guest is not running: its agent cannot answer");
	return -1;
}

int virt_guest_freeze(struct virt_host *host, const char *uuid, unsigned limit_s, GError **error)
{
	struct guest guest;
	int rc;

	if (find_frozen(host->frozen, uuid, QUIESCE_ID, NULL) != FREEZE_NONE)
		return refuse_second_freeze(error);
	guest_init(&guest, host, uuid);
	rc = freeze_running(&guest, limit_s, error);
	guest_close(&guest);
	return rc;
}

int virt_guest_thaw(struct virt_host *host, const char *uuid, GError **error)
{
	struct thaw_process *watchdog = NULL;
	struct guest guest;
	bool expired = false;
	int rc;

	guest_init(&guest, host, uuid);
	(void)find_frozen(host->frozen, uuid, QUIESCE_ID, &watchdog);
	if (watchdog) {
		expired = thaw_process_has_thawed(watchdog);
		rc = thaw_with_watchdog(&guest, watchdog, error);
	} else {
		rc = thaw_domain(&guest, error);
	}
	guest_close(&guest);
	if (rc < 0 || !expired)
		return rc;
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
			    "the guest's filesystems were thawed earlier, because the time limit "
			    "of the freeze was over");
	return -1;
}
