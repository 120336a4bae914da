/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Includes librabbitmq's headers under the names of the installed version. Newer versions install
 * them in the folder rabbitmq-c, and 0.15 warns about the old names. Use this file instead of
 * amqp.h.
 */
#ifndef NOVASNAP_RPC_AMQP_LIBRABBITMQ_H
#define NOVASNAP_RPC_AMQP_LIBRABBITMQ_H

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/ssl_socket.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#endif

#endif
