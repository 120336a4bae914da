/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest: a domain, found by its uuid, on a connection of its own. Before each question about the
 * guest (guest-query.h) a dead connection is replaced by a new one. One thread at a time uses it.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_GUEST_H
#define NOVASNAP_VIRT_DOMAIN_GUEST_H

#include "virt/libvirt/connection.h"

struct guest {
	struct virt_host *host;
	char *uuid;
	/* Both change when a dead connection is replaced: read them for each call, keep no copy. */
	virConnectPtr connection; /* NULL: not connected */
	virDomainPtr domain;	  /* NULL: not connected, or libvirt knows no such domain */
};

/* Sets all fields; nothing is connected yet. guest_close is called in every case. */
void guest_init(struct guest *guest, struct virt_host *host, const char *uuid);

/* Connects and looks the domain up, where that is not done or the connection has died. Returns 0,
 * or -1 with VIRT_ERROR_NO_DOMAIN, VIRT_ERROR_DISCONNECTED, or another error of virt_set_error. */
int guest_connect(struct guest *guest, GError **error);

/* guest_init and guest_connect. guest_close is called in every case. */
int guest_open(struct guest *guest, struct virt_host *host, const char *uuid, GError **error);

/* Closes the connection; the next guest_connect opens another. */
void guest_disconnect(struct guest *guest);
/* Forgets the domain; the next guest_connect looks it up again. */
void guest_forget_domain(struct guest *guest);
/* Closes the connection and frees the fields. */
void guest_close(struct guest *guest);

/* Whether the connection is open and was alive when it was last used. Does not ask libvirt. */
bool guest_is_connected(const struct guest *guest);

#endif
