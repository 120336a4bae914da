/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The headers of librabbitmq, by the names that the installed version uses. Version 0.12 moved them
 * into the folder rabbitmq-c, and since 0.15 the old names warn. All other files include this one.
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
