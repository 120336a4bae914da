/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connections to libvirt, and libvirt's errors as GErrors. A file that calls libvirt includes this
 * header, so that its calls have a time limit (call-timeout.h).
 */
#ifndef NOVASNAP_VIRT_LIBVIRT_CONNECTION_H
#define NOVASNAP_VIRT_LIBVIRT_CONNECTION_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "virt/libvirt/call-timeout.h"
#include "virt/virt.h"

struct event_loop;
struct frozen_table;

/* The libvirt of this host, shared by all threads. Nothing in it changes after virt_host_open; the
 * table has a lock of its own. */
struct virt_host {
	const struct virt_config *config;
	struct event_loop *loop;     /* delivers libvirt's events; NULL: none are wanted */
	struct frozen_table *frozen; /* guests that this process froze (domain/freeze.h) */
};

/* Opens a connection, with keepalive where there is an event loop. libvirtd may be restarting, so
 * it tries for [novasnap]libvirt_connect_timeout. The caller closes the connection with
 * virConnectClose. NULL with VIRT_ERROR_DISCONNECTED. */
virConnectPtr virt_connect(const struct virt_host *host, GError **error);

/* The domain of that uuid; the caller frees it with virDomainFree. NULL with VIRT_ERROR_NO_DOMAIN
 * where libvirt says that there is none, or another error where it did not answer. */
virDomainPtr virt_find_domain(virConnectPtr connection, const char *uuid, GError **error);

/* Sets an error of the domain VIRT_ERROR from this thread's last libvirt error: "what: libvirt's
 * message". The code is VIRT_ERROR_TIMEOUT for a call that its limit ended or that libvirt itself
 * gave up, _DISCONNECTED for a broken connection, _NO_DOMAIN for an unknown domain, else _FAILED.
 * Call it directly after the call that failed: each libvirt call resets that error. */
void virt_set_error(GError **error, const char *what);

#endif
