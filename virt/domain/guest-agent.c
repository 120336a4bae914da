/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls of the agent inside the guest.
 */
#include "virt/domain/guest-agent.h"

#include "virt/domain/guest-query.h"

#define LIMIT_TRIES 2
/* How often a thaw is repeated until the agent finds nothing more to thaw. */
#define THAWS_MAX 3

static void set_limit(struct guest *guest, int seconds)
{
	for (int i = 0; i < LIMIT_TRIES; i++) {
		g_autoptr(GError) error = NULL;

		if (guest_connect(guest, &error) == 0) {
			if (virDomainAgentSetResponseTimeout(guest->domain, seconds, 0) == 0)
				return;
			virt_set_error(&error, "setting the time limit of the guest agent");
		}
		g_info("guest %s: %s", guest->uuid, error->message);
		if (guest_is_connected(guest))
			return;
	}
}

void guest_agent_begin_limit(struct guest *guest)
{
	set_limit(guest, (int)guest->host->config->agent_timeout_s);
}

void guest_agent_end_limit(struct guest *guest)
{
	set_limit(guest, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
}

static void set_agent_error(GError **error, const char *what)
{
	g_autoptr(GError) local = NULL;

	virt_set_error(&local, what);
	local->code = VIRT_ERROR_FREEZE;
	g_propagate_error(error, g_steal_pointer(&local));
}

/* Whether libvirt's last error shows that no command was sent to the agent. */
static bool is_not_sent(void)
{
	int code = virGetLastErrorCode();

	return code == VIR_ERR_OPERATION_INVALID || code == VIR_ERR_ARGUMENT_UNSUPPORTED ||
	       code == VIR_ERR_NO_SUPPORT;
}

int guest_agent_freeze(struct guest *guest, bool *ret_may_be_frozen, GError **error)
{
	int rc;

	*ret_may_be_frozen = false;
	if (guest_connect(guest, error) < 0)
		return -1;
	guest_agent_begin_limit(guest);
	/* The limit may have needed a new connection. */
	if (guest_connect(guest, error) < 0)
		return -1;
	rc = virDomainFSFreeze(guest->domain, NULL, 0, 0);
	if (rc < 0) {
		*ret_may_be_frozen = !is_not_sent();
		set_agent_error(error, "freezing the guest's filesystems");
	}
	guest_agent_end_limit(guest);
	return rc < 0 ? -1 : 0;
}

/* A guest that is off is not frozen. One that was saved while it was frozen is frozen again when it
 * is restored. */
static enum agent_thaw result_if_off(struct guest *guest, GError **error)
{
	g_autoptr(GError) local = NULL;

	switch (guest_has_managed_save(guest, &local)) {
	case GUEST_YES:
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
				    "the guest is saved: its agent cannot thaw its filesystems "
				    "until it is restored");
		return AGENT_THAW_PAUSED;
	case GUEST_UNKNOWN:
		/* A driver that cannot save guests has no saved ones. */
		if (g_error_matches(local, VIRT_ERROR, VIRT_ERROR_FAILED))
			return AGENT_THAW_OFF;
		g_propagate_error(error, g_steal_pointer(&local));
		return AGENT_THAW_UNANSWERED;
	case GUEST_NO:
	default:
		return AGENT_THAW_OFF;
	}
}

/* The result that the guest's state determines; AGENT_THAWED: the agent must be asked. */
static enum agent_thaw result_by_state(struct guest *guest, GError **error)
{
	g_autoptr(GError) local = NULL;
	int state = guest_state(guest, NULL, &local);

	if (state == VIR_DOMAIN_PAUSED || state == VIR_DOMAIN_PMSUSPENDED) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
				    "the guest is paused: its agent cannot thaw its filesystems "
				    "until it is resumed");
		return AGENT_THAW_PAUSED;
	}
	/* While a guest shuts down, its agent may still answer. */
	if (guest_state_is_active(state) || state == VIR_DOMAIN_SHUTDOWN)
		return AGENT_THAWED;
	if (state >= 0)
		return result_if_off(guest, error);
	if (g_error_matches(local, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
		return AGENT_THAW_OFF;
	g_propagate_error(error, g_steal_pointer(&local));
	return AGENT_THAW_UNANSWERED;
}

/* The result that libvirt's last error shows. */
static enum agent_thaw result_by_error(const struct guest *guest)
{
	switch (virGetLastErrorCode()) {
	case VIR_ERR_AGENT_UNRESPONSIVE:
	case VIR_ERR_AGENT_UNSYNCED:
	case VIR_ERR_OPERATION_TIMEOUT:
	/* The guest was paused or stopped meanwhile. */
	case VIR_ERR_OPERATION_INVALID:
		return AGENT_THAW_UNANSWERED;
	default:
		return guest_is_connected(guest) ? AGENT_THAW_REFUSED : AGENT_THAW_UNANSWERED;
	}
}

static enum agent_thaw thaw_and_verify(struct guest *guest, GError **error)
{
	static const char what[] = "thawing the guest's filesystems";

	if (guest_connect(guest, error) < 0)
		return AGENT_THAW_UNANSWERED;
	for (int i = 0; i < THAWS_MAX; i++) {
		int count = virDomainFSThaw(guest->domain, NULL, 0, 0);
		enum agent_thaw result;

		if (count == 0)
			return AGENT_THAWED;
		if (count > 0)
			continue;
		result = result_by_error(guest);
		set_agent_error(error, what);
		return result;
	}
	/* The agent reported three times that it has thawed everything. */
	return AGENT_THAWED;
}

enum agent_thaw guest_agent_thaw(struct guest *guest, GError **error)
{
	enum agent_thaw result = result_by_state(guest, error);

	if (result != AGENT_THAWED)
		return result;
	guest_agent_begin_limit(guest);
	result = thaw_and_verify(guest, error);
	guest_agent_end_limit(guest);
	return result;
}
