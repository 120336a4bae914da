/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the servers of this process do with the header "Expect: 100-continue" of an upload.
 */
#include "image/openstack/http-expect.h"

#include <glib.h>
#include <pthread.h>
#include <string.h>

/* Many more than a cloud has. When there are more, all are forgotten. */
#define SERVERS_MAX 256

static pthread_mutex_t servers_lock = PTHREAD_MUTEX_INITIALIZER;
/* Of "scheme://host:port" to what to do, where that is not HTTP_EXPECT_WAIT. Guarded by
 * servers_lock; NULL: empty. */
static GHashTable *servers;

/* The caller frees the text. */
static char *url_server(const char *url)
{
	const char *authority = strstr(url, "://");

	authority = authority ? authority + strlen("://") : url;
	return g_strndup(url, (size_t)(authority - url) + strcspn(authority, "/?#"));
}

enum http_expect http_expect_get(const char *url)
{
	g_autofree char *server = url_server(url);
	enum http_expect expect = HTTP_EXPECT_WAIT;

	pthread_mutex_lock(&servers_lock);
	if (servers)
		expect = GPOINTER_TO_INT(g_hash_table_lookup(servers, server));
	pthread_mutex_unlock(&servers_lock);
	return expect;
}

void http_expect_set(const char *url, enum http_expect expect)
{
	g_autofree char *server = url_server(url);
	enum http_expect before;

	pthread_mutex_lock(&servers_lock);
	if (!servers)
		servers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	before = GPOINTER_TO_INT(g_hash_table_lookup(servers, server));
	if (g_hash_table_size(servers) >= SERVERS_MAX)
		g_hash_table_remove_all(servers);
	if (expect == HTTP_EXPECT_WAIT)
		g_hash_table_remove(servers, server);
	else
		g_hash_table_replace(servers, g_strdup(server), GINT_TO_POINTER(expect));
	pthread_mutex_unlock(&servers_lock);
	if (before != HTTP_EXPECT_NO_WAIT && expect == HTTP_EXPECT_NO_WAIT)
		g_info("%s has not answered \"Expect: 100-continue\" in time; later uploads do not "
		       "wait for it",
		       server);
}
