/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS to the broker. OpenSSL verifies the certificate and the host name during the handshake, and
 * the result is kept here: librabbitmq reports no more than that the handshake failed, and it does
 * not know addresses in certificates.
 */
#ifndef NOVASNAP_RPC_AMQP_TLS_H
#define NOVASNAP_RPC_AMQP_TLS_H

#include "rpc/amqp/librabbitmq.h"
#include "rpc/rpc.h"

/* How OpenSSL judged the broker's certificate. */
struct tls_verification {
	int code; /* X509_V_* */
};

/* Creates a TLS socket for librabbitmq, with the certificates of the configuration. `host` is the
 * name or address that the broker's certificate must have. The socket belongs to `state`.
 * `verification` is written during the handshake, so it must live as long as the socket. Returns
 * NULL with RPC_ERROR_CONFIG when a file of certificates or keys cannot be used. */
amqp_socket_t *tls_socket_new(amqp_connection_state_t state, const struct rpc_config *config,
			      const char *host, struct tls_verification *verification,
			      GError **error);

/* Returns a text that explains why the connection failed, with what to do. `status` is that of
 * librabbitmq. The caller frees it. */
char *tls_explain_failure(const struct rpc_config *config,
			  const struct tls_verification *verification, int status);

#endif
