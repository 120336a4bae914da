/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The order of the fields of an Instance, as nova sends them.
 */
#ifndef NOVASNAP_RPC_NOVA_FIELD_ORDER_H
#define NOVASNAP_RPC_NOVA_FIELD_ORDER_H

#include <cjson/cJSON.h>

/* Sets a field in the data of an Instance. A new field is inserted in nova's order; a field that
 * nova does not know is appended. Takes ownership of `value`. */
void nova_instance_data_put(cJSON *data, const char *field, cJSON *value);

#endif
