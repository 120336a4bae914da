/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads and changes the power state of a guest. virt.h declares the functions. Each opens its own
 * connection.
 */
#include <stdlib.h>
#include <time.h>

#include "virt/domain/domain-xml.h"
#include "virt/domain/guest-agent.h"
#include "virt/domain/guest-query.h"

#define POWER_POLL_US (G_USEC_PER_SEC / 4)
#define DESTROY_TRIES 3

/* nova.virt.libvirt.guest.LIBVIRT_POWER_STATE */
static int to_power_state(int state)
{
	switch (state) {
	case VIR_DOMAIN_RUNNING:
	case VIR_DOMAIN_BLOCKED:
		return GUEST_RUNNING;
	case VIR_DOMAIN_PAUSED:
		return GUEST_PAUSED;
	case VIR_DOMAIN_SHUTDOWN:
	case VIR_DOMAIN_SHUTOFF:
		return GUEST_SHUTDOWN;
	case VIR_DOMAIN_CRASHED:
		return GUEST_CRASHED;
	case VIR_DOMAIN_PMSUSPENDED:
		return GUEST_SUSPENDED;
	default:
		return GUEST_NOSTATE;
	}
}

int virt_guest_power_state(struct virt_host *host, const char *uuid, GError **error)
{
	struct guest guest;
	int state;

	guest_init(&guest, host, uuid);
	state = guest_state(&guest, NULL, error);
	guest_close(&guest);
	return state < 0 ? -1 : to_power_state(state);
}

char *virt_guest_uuid_by_name(struct virt_host *host, const char *name, GError **error)
{
	char uuid[VIR_UUID_STRING_BUFLEN];
	virConnectPtr connection = virt_connect(host, error);
	virDomainPtr domain;
	char *found = NULL;

	if (!connection)
		return NULL;
	domain = virDomainLookupByName(connection, name);
	if (domain && virDomainGetUUIDString(domain, uuid) == 0) {
		found = g_strdup(uuid);
	} else {
		g_autofree char *what = g_strdup_printf("no domain named %s", name);

		virt_set_error(error, what);
	}
	if (domain)
		(void)virDomainFree(domain);
	(void)virConnectClose(connection);
	return found;
}

/* Makes one libvirt call; `what` describes it in errors. */
static int call_on_guest(struct virt_host *host, const char *uuid, int (*call)(virDomainPtr domain),
			 const char *what, GError **error)
{
	struct guest guest;
	int rc = guest_open(&guest, host, uuid, error);

	if (rc == 0 && call(guest.domain) < 0) {
		virt_set_error(error, what);
		rc = -1;
	}
	guest_close(&guest);
	return rc;
}

static int pause_guest(virDomainPtr domain)
{
	return virDomainSuspend(domain);
}

int virt_guest_pause(struct virt_host *host, const char *uuid, GError **error)
{
	return call_on_guest(host, uuid, pause_guest, "pausing the guest", error);
}

/* Only a guest agent can set the clock, so a failure is not an error. */
static void set_guest_clock(struct guest *guest)
{
	struct timespec now;

	guest_agent_begin_limit(guest);
	clock_gettime(CLOCK_REALTIME, &now);
	if (guest->domain &&
	    virDomainSetTime(guest->domain, now.tv_sec, (unsigned)now.tv_nsec, 0) < 0)
		g_info("guest %s: cannot set its clock: %s", guest->uuid, virGetLastErrorMessage());
	guest_agent_end_limit(guest);
}

int virt_guest_unpause(struct virt_host *host, const char *uuid, GError **error)
{
	struct guest guest;
	int rc = guest_open(&guest, host, uuid, error);

	if (rc == 0 && virDomainResume(guest.domain) < 0) {
		virt_set_error(error, "unpausing the guest");
		rc = -1;
	}
	if (rc == 0)
		set_guest_clock(&guest);
	guest_close(&guest);
	return rc;
}

static int check_savable(struct guest *guest, GError **error)
{
	struct domain_traits traits;
	char *xml = guest_xml(guest, 0, error);

	if (!xml)
		return -1;
	domain_traits_read(xml, &traits);
	free(xml);
	if (!traits.host_devices && !traits.container)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED, "the guest cannot be suspended: %s",
		    traits.container ? "it is a container"
				     : "it has host devices, which cannot be saved");
	return -1;
}

int virt_guest_suspend(struct virt_host *host, const char *uuid, GError **error)
{
	struct guest guest;
	int rc = guest_open(&guest, host, uuid, error);

	if (rc == 0)
		rc = check_savable(&guest, error);
	if (rc == 0 && virDomainManagedSave(guest.domain, 0) < 0) {
		virt_set_error(error, "saving the guest");
		rc = -1;
	}
	guest_close(&guest);
	return rc;
}

static int restore_guest(virDomainPtr domain)
{
	return virDomainCreate(domain);
}

int virt_guest_resume(struct virt_host *host, const char *uuid, GError **error)
{
	return call_on_guest(host, uuid, restore_guest, "restoring the guest", error);
}

int virt_guest_wait_idle(struct virt_host *host, const char *uuid, GError **error)
{
	struct guest guest;
	int rc;

	guest_init(&guest, host, uuid);
	rc = guest_wait_idle(&guest, error);
	guest_close(&guest);
	return rc;
}

static bool is_cancelled(const atomic_int *cancel)
{
	return cancel && atomic_load(cancel) != 0;
}

static void request_shutdown(const struct guest *guest)
{
	if (virDomainShutdown(guest->domain) < 0)
		g_info("guest %s: requesting its shutdown: %s", guest->uuid,
		       virGetLastErrorMessage());
}

/* Requests a shutdown repeatedly until the guest is off or the time is over. Returns whether the
 * guest is still running. libvirtd may be restarting: while the answer is unknown, it is asked
 * again until the time is over. */
static enum guest_answer shut_down_guest(struct guest *guest, unsigned timeout_s, unsigned retry_s,
					 const atomic_int *cancel, GError **error)
{
	gint64 began = g_get_monotonic_time(), now = began, requested = 0;
	g_autoptr(GError) local = NULL;
	enum guest_answer active = guest_is_active(guest, &local);

	while (active != GUEST_NO && now - began < (gint64)timeout_s * G_USEC_PER_SEC &&
	       !is_cancelled(cancel)) {
		if (active == GUEST_UNKNOWN) {
			g_message("guest %s: shutting it down: %s; asking again", guest->uuid,
				  local->message);
			g_clear_error(&local);
		} else if (requested == 0 ||
			   (retry_s > 0 && now - requested > (gint64)retry_s * G_USEC_PER_SEC)) {
			requested = now;
			request_shutdown(guest);
		}
		g_usleep(POWER_POLL_US);
		now = g_get_monotonic_time();
		active = guest_is_active(guest, &local);
	}
	if (local)
		g_propagate_error(error, g_steal_pointer(&local));
	return active;
}

/* Reports success only once libvirt says that the guest is off: a failed call may have taken
 * effect, and the guest may have shut down by itself before the call. */
static int destroy_guest(struct guest *guest, GError **error)
{
	g_autoptr(GError) refused = NULL;

	for (unsigned i = 1;; i++) {
		enum guest_answer active = guest_is_active(guest, error);

		if (active != GUEST_YES)
			return active == GUEST_NO ? 0 : -1;
		if (i > 1 && (i > DESTROY_TRIES ||
			      !g_error_matches(refused, VIRT_ERROR, VIRT_ERROR_DISCONNECTED))) {
			g_propagate_error(error, g_steal_pointer(&refused));
			return -1;
		}
		if (virDomainDestroy(guest->domain) == 0)
			return 0;
		g_clear_error(&refused);
		virt_set_error(&refused, "powering off the guest");
	}
}

int virt_guest_power_off(struct virt_host *host, const char *uuid, unsigned timeout_s,
			 unsigned retry_s, const atomic_int *cancel, GError **error)
{
	struct guest guest;
	enum guest_answer active;
	int rc = -1;

	guest_init(&guest, host, uuid);
	active = timeout_s > 0 ? shut_down_guest(&guest, timeout_s, retry_s, cancel, error)
			       : GUEST_YES;
	if (active == GUEST_NO)
		rc = 0;
	else if (active == GUEST_YES && is_cancelled(cancel))
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_CANCELLED,
				    "powering off the guest: cancelled");
	else if (active == GUEST_YES)
		rc = destroy_guest(&guest, error);
	guest_close(&guest);
	return rc;
}
