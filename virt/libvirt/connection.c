/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connections to libvirt, and libvirt's errors as GErrors.
 */
#include "virt/libvirt/connection.h"

#define KEEPALIVE_MISSES 5
#define CONNECT_PAUSE_US (G_USEC_PER_SEC / 4)

static int libvirt_error_code(const virError *last)
{
	switch (last->code) {
	case VIR_ERR_NO_DOMAIN:
		return VIRT_ERROR_NO_DOMAIN;
	case VIR_ERR_NO_CONNECT:
	case VIR_ERR_INVALID_CONN:
		return VIRT_ERROR_DISCONNECTED;
	case VIR_ERR_SYSTEM_ERROR:
	case VIR_ERR_INTERNAL_ERROR:
	case VIR_ERR_RPC:
		/* The hypervisor's driver reports these three codes, too. */
		return last->domain == VIR_FROM_RPC ? VIRT_ERROR_DISCONNECTED : VIRT_ERROR_FAILED;
	case VIR_ERR_OPERATION_TIMEOUT:
		return VIRT_ERROR_TIMEOUT;
	default:
		return VIRT_ERROR_FAILED;
	}
}

void virt_set_error(GError **error, const char *what)
{
	const virError *last = virGetLastError();
	unsigned seconds;
	const char *overdue = call_timeout_exceeded(&seconds);

	if (overdue)
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
			    "%s: libvirt did not answer (%s) in %u s", what, overdue, seconds);
	else
		g_set_error(error, VIRT_ERROR, last ? libvirt_error_code(last) : VIRT_ERROR_FAILED,
			    "%s: %s", what,
			    last && last->message ? last->message : "libvirt reported no reason");
}

static virConnectPtr connect_once(const struct virt_host *host, GError **error)
{
	const struct virt_config *config = host->config;
	virConnectPtr connection = call_timeout_connect(config->connection_uri);
	GError *local = NULL;

	if (!connection) {
		g_autofree char *what =
			g_strdup_printf("cannot connect to libvirt at %s", config->connection_uri);

		virt_set_error(&local, what);
		local->code = VIRT_ERROR_DISCONNECTED;
		g_propagate_error(error, local);
		return NULL;
	}
	/* The event loop sends the keepalive messages. */
	if (host->loop && config->keepalive_s > 0 &&
	    virConnectSetKeepAlive(connection, (int)config->keepalive_s, KEEPALIVE_MISSES) < 0)
		g_info("no keepalive on the connection to libvirt: %s", virGetLastErrorMessage());
	return connection;
}

virConnectPtr virt_connect(const struct virt_host *host, GError **error)
{
	gint64 deadline =
		g_get_monotonic_time() + (gint64)host->config->connect_timeout_s * G_USEC_PER_SEC;

	for (;;) {
		GError *local = NULL;
		virConnectPtr connection = connect_once(host, &local);

		if (host->answered)
			atomic_store(host->answered, connection != NULL);
		if (connection)
			return connection;
		if (g_get_monotonic_time() >= deadline) {
			g_propagate_error(error, local);
			return NULL;
		}
		g_clear_error(&local);
		g_usleep(CONNECT_PAUSE_US);
	}
}

virDomainPtr virt_find_domain(virConnectPtr connection, const char *uuid, GError **error)
{
	virDomainPtr domain = virDomainLookupByUUIDString(connection, uuid);
	g_autofree char *what = g_strdup_printf("no domain with uuid %s", uuid);
	GError *local = NULL;

	if (domain)
		return domain;
	virt_set_error(&local, what);
	if (!g_error_matches(local, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN)) {
		g_autofree char *looking = g_strdup_printf("looking for the domain %s", uuid);

		g_clear_error(&local);
		virt_set_error(&local, looking);
	}
	g_propagate_error(error, local);
	return NULL;
}
