/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS to the broker. OpenSSL checks the certificate and the name during the handshake, and what it
 * found is kept: librabbitmq tells no more than that the handshake failed, and knows no addresses
 * in certificates.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "rpc/internal.h"

static int verify(X509_STORE_CTX *store, void *opaque)
{
	struct tls_check *check = opaque;
	int ok = X509_verify_cert(store);

	check->code = X509_STORE_CTX_get_error(store);
	return ok;
}

/* A key that is locked by a passphrase is refused: nobody is there to be asked for it. */
static int no_passphrase(char *buffer, int size, int writing, void *opaque)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)opaque;
	return -1;
}

static int expect_name(SSL_CTX *context, const char *host)
{
	X509_VERIFY_PARAM *wanted = SSL_CTX_get0_param(context);

	if (X509_VERIFY_PARAM_set1_ip_asc(wanted, host) == 1)
		return 0;
	X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_host(wanted, host, 0) == 1 ? 0 : -1;
}

/* 0, or what cannot be used. */
static const char *load(amqp_socket_t *socket, SSL_CTX *context, const struct rpc_config *config)
{
	const char *key = config->ssl_key_file ? config->ssl_key_file : config->ssl_cert_file;

	if (config->ssl_ca_file &&
	    amqp_ssl_socket_set_cacert(socket, config->ssl_ca_file) != AMQP_STATUS_OK)
		return config->ssl_ca_file;
	if (!config->ssl_ca_file && SSL_CTX_set_default_verify_paths(context) != 1)
		return "the system's certificates";
	if (config->ssl_cert_file &&
	    amqp_ssl_socket_set_key(socket, config->ssl_cert_file, key) != AMQP_STATUS_OK)
		return key == config->ssl_cert_file
			       ? key
			       : "ssl_cert_file and ssl_key_file, which must belong together";
	return NULL;
}

amqp_socket_t *tls_socket_new(amqp_connection_state_t state, const struct rpc_config *config,
			      const char *host, struct tls_check *check, GError **error)
{
	amqp_socket_t *socket = amqp_ssl_socket_new(state);
	SSL_CTX *context = socket ? amqp_ssl_socket_get_context(socket) : NULL;
	const char *reason;
	const char *bad = "OpenSSL";

	ERR_clear_error();
	check->code = X509_V_OK;
	if (context) {
		SSL_CTX_set_default_passwd_cb(context, no_passphrase);
		bad = load(socket, context, config);
	}
	if (!bad && (amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST) !=
			     AMQP_STATUS_OK ||
		     expect_name(context, host) < 0))
		bad = host;
	if (bad) {
		reason = ERR_reason_error_string(ERR_peek_last_error());
		g_set_error(error, RPC_ERROR, RPC_ERROR_CONFIG, "TLS cannot use %s: %s", bad,
			    reason ? reason : "OpenSSL does not say why");
		return NULL;
	}
	amqp_ssl_socket_set_verify_peer(socket, 1);
	amqp_ssl_socket_set_verify_hostname(socket, 0);
	SSL_CTX_set_cert_verify_callback(context, verify, check);
	return socket;
}

char *tls_explain(const struct rpc_config *config, const struct tls_check *check, int status)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	switch (check->code) {
	case X509_V_OK:
		return g_strdup_printf(
			"%s%s%s; is the port one for TLS, are ssl and transport_url of one mind, "
			"and is a client's certificate wanted (ssl_cert_file)?",
			amqp_error_string2(status), reason ? ": " : "", reason ? reason : "");
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return g_strdup("its certificate is for another host: the host in transport_url "
				"must be a name in it");
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return g_strdup_printf("its certificate is refused: %s; is this machine's clock "
				       "right?",
				       X509_verify_cert_error_string(check->code));
	default:
		return g_strdup_printf("its certificate is refused: %s; [oslo_messaging_rabbit]"
				       "ssl_ca_file (%s) must hold the CA that signed it",
				       X509_verify_cert_error_string(check->code),
				       config->ssl_ca_file ? config->ssl_ca_file
							   : "the system's certificates");
	}
}
