/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection to libvirt, and the thread that runs its event loop.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "virt/internal.h"

#define KEEPALIVE_MISSES 5
#define RETRY_US (G_USEC_PER_SEC / 4)

G_DEFINE_QUARK(novasnap - virt - error - quark, virt_error)

struct virt_host {
	const struct virt_config *config;
	pthread_t thread;
	int timer; /* of libvirt's event loop, to wake it */
	atomic_bool stopping;
	struct frozen_table *frozen;
};

static void keep_quiet(void *opaque, virErrorPtr error)
{
	(void)opaque;
	g_debug("libvirt: %s", error->message);
}

/* Without virInitialize libvirt takes another library's thread-local data for its last error. */
static void register_loop(void)
{
	virSetErrorFunc(NULL, keep_quiet);
	if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
		g_warning("libvirt has no event loop: %s", virGetLastErrorMessage());
}

static void timer_fired(int timer, void *opaque)
{
	(void)opaque;
	virEventUpdateTimeout(timer, -1);
}

static void *event_main(void *opaque)
{
	struct virt_host *host = opaque;

	while (!atomic_load(&host->stopping)) {
		if (virEventRunDefaultImpl() < 0)
			g_usleep(G_USEC_PER_SEC / 10);
	}
	return NULL;
}

void virt_set_error(GError **error, const char *what)
{
	virErrorPtr last = virGetLastError();
	unsigned seconds;
	const char *overdue = limit_exceeded(&seconds);
	int code = VIRT_ERROR_FAILED;

	if (overdue) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
			    "%s: libvirt did not answer (%s) in %u s", what, overdue, seconds);
		return;
	}
	if (last) {
		switch (last->code) {
		case VIR_ERR_NO_DOMAIN:
			code = VIRT_ERROR_NO_DOMAIN;
			break;
		case VIR_ERR_NO_CONNECT:
		case VIR_ERR_INVALID_CONN:
		case VIR_ERR_SYSTEM_ERROR:
			code = last->domain == VIR_FROM_RPC || last->code != VIR_ERR_SYSTEM_ERROR
				       ? VIRT_ERROR_DISCONNECTED
				       : VIRT_ERROR_FAILED;
			break;
		case VIR_ERR_INTERNAL_ERROR:
		case VIR_ERR_RPC:
			if (last->domain == VIR_FROM_RPC)
				code = VIRT_ERROR_DISCONNECTED;
			break;
		case VIR_ERR_OPERATION_TIMEOUT:
			code = VIRT_ERROR_TIMEOUT;
			break;
		default:
			break;
		}
	}
	g_set_error(error, VIRT_ERROR, code, "%s: %s", what,
		    last && last->message ? last->message : "libvirt does not say why");
}

const struct virt_config *host_config(const struct virt_host *host)
{
	return host->config;
}

struct frozen_table *host_frozen(struct virt_host *host)
{
	return host->frozen;
}

static virConnectPtr connect_once(struct virt_host *host, GError **error)
{
	g_autofree char *what =
		g_strdup_printf("cannot connect to libvirt at %s", host->config->connection_uri);
	virConnectPtr connection = limit_open(host->config->connection_uri);

	if (!connection) {
		virt_set_error(error, what);
		if (error && *error)
			(*error)->code = VIRT_ERROR_DISCONNECTED;
		return NULL;
	}
	if (host->config->keepalive_s > 0 &&
	    virConnectSetKeepAlive(connection, (int)host->config->keepalive_s, KEEPALIVE_MISSES) <
		    0)
		g_info("no keepalive to libvirt: %s", virGetLastErrorMessage());
	return connection;
}

/* libvirtd may be just restarting, so it is tried for a while. */
virConnectPtr host_connect(struct virt_host *host, GError **error)
{
	gint64 deadline =
		g_get_monotonic_time() + (gint64)host->config->connect_timeout_s * G_USEC_PER_SEC;

	for (;;) {
		GError *local = NULL;
		virConnectPtr connection = connect_once(host, &local);

		if (connection)
			return connection;
		if (g_get_monotonic_time() >= deadline) {
			g_propagate_error(error, local);
			return NULL;
		}
		g_clear_error(&local);
		g_usleep(RETRY_US);
	}
}

struct virt_host *virt_host_open(const struct virt_config *config, GError **error)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct virt_host *host;
	virConnectPtr connection;

	if (!method_find(config->live_method, true, error) ||
	    !method_find(config->cold_method, false, error))
		return NULL;
	host = g_new0(struct virt_host, 1);
	host->config = config;
	host->frozen = frozen_table_new();
	if (limits_start(config, error) < 0) {
		frozen_table_free(host->frozen);
		g_free(host);
		return NULL;
	}
	(void)pthread_once(&once, register_loop);
	host->timer = virEventAddTimeout(-1, timer_fired, NULL, NULL);
	if (pthread_create(&host->thread, NULL, event_main, host) != 0) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED,
				    "cannot start the thread of libvirt's events");
		virEventRemoveTimeout(host->timer);
		limits_stop();
		frozen_table_free(host->frozen);
		g_free(host);
		return NULL;
	}
	connection = host_connect(host, error);
	if (!connection) {
		virt_host_close(host);
		return NULL;
	}
	(void)virConnectClose(connection);
	return host;
}

void virt_host_close(struct virt_host *host)
{
	if (!host)
		return;
	frozen_table_free(host->frozen);
	atomic_store(&host->stopping, true);
	virEventUpdateTimeout(host->timer, 0);
	pthread_join(host->thread, NULL);
	virEventRemoveTimeout(host->timer);
	limits_stop();
	g_free(host);
}

virDomainPtr host_find_domain(virConnectPtr connection, const char *uuid, GError **error)
{
	virDomainPtr domain = virDomainLookupByUUIDString(connection, uuid);
	g_autofree char *what = g_strdup_printf("no domain with uuid %s", uuid);

	if (!domain)
		virt_set_error(error, what);
	return domain;
}

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
	virConnectPtr connection = host_connect(host, error);
	virDomainPtr domain;
	int state = -1, reason;

	if (!connection)
		return -1;
	domain = host_find_domain(connection, uuid, error);
	if (domain) {
		if (virDomainGetState(domain, &state, &reason, 0) < 0) {
			virt_set_error(error, "asking for the guest's state");
			state = -1;
		} else {
			state = to_power_state(state);
		}
		(void)virDomainFree(domain);
	}
	(void)virConnectClose(connection);
	return state;
}

char *virt_guest_uuid_by_name(struct virt_host *host, const char *name, GError **error)
{
	char uuid[VIR_UUID_STRING_BUFLEN];
	virConnectPtr connection = host_connect(host, error);
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
