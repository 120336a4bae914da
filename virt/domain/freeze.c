/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freezing and thawing a guest's filesystems.
 */
#include "virt/domain/freeze.h"

#include "virt/domain/frozen-table.h"
#include "virt/domain/guest-agent.h"
#include "virt/domain/guest-query.h"

/* For a guest that may be frozen already: the watchdog begins at once. */
#define NO_LIMIT_S 1

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
		  guest->uuid, error ? error->message : "unknown");
	frozen_table_hand_over(guest->host->frozen, watchdog);
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

	frozen_table_forget_expired(table, guest->uuid);
	if (frozen_table_find(table, guest->uuid, id, NULL) != FREEZE_NONE)
		return refuse_second_freeze(error);
	if (guest_connect(guest, error) < 0)
		return -1;
	frozen_table_reap(table);
	watchdog = thaw_process_start(guest->host->config, guest->uuid, limit_s, &local);
	if (!watchdog) {
		local->code = VIRT_ERROR_FREEZE;
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (guest_agent_freeze(guest, &may_be_frozen, error) == 0) {
		thaw_process_note_frozen(watchdog);
		if (frozen_table_add(table, guest->uuid, id, watchdog))
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
	return frozen_table_has_expired(guest->host->frozen, guest->uuid, id);
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
	frozen_table_hand_over(guest->host->frozen, watchdog);
	g_propagate_prefixed_error(error, g_steal_pointer(&local), "the watchdog keeps trying: ");
	return -1;
}

/* Leaves the thawing to a new watchdog, unless there is one. */
static int leave_to_watchdog(struct guest *guest, GError **error)
{
	g_autoptr(GError) local = NULL;
	struct thaw_process *watchdog =
		thaw_process_start(guest->host->config, guest->uuid, NO_LIMIT_S, &local);

	if (watchdog)
		frozen_table_hand_over(guest->host->frozen, watchdog);
	if (!local || g_error_matches(local, VIRT_ERROR, VIRT_ERROR_BUSY))
		return 0;
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}

/* The watchdog waits until the guest is resumed or restored. */
static int thaw_when_resumed(struct guest *guest, GError **error)
{
	if (leave_to_watchdog(guest, error) < 0)
		return -1;
	g_message("guest %s: it is paused or saved, and may be frozen: novasnap-thaw thaws its "
		  "filesystems when it is resumed",
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

void guest_thaw_left_frozen(struct guest *guest)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(GError) local = NULL;
	const char *why;

	if (frozen_table_find(guest->host->frozen, guest->uuid, NULL, NULL) != FREEZE_NONE ||
	    is_over(thaw_guest(guest, &error)))
		return;
	why = error ? error->message : "unknown";
	if (leave_to_watchdog(guest, &local) == 0)
		g_message("guest %s: it may be frozen: %s; novasnap-thaw keeps trying", guest->uuid,
			  why);
	else
		g_warning("guest %s: it may be frozen: %s; %s", guest->uuid, why,
			  local ? local->message : "no watchdog was started");
}

int guest_thaw(struct guest *guest, const char *id, GError **error)
{
	struct thaw_process *watchdog = NULL;
	enum freeze_owner owner =
		frozen_table_find(guest->host->frozen, guest->uuid, id, &watchdog);

	if (owner == FREEZE_OTHERS)
		return 0;
	return watchdog ? thaw_with_watchdog(guest, watchdog, error)
			: thaw_without_watchdog(guest, error);
}

void frozen_guests_free(struct virt_host *host)
{
	struct thaw_process *watchdog;
	char *uuid;

	while ((uuid = frozen_table_take_any(host->frozen, &watchdog))) {
		g_autoptr(GError) error = NULL;
		struct guest guest;

		g_message("guest %s: its filesystems are still frozen: thawing them", uuid);
		guest_init(&guest, host, uuid);
		if (thaw_with_watchdog(&guest, watchdog, &error) < 0)
			g_warning("guest %s: %s", uuid, error->message);
		guest_close(&guest);
		g_free(uuid);
	}
	frozen_table_reap(host->frozen);
	frozen_table_free(host->frozen);
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

	return g_strdup_printf(FREEZE_QUIESCE_PREFIX "%.8s", uuid);
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
	(void)frozen_table_find(host->frozen, uuid, FREEZE_QUIESCE_PREFIX, &watchdog);
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
