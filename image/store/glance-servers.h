/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chooses among the servers in [glance]api_servers. Several threads may use one object.
 */
#ifndef NOVASNAP_IMAGE_GLANCE_SERVERS_H
#define NOVASNAP_IMAGE_GLANCE_SERVERS_H

#include <glib.h>
#include <stdbool.h>

struct glance_servers;

/* `count` is at least 1. The first server is a random one, so that hosts do not all use the same
 * (nova.image.glance.get_api_servers shuffles them). */
struct glance_servers *glance_servers_new(unsigned count);
/* Accepts NULL. */
void glance_servers_free(struct glance_servers *servers);

/* Returns the index of the server for the next request: the last one that was chosen, unless it did
 * not answer within the last minute; else the next one in order. If no server answered, the one
 * that was tried the longest time ago. */
unsigned glance_servers_choose(struct glance_servers *servers);

/* Remembers whether the server answered. */
void glance_servers_report(struct glance_servers *servers, unsigned server, bool answered);

#endif
