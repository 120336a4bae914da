/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connections to libvirt, and conversion of libvirt's errors to GErrors. Every file that calls
 * libvirt includes this header, so that its calls have a time limit (call-timeout.h).
 */
#ifndef NOVASNAP_VIRT_LIBVIRT_CONNECTION_H
#define NOVASNAP_VIRT_LIBVIRT_CONNECTION_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "virt/libvirt/call-timeout.h"
#include "virt/virt.h"

struct event_loop;
struct frozen_table;
struct scratch_claims;

/* The libvirt of this host, shared by all threads. It does not change after virt_host_open; the
 * tables have their own locks. */
struct virt_host {
	const struct virt_config *config;
	struct event_loop *loop;     /* delivers libvirt's events; NULL: no events */
	struct frozen_table *frozen; /* guests that this process froze (domain/frozen-table.h) */
	struct scratch_claims *scratch_claims; /* room for the streams (method/room.h) */
	atomic_int *answered;		       /* see virt_host_answered; NULL: nobody asks */
};

/* Opens a connection, with keepalive if there is an event loop. Retries for
 * [novasnap]libvirt_connect_timeout, since libvirtd may be restarting. The caller closes the
 * connection with virConnectClose. NULL with VIRT_ERROR_DISCONNECTED. */
virConnectPtr virt_connect(const struct virt_host *host, GError **error);

/* The domain of that uuid; the caller frees it with virDomainFree. NULL with VIRT_ERROR_NO_DOMAIN
 * if libvirt does not know it, or another error if libvirt did not answer. */
virDomainPtr virt_find_domain(virConnectPtr connection, const char *uuid, GError **error);

/* Sets an error of the domain VIRT_ERROR from this thread's last libvirt error: "what: libvirt's
 * message". The code is VIRT_ERROR_TIMEOUT if the call exceeded its limit or libvirt itself timed
 * out, _DISCONNECTED for a broken connection, _NO_DOMAIN for an unknown domain, else _FAILED. Call
 * it directly after the failed call: each libvirt call resets that error. */
void virt_set_error(GError **error, const char *what);

#endif
