/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The credentials for Keystone in [keystone_authtoken] and [service_user], with the meaning that
 * they have for keystoneauth1 (keystoneauth1.loading.conf and its loaders), except that:
 * - without auth_type, auth_url and a user mean the type password;
 * - what Keystone would refuse in any case, such as a user name without a domain, is an error;
 * - other types than none, password, token, v3password, v3token and v3applicationcredential are an
 *   error.
 */
#ifndef NOVASNAP_AGENT_CONFIG_CREDENTIALS_H
#define NOVASNAP_AGENT_CONFIG_CREDENTIALS_H

#include "agent/config/table.h"

/* Reads the sections that auth_section names, sets the method of each credential, and checks it.
 * The table must have been loaded. [service_user] counts only with send_service_user_token. Returns
 * 0, or -1 with CONFIG_ERROR_VALUE. */
int config_credentials_load(struct config_inputs *inputs, GError **error);

#endif
