/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS connections to the broker. OpenSSL verifies the certificate and the host name during the
 * handshake, and the result is stored here: librabbitmq reports only that the handshake failed, and
 * does not support addresses in certificates.
 */
#ifndef NOVASNAP_RPC_AMQP_TLS_H
#define NOVASNAP_RPC_AMQP_TLS_H

#include "rpc/amqp/librabbitmq.h"
#include "rpc/rpc.h"

/* The result of OpenSSL's verification. */
struct tls_verification {
	int code; /* X509_V_* */
};

/* Creates a TLS socket for librabbitmq, with the configured certificates. `host` is the name or
 * address that the broker's certificate must contain. The socket belongs to `state`. `verification`
 * is written during the handshake and must outlive the socket. Returns NULL with RPC_ERROR_CONFIG
 * if a certificate or key file cannot be used. */
amqp_socket_t *tls_socket_new(amqp_connection_state_t state, const struct rpc_config *config,
			      const char *host, struct tls_verification *verification,
			      GError **error);

/* Returns an explanation of why the connection failed and what to do. `status` is librabbitmq's.
 * The caller frees it. */
char *tls_explain_failure(const struct rpc_config *config,
			  const struct tls_verification *verification, int status);

#endif
