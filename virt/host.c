/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening and closing the connection to this host's libvirt.
 */
#include "virt/domain/freeze.h"
#include "virt/domain/frozen-table.h"
#include "virt/libvirt/connection.h"
#include "virt/libvirt/event-loop.h"
#include "virt/method/room.h"
#include "virt/method/table.h"

/* A process has one host. */
static atomic_int answered = -1;

static int start_threads(struct virt_host *host, GError **error)
{
	if (call_timeouts_start(host->config, error) < 0)
		return -1;
	host->loop = event_loop_start(error);
	if (host->loop)
		return 0;
	call_timeouts_stop();
	return -1;
}

struct virt_host *virt_host_open(const struct virt_config *config, GError **error)
{
	struct virt_host *host;
	virConnectPtr connection;

	if (!snapshot_method_find(config->live_method, true, error) ||
	    !snapshot_method_find(config->cold_method, false, error))
		return NULL;
	host = g_new0(struct virt_host, 1);
	host->config = config;
	host->answered = &answered;
	if (start_threads(host, error) < 0) {
		g_free(host);
		return NULL;
	}
	host->frozen = frozen_table_new();
	host->scratch_claims = scratch_claims_new();
	connection = virt_connect(host, error);
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
	frozen_guests_free(host);
	scratch_claims_free(host->scratch_claims);
	event_loop_stop(host->loop);
	call_timeouts_stop();
	g_free(host);
}

int virt_host_answered(const struct virt_host *host)
{
	return atomic_load(host->answered);
}
