/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS connections to the broker: certificates, host name check, and explanations of failed
 * handshakes.
 */
#include "rpc/amqp/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

static int verify_certificate(X509_STORE_CTX *store, void *opaque)
{
	struct tls_verification *verification = opaque;
	int ok = X509_verify_cert(store);

	verification->code = X509_STORE_CTX_get_error(store);
	return ok;
}

/* Rejects a key with a passphrase, because nobody can enter it. */
static int reject_passphrase(char *buffer, int size, int writing, void *opaque)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)opaque;
	return -1;
}

static int set_expected_name(SSL_CTX *context, const char *host)
{
	X509_VERIFY_PARAM *wanted = SSL_CTX_get0_param(context);

	if (X509_VERIFY_PARAM_set1_ip_asc(wanted, host) == 1)
		return 0;
	X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_host(wanted, host, 0) == 1 ? 0 : -1;
}

/* Returns NULL, or a description of what cannot be used. */
static const char *load_certificates(amqp_socket_t *socket, SSL_CTX *context,
				     const struct rpc_config *config)
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
			      const char *host, struct tls_verification *verification,
			      GError **error)
{
	amqp_socket_t *socket = amqp_ssl_socket_new(state);
	SSL_CTX *context = socket ? amqp_ssl_socket_get_context(socket) : NULL;
	const char *reason;
	const char *unusable = "OpenSSL";

	ERR_clear_error();
	verification->code = X509_V_OK;
	if (context) {
		SSL_CTX_set_default_passwd_cb(context, reject_passphrase);
		unusable = load_certificates(socket, context, config);
	}
	if (!unusable && (amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST) !=
				  AMQP_STATUS_OK ||
			  set_expected_name(context, host) < 0))
		unusable = host;
	if (unusable) {
		reason = ERR_reason_error_string(ERR_peek_last_error());
		g_set_error(error, RPC_ERROR, RPC_ERROR_CONFIG, "cannot use %s for TLS: %s",
			    unusable, reason ? reason : "OpenSSL reports no reason");
		return NULL;
	}
	amqp_ssl_socket_set_verify_peer(socket, 1);
	amqp_ssl_socket_set_verify_hostname(socket, 0);
	SSL_CTX_set_cert_verify_callback(context, verify_certificate, verification);
	return socket;
}

char *tls_explain_failure(const struct rpc_config *config,
			  const struct tls_verification *verification, int status)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	switch (verification->code) {
	case X509_V_OK:
		return g_strdup_printf(
			"%s%s%s; check that the port is one for TLS, that ssl and transport_url "
			"agree, and whether the broker requires a client certificate "
			"(ssl_cert_file)",
			amqp_error_string2(status), reason ? ": " : "", reason ? reason : "");
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return g_strdup("the broker's certificate is for another host: it must contain the "
				"host in transport_url");
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return g_strdup_printf(
			"the broker's certificate is rejected: %s; check this machine's clock",
			X509_verify_cert_error_string(verification->code));
	default:
		return g_strdup_printf("the broker's certificate is rejected: %s; "
				       "[oslo_messaging_rabbit]ssl_ca_file (%s) must contain the "
				       "CA that signed it",
				       X509_verify_cert_error_string(verification->code),
				       config->ssl_ca_file ? config->ssl_ca_file
							   : "the system's certificates");
	}
}
