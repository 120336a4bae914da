/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transport_url: the brokers, and the users to log in as.
 */
#ifndef NOVASNAP_RPC_AMQP_TRANSPORT_URL_H
#define NOVASNAP_RPC_AMQP_TRANSPORT_URL_H

#include <glib.h>

#include "rpc/rpc.h"

/* One broker. No string is NULL. */
struct broker_address {
	char *host; /* a name or an address; IPv6 addresses without brackets */
	char *user;
	char *password;
	int port;
};

struct transport_url {
	GPtrArray *brokers; /* struct broker_address, in the order of the URL; at least one */
	GPtrArray *options; /* struct rpc_url_option, those of the query */
	char *vhost;	    /* never empty: "/" is RabbitMQ's default */
};

/* Parses "rabbit://user:password@host:port,user:password@host:port/vhost?option=value", percent-
 * encoded, as oslo_messaging.transport.TransportURL.parse does. Missing or empty parts get the
 * defaults of oslo and kombu: guest, guest, localhost, 5672, "/". Returns NULL with
 * RPC_ERROR_CONFIG; the error never contains the password. */
struct transport_url *transport_url_parse(const char *text, GError **error);
/* Accepts NULL. */
void transport_url_free(struct transport_url *url);

#endif
