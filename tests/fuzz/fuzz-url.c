/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transport_url.
 */
#include <string.h>

#include "rpc/internal.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	g_autoptr(GError) error = NULL;
	struct rpc_url *url = rpc_url_parse(text, &error);

	g_assert_true((url == NULL) == (error != NULL));
	for (guint i = 0; url && i < url->servers->len; i++) {
		const struct rpc_server_address *address = url->servers->pdata[i];

		g_assert_true(address->host && address->user && address->password);
		g_assert_true(address->port > 0 && address->port < 65536);
	}
	g_assert_true(!url || (url->servers->len > 0 && *url->vhost));
	rpc_url_free(url);
	return 0;
}
