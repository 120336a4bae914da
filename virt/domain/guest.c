/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest: a domain on a connection of its own.
 */
#include "virt/domain/guest.h"

void guest_init(struct guest *guest, struct virt_host *host, const char *uuid)
{
	*guest = (struct guest){.host = host, .uuid = g_strdup(uuid)};
}

bool guest_is_connected(const struct guest *guest)
{
	return guest->connection && virConnectIsAlive(guest->connection) == 1;
}

int guest_connect(struct guest *guest, GError **error)
{
	if (!guest_is_connected(guest)) {
		guest_disconnect(guest);
		guest->connection = virt_connect(guest->host, error);
	}
	if (guest->connection && !guest->domain)
		guest->domain = virt_find_domain(guest->connection, guest->uuid, error);
	return guest->domain ? 0 : -1;
}

int guest_open(struct guest *guest, struct virt_host *host, const char *uuid, GError **error)
{
	guest_init(guest, host, uuid);
	return guest_connect(guest, error);
}

void guest_forget_domain(struct guest *guest)
{
	if (guest->domain)
		(void)virDomainFree(guest->domain);
	guest->domain = NULL;
}

void guest_disconnect(struct guest *guest)
{
	guest_forget_domain(guest);
	if (guest->connection)
		(void)virConnectClose(guest->connection);
	guest->connection = NULL;
}

void guest_close(struct guest *guest)
{
	guest_disconnect(guest);
	g_clear_pointer(&guest->uuid, g_free);
}
