/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A transport_url.
 */
#include <string.h>

#include "rpc/amqp/transport-url.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	g_autoptr(GError) error = NULL;
	struct transport_url *url = transport_url_parse(text, &error);

	g_assert_true((url == NULL) == (error != NULL));
	for (guint i = 0; url && i < url->brokers->len; i++) {
		const struct broker_address *address = url->brokers->pdata[i];

		g_assert_true(address->host && address->user && address->password);
		g_assert_true(address->port > 0 && address->port < 65536);
	}
	g_assert_true(!url || (url->brokers->len > 0 && *url->vhost));
	transport_url_free(url);
	return 0;
}
