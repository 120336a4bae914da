/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The request for a token, with the body that keystoneauth1 sends for the same options
 * (keystoneauth1.identity.v3). Keystone's versions are not discovered: the request goes to auth_url
 * itself, as with keystoneauth1's v3 types.
 */
#ifndef NOVASNAP_IMAGE_KEYSTONE_REQUEST_H
#define NOVASNAP_IMAGE_KEYSTONE_REQUEST_H

#include "image/image.h"

/* The URL of POST /v3/auth/tokens. The caller frees it with g_free(). */
char *keystone_request_url(const struct keystone_config *user);

/* The JSON text of the request's body, which contains the secret. The caller frees it with
 * cJSON_free(). `user->method` is not KEYSTONE_NONE. */
char *keystone_request_body(const struct keystone_config *user);

/* The secret of the credential: the password, the application credential's secret, or the token.
 * NULL: none. */
const char *keystone_request_secret(const struct keystone_config *user);

#endif
