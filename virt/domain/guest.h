/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest: a domain, found by its uuid, and its own connection to libvirt. Each query about the
 * guest (guest-query.h) replaces a dead connection first. Only one thread may use it at a time.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_GUEST_H
#define NOVASNAP_VIRT_DOMAIN_GUEST_H

#include "virt/libvirt/connection.h"

struct guest {
	struct virt_host *host;
	char *uuid;
	/* Both change when a dead connection is replaced: read them for each call, do not keep
	 * copies. */
	virConnectPtr connection; /* NULL: not connected */
	virDomainPtr domain;	  /* NULL: not connected, or unknown to libvirt */
	/* It was resumed after an I/O error, which is done only once. From any thread. */
	atomic_bool io_error_resumed;
};

/* Sets all fields, without connecting. Always call guest_close afterwards. */
void guest_init(struct guest *guest, struct virt_host *host, const char *uuid);

/* Connects and looks up the domain, unless that is done and the connection is alive. Returns 0, or
 * -1 with VIRT_ERROR_NO_DOMAIN, VIRT_ERROR_DISCONNECTED, or another error of virt_set_error. */
int guest_connect(struct guest *guest, GError **error);

/* guest_init and guest_connect. Always call guest_close afterwards, also after a failure. */
int guest_open(struct guest *guest, struct virt_host *host, const char *uuid, GError **error);

/* Closes the connection; the next guest_connect opens a new one. */
void guest_disconnect(struct guest *guest);
/* Drops the domain object; the next guest_connect looks it up again. */
void guest_forget_domain(struct guest *guest);
/* Closes the connection and frees the fields. */
void guest_close(struct guest *guest);

/* Whether the connection is open and was alive when it was last used. Does not query libvirt. */
bool guest_is_connected(const struct guest *guest);

#endif
