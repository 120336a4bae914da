/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done to a guest as a whole. Each call has a connection of its own.
 */
#include <stdlib.h>
#include <time.h>

#include "virt/internal.h"

#define POLL_US (G_USEC_PER_SEC / 4)

int guest_open(struct virt_host *host, const char *uuid, struct guest *guest, GError **error)
{
	guest->domain = NULL;
	guest->connection = host_connect(host, error);
	if (guest->connection)
		guest->domain = host_find_domain(guest->connection, uuid, error);
	return guest->domain ? 0 : -1;
}

void guest_close(struct guest *guest)
{
	if (guest->domain)
		(void)virDomainFree(guest->domain);
	if (guest->connection)
		(void)virConnectClose(guest->connection);
}

/* One call of libvirt's, which says what it is in `what`. */
static int apply(struct virt_host *host, const char *uuid, int (*call)(virDomainPtr domain),
		 const char *what, GError **error)
{
	struct guest guest;
	int rc = guest_open(host, uuid, &guest, error);

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
	return apply(host, uuid, pause_guest, "pausing the guest", error);
}

/* Only a guest agent can do it, so it is no error where there is none. */
static void set_clock(virDomainPtr domain)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (virDomainSetTime(domain, now.tv_sec, (unsigned)now.tv_nsec, 0) < 0)
		g_info("the guest's clock is not set: %s", virGetLastErrorMessage());
}

int virt_guest_unpause(struct virt_host *host, const char *uuid, GError **error)
{
	struct guest guest;
	int rc = guest_open(host, uuid, &guest, error);

	if (rc == 0 && virDomainResume(guest.domain) < 0) {
		virt_set_error(error, "unpausing the guest");
		rc = -1;
	}
	if (rc == 0) {
		(void)virDomainAgentSetResponseTimeout(guest.domain,
						       (int)host_config(host)->agent_timeout_s, 0);
		set_clock(guest.domain);
	}
	guest_close(&guest);
	return rc;
}

static int check_savable(virDomainPtr domain, GError **error)
{
	struct domain_facts facts;
	char *xml = domain_xml(domain, error);

	if (!xml)
		return -1;
	domain_facts_read(xml, &facts);
	free(xml);
	if (!facts.host_devices && !facts.container)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED, "the guest cannot be suspended: %s",
		    facts.container ? "it is a container"
				    : "it has devices of the host, which cannot be saved");
	return -1;
}

int virt_guest_suspend(struct virt_host *host, const char *uuid, GError **error)
{
	struct guest guest;
	int rc = guest_open(host, uuid, &guest, error);

	if (rc == 0)
		rc = check_savable(guest.domain, error);
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
	return apply(host, uuid, restore_guest, "restoring the guest", error);
}

/* Whether there is still something to be switched off. */
static bool is_on(virDomainPtr domain)
{
	return virDomainIsActive(domain) == 1;
}

static void ask_to_shut_down(virDomainPtr domain, const char *uuid)
{
	if (virDomainShutdown(domain) < 0)
		g_info("guest %s: asking it to shut down: %s", uuid, virGetLastErrorMessage());
}

static void shut_down(virDomainPtr domain, const char *uuid, unsigned timeout_s, unsigned retry_s,
		      const atomic_int *cancel)
{
	gint64 begin = g_get_monotonic_time(), now = begin, asked = begin;

	ask_to_shut_down(domain, uuid);
	while (is_on(domain) && now - begin < (gint64)timeout_s * G_USEC_PER_SEC &&
	       !(cancel && atomic_load(cancel) != 0)) {
		if (retry_s > 0 && now - asked > (gint64)retry_s * G_USEC_PER_SEC) {
			asked = now;
			ask_to_shut_down(domain, uuid);
		}
		g_usleep(POLL_US);
		now = g_get_monotonic_time();
	}
}

int virt_guest_power_off(struct virt_host *host, const char *uuid, unsigned timeout_s,
			 unsigned retry_s, const atomic_int *cancel, GError **error)
{
	struct guest guest;
	g_autoptr(GError) local = NULL;
	int rc = guest_open(host, uuid, &guest, &local);

	if (rc < 0 && g_error_matches(local, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN)) {
		guest_close(&guest);
		return 0;
	}
	if (rc == 0 && timeout_s > 0 && is_on(guest.domain))
		shut_down(guest.domain, uuid, timeout_s, retry_s, cancel);
	if (rc == 0 && cancel && atomic_load(cancel) != 0) {
		g_set_error_literal(&local, VIRT_ERROR, VIRT_ERROR_CANCELLED,
				    "powering off the guest was cancelled");
		rc = -1;
	}
	/* It may go by itself between the question and the call. */
	if (rc == 0 && is_on(guest.domain) && virDomainDestroy(guest.domain) < 0 &&
	    is_on(guest.domain)) {
		virt_set_error(&local, "powering off the guest");
		rc = -1;
	}
	guest_close(&guest);
	if (local)
		g_propagate_error(error, g_steal_pointer(&local));
	return rc;
}
