/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The options of oslo.messaging that novasnap does not implement.
 */
#include "agent/config/messaging.h"

#define RABBIT "oslo_messaging_rabbit"

#define ONLY(...)                                                                                  \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

const struct config_ignored_option config_ignored_options[] = {
	{"DEFAULT", "conn_pool_min_size", NULL, CONFIG_UINT, NULL, "there is no connection pool"},
	{"DEFAULT", "conn_pool_ttl", NULL, CONFIG_UINT, NULL, "there is no connection pool"},
	{"DEFAULT", "executor_thread_pool_size", "rpc_thread_pool_size", CONFIG_UINT, NULL,
	 "max_concurrent_snapshots limits the jobs"},
	{"DEFAULT", "rpc_conn_pool_size", NULL, CONFIG_UINT, NULL, "there is no connection pool"},
	{"DEFAULT", "rpc_ping_enabled", NULL, CONFIG_BOOL, NULL,
	 "a ping is answered with an error, which also shows that novasnapd serves"},
	{"oslo_messaging_notifications", "retry", NULL, CONFIG_UINT, NULL,
	 "a notification waits in the outbox for the broker and delays no job"},
	{RABBIT, "conn_pool_min_size", NULL, CONFIG_UINT, NULL, "there is no connection pool"},
	{RABBIT, "conn_pool_ttl", NULL, CONFIG_UINT, NULL, "there is no connection pool"},
	{RABBIT, "direct_mandatory_flag", NULL, CONFIG_BOOL, NULL,
	 "replies are always mandatory, as in oslo.messaging today"},
	{RABBIT, "heartbeat_in_pthread", NULL, CONFIG_BOOL, NULL,
	 "each connection has its own thread, which sends its heartbeats"},
	{RABBIT, "heartbeat_rate", NULL, CONFIG_UINT, NULL,
	 "librabbitmq sends heartbeats at half of heartbeat_timeout_threshold"},
	{RABBIT, "kombu_compression", NULL, CONFIG_STRING, NULL,
	 "messages are sent uncompressed, which every receiver reads"},
	{RABBIT, "kombu_failover_strategy", NULL, CONFIG_STRING, NULL,
	 "the brokers are tried in turn"},
	{RABBIT, "kombu_missing_consumer_retry_timeout", "kombu_reconnect_timeout", CONFIG_UINT,
	 NULL, "an answer whose caller is away is tried again for a fixed time"},
	{RABBIT, "kombu_reconnect_delay", "DEFAULT.kombu_reconnect_delay", CONFIG_STRING, NULL,
	 "rabbit_retry_interval determines the pause"},
	{RABBIT, "kombu_reconnect_splay", NULL, CONFIG_STRING, NULL,
	 "rabbit_retry_interval determines the pause"},
	{RABBIT, "rabbit_login_method", "DEFAULT.rabbit_login_method", CONFIG_STRING,
	 ONLY("plain", "amqplain"), "it logs in by user and password, as PLAIN"},
	{RABBIT, "rpc_conn_pool_size", "DEFAULT.rpc_conn_pool_size", CONFIG_UINT, NULL,
	 "there is no connection pool"},
	{RABBIT, "ssl_enforce_fips_mode", NULL, CONFIG_BOOL, ONLY("false"),
	 "OpenSSL's own configuration sets its FIPS mode"},
	{RABBIT, "ssl_enforce_hostname_verification", NULL, CONFIG_BOOL, NULL,
	 "the broker's host name is always verified"},
	{RABBIT, "ssl_version", "kombu_ssl_version", CONFIG_STRING, ONLY("sslv23", "tlsv1_2"),
	 "it uses TLS 1.2 or later"},
};

const size_t config_ignored_option_count = G_N_ELEMENTS(config_ignored_options);
